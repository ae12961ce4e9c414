"""Poses refined anew by RELION, for all particles of a run and for those that it recommends."""

from cryocore.refine.stage import LISTS, compare, refine

__all__ = ["LISTS", "compare", "refine"]
