"""Why the loss is distributed as it is, and whether it depends on the pose: answers from the log alone."""

from cryocore.analysis.answer import Analysis, analyse
from cryocore.analysis.columns import LossColumns, read_columns
from cryocore.analysis.direction import Direction, direction
from cryocore.analysis.distribution import Distribution, distribution

__all__ = [
    "Analysis",
    "Direction",
    "Distribution",
    "LossColumns",
    "analyse",
    "direction",
    "distribution",
    "read_columns",
]
