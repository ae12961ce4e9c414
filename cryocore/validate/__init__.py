"""From maps, scores and truth to evidence: metrics of every round, figures, a table and a report."""

from cryocore.validate.metrics import validate_round
from cryocore.validate.summary import summarise

__all__ = ["summarise", "validate_round"]
