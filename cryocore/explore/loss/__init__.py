"""Why the loss is distributed as it is, and whether it depends on the pose: answers from the log alone."""

from cryocore.explore.loss.answer import Analysis, analyse
from cryocore.explore.loss.columns import LossColumns, read_columns
from cryocore.explore.loss.direction import Direction, direction
from cryocore.explore.loss.distribution import Distribution, distribution

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
