"""Questions to a data set as a whole, asked once, when its first maps are there."""

from cryocore.examine.stage import examine

__all__ = ["examine"]
