"""The map of the particles that a round leaves out, beside those of as many others."""

from cryocore.explore.dropped.measure import Dropped, Part, dropped

__all__ = ["Dropped", "Part", "dropped"]
