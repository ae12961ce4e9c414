"""Right or wrong by residual images and band sums: a classifier whose probability is one more score of the log."""

from cryocore.classify.stage import classify

__all__ = ["classify"]
