"""From maps to the loss of every particle, kept or not."""

from cryocore.score.stage import gather, noise_of_round, score

__all__ = ["gather", "noise_of_round", "score"]
