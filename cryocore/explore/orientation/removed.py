"""Views and micrographs that a selection removes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr

from cryocore.statistics import effective_number
from cryocore.types import Floats

LOST_SHARE = 0.3
"""A group counts as removed when less than this share of the expected weight is left."""
SIGNIFICANCE = 0.05
"""Chance that any of the groups of a kind counts as removed where particles are dropped at random."""


@dataclass(frozen=True)
class Removed:
    """A group of particles that a selection empties; ``expected`` would be left, did it drop as many everywhere."""

    name: str
    n: int
    kept: float
    expected: float

    def as_dict(self) -> dict[str, Any]:
        """Values for JSON."""
        return asdict(self)


def removed(group: NDArray[np.integer], names: Sequence[str], weights: Floats) -> tuple[Removed, ...]:
    """Groups of which less than 30 % of the expected weight is left, and less than by chance; the largest first.

    Chance is that of drawing as many particles at random (binomial, shared among the groups).

    Parameters
    ----------
    group : (n,)  the group of each particle, an index of ``names``
    weights : (n,)  0 for dropped particles
    """
    count = np.bincount(group, minlength=len(names))
    kept = np.bincount(group, weights=weights, minlength=len(names))
    total, effective = kept.sum(), effective_number(weights)
    if total <= 0:
        return ()
    share = count / count.sum()
    chance = bdtr(np.floor(kept / total * effective + 0.5), round(effective), share)
    emptied = (kept < LOST_SHARE * share * total) & (chance < SIGNIFICANCE / max((count > 0).sum(), 1))
    found: list[int] = np.flatnonzero(emptied).tolist()
    groups = [Removed(names[i], int(count[i]), float(kept[i]), float(share[i] * total)) for i in found]
    return tuple(sorted(groups, key=lambda g: -g.n))
