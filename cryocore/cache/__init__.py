"""Compact transforms of the images, read in every round instead of the stacks."""

from cryocore.cache.stage import cache

__all__ = ["cache"]
