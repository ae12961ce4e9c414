"""Questions to a finished log, answered without an image: other selections, and which groups of particles are bad."""

from cryocore.explore.replay.outcome import Outcome
from cryocore.explore.replay.replay import replay
from cryocore.explore.replay.request import Request

__all__ = ["Outcome", "Request", "replay"]
