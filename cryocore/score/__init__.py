"""From maps to the loss of every particle, kept or not."""

from cryocore.score.stage import noise_of_round, score

__all__ = ["noise_of_round", "score"]
