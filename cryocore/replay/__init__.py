"""Questions to a finished log, answered without an image: other selections, and which groups of particles are bad."""

from cryocore.log.rounds import LogRound, find_rounds
from cryocore.replay.outcome import Outcome
from cryocore.replay.replay import replay
from cryocore.replay.request import Request

__all__ = ["LogRound", "Outcome", "Request", "find_rounds", "replay"]
