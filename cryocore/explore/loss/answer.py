"""Both answers about a loss at once, from a finished run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryocore.explore.loss.columns import LossColumns, read_columns
from cryocore.explore.loss.direction import PERMUTATIONS, Direction, direction
from cryocore.explore.loss.distribution import Distribution, distribution


@dataclass(frozen=True)
class Analysis:
    """The distribution of a loss and its dependence on the pose; ``direction`` is None where the log has no poses."""

    columns: LossColumns
    distribution: Distribution
    direction: Direction | None
    seed: int

    @property
    def text(self) -> str:
        """Both answers as text."""
        left_out = self.columns.n_left_out
        note = [f"{left_out:,} particles without a finite value are left out."] if left_out else []
        parts = [self.distribution.text, *([] if self.direction is None else [self.direction.text]), *note]
        return "\n\n".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """Values for JSON."""
        return {
            "round": self.columns.round,
            "loss": self.columns.name,
            "symmetry": self.columns.symmetry,
            "n_left_out": self.columns.n_left_out,
            "seed": self.seed,
            "distribution": self.distribution.as_dict(),
            "direction": None if self.direction is None else self.direction.as_dict(),
        }


def analyse(
    source: str | Path | LossColumns,
    *,
    loss: str | None = None,
    round_number: int | None = None,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> Analysis:
    """Explain the distribution of a loss, and test whether it depends on the pose.

    Parameters
    ----------
    source : a run's directory, its log, one ``log.parquet``, or columns at hand
    loss : column of the log; z, ncc or l2_loss, the first that there is, unless named
    round_number : the last unless named

    Raises
    ------
    InputError  if the log lacks what is asked for, or the loss is the same for all particles.
    """
    columns = source if isinstance(source, LossColumns) else read_columns(source, loss=loss, round_number=round_number)
    explained = distribution(columns, seed=seed)
    tested = None if columns.rotations is None else direction(columns, permutations=permutations, seed=seed)
    return Analysis(columns, explained, tested, seed)
