"""Rules: pure functions from what is known of the particles of one half set to their weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryocore.select.cells import MAD_TO_SD, shrunk_means

Scores = NDArray[np.float64]
Ids = NDArray[np.uint64]
Ints = NDArray[np.int64]
Weights = NDArray[np.floating]


@dataclass(frozen=True)
class Candidates:
    """The particles of one half set.

    ``scores`` : ``(n,)``, higher is better, NaN for a particle without one
    ``ids`` : ``(n,)``
    ``posterior`` : ``(n,)``, probability of being right; NaN where the rule asks for none
    ``cell`` : ``(n,)``, the group that each is in; 0 where the rule asks for none
    ``error_rate`` : estimated share of wrong particles; NaN where the rule asks for none
    """

    scores: Scores
    ids: Ids
    posterior: Scores
    cell: Ints
    error_rate: float


@dataclass(frozen=True)
class Rule:
    """How particles are chosen by a value per round.

    ``weigh`` : from candidates and the value to weights ``(n,)``, 0 for what is dropped
    ``by_posterior`` : whether log odds of being right are the score, whatever ``select.score`` says
    ``cell`` : what candidates are grouped by, a key of ``cryocore.select.cells.CELL_COLUMNS``; None: nothing
    """

    weigh: Callable[[Candidates, float], Weights]
    by_posterior: bool = False
    cell: str | None = None


def best(scores: Scores, ids: Ids, n: int) -> NDArray[np.bool_]:
    """The ``n`` highest finite scores; among equals the lowest ids, so that the order of rows does not matter."""
    finite = np.isfinite(scores)
    n = min(n, int(np.count_nonzero(finite)))
    if n <= 0:
        return np.zeros(len(scores), dtype=bool)
    cut = np.partition(scores[finite], -n)[-n]
    kept = finite & (scores > cut)
    ties = np.flatnonzero(finite & (scores == cut))
    missing = n - int(np.count_nonzero(kept))
    kept[ties[np.argsort(ids[ties], kind="stable")[:missing]]] = True
    return kept


def fraction(candidates: Candidates, share: float) -> Weights:
    """The best share of all particles."""
    return _flags(best(candidates.scores, candidates.ids, round(share * len(candidates.ids))))


def count(candidates: Candidates, n: float) -> Weights:
    """The best half of ``n`` particles in each half set."""
    return _flags(best(candidates.scores, candidates.ids, int(n) // 2))


def threshold(candidates: Candidates, lowest: float) -> Weights:
    """All scores that reach the threshold."""
    return _flags(np.nan_to_num(candidates.scores, nan=-np.inf) >= lowest)


def trimmed(candidates: Candidates, k: float) -> Weights:
    """All scores but those more than ``k`` robust standard deviations below the median."""
    finite = candidates.scores[np.isfinite(candidates.scores)]
    if not len(finite):
        return _flags(np.zeros(len(candidates.ids), dtype=bool))
    centre = np.median(finite)
    return threshold(candidates, float(centre - k * MAD_TO_SD * np.median(np.abs(finite - centre))))


def balanced(candidates: Candidates, share: float) -> Weights:
    """The best share of the particles of every cell of views."""
    rank = np.empty(len(candidates.ids))
    order = np.lexsort((candidates.ids, -np.nan_to_num(candidates.scores, nan=-np.inf), candidates.cell))
    size = np.bincount(candidates.cell)
    place = np.arange(len(order)) - np.repeat(np.cumsum(size) - size, size)
    rank[order] = (place + 0.5) / np.repeat(size, size)
    rank[~np.isfinite(candidates.scores)] = np.nan
    return _flags(best(-rank, candidates.ids, round(share * len(candidates.ids))))


def posterior(candidates: Candidates, lowest: float) -> Weights:
    """All particles whose probability of being right exceeds a value."""
    return _flags(candidates.posterior > lowest)


def mixture(candidates: Candidates, factor: float) -> Weights:
    """As many of the best particles as are estimated to be right; ``factor`` times the error rate is dropped."""
    kept = 1.0 - min(factor * candidates.error_rate, 1.0)
    return fraction(candidates, kept)


def soft(candidates: Candidates, floor: float) -> Weights:
    """Every particle weighs as much as it is probably right, and nothing below a floor."""
    return np.where(candidates.posterior >= floor, candidates.posterior, 0.0)


def micrograph(candidates: Candidates, lowest: float) -> Weights:
    """All particles of micrographs whose mean probability of being right, drawn to that of all, exceeds a value."""
    means = shrunk_means(candidates.posterior, candidates.cell)
    return _flags((means > lowest) & np.isfinite(candidates.scores))


RULES: dict[str, Rule] = {
    "fraction": Rule(fraction),
    "count": Rule(count),
    "threshold": Rule(threshold),
    "posterior": Rule(posterior, by_posterior=True),
    "mixture": Rule(mixture, by_posterior=True),
    "soft": Rule(soft, by_posterior=True),
    "trimmed": Rule(trimmed),
    "balanced": Rule(balanced, cell="view"),
    "micrograph": Rule(micrograph, by_posterior=True, cell="micrograph"),
}
"""Every rule by its name, which is also that of the setting that holds its value."""


def _flags(kept: NDArray[np.bool_]) -> Weights:
    return kept.astype(np.float64)
