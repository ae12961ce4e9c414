"""From maps, scores and truth to evidence: the metrics of every round."""

from cryocore.validate.metrics import validate_round

__all__ = ["validate_round"]
