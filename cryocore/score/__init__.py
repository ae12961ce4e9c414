"""From maps to the loss of every particle, kept or not."""

from cryocore.score.stage import score

__all__ = ["score"]
