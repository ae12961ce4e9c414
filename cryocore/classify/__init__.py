"""Correct or incorrect by residual images and band sums: a classifier whose probability is one more score."""

from cryocore.classify.stage import classify

__all__ = ["classify"]
