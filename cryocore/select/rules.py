"""Rules: pure functions from what is known of the particles of one half set to their weights.

``cryocore.config.rules`` names each, with the values that it takes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryocore.select import weights as simplex_weights
from cryocore.select.groups import shrunk_means
from cryocore.select.weights import standard_loss
from cryocore.types import Ids, Ints

Scores = NDArray[np.float64]
Weights = NDArray[np.floating]


STEPS = 32
"""Of weights between 0 and 1: most particles keep theirs from round to round, and their images are not read again."""


@dataclass(frozen=True)
class Candidates:
    """The particles of one half set.

    ``scores`` : ``(n,)``, higher is better, NaN for a particle without one
    ``ids`` : ``(n,)``
    ``posterior`` : ``(n,)``, probability of being correct; NaN where the rule asks for none
    ``bin_index`` : ``(n,)``, the group that each is in; 0 where the rule asks for none
    ``error_rate`` : estimated share of incorrect particles; NaN where the rule asks for none
    ``before`` : ``(n,)``, weights in the map that the scores come from; 1 where the rule asks for none

    >>> candidates = Candidates(
    ...     scores=np.array([3.0, 1.0, 2.0, np.nan]),
    ...     ids=np.arange(4, dtype=np.uint64),
    ...     posterior=np.array([0.9, 0.02, 0.6, 0.0]),
    ...     bin_index=np.zeros(4, dtype=np.int64),
    ...     error_rate=0.5,
    ...     before=np.ones(4),
    ... )
    >>> [rule(candidates, 0.5).tolist() for rule in (fraction, posterior)]
    [[1.0, 0.0, 1.0, 0.0], [1.0, 0.0, 1.0, 0.0]]
    >>> threshold(candidates, 1.0).tolist(), mixture(candidates, 1.0).tolist()
    ([1.0, 1.0, 1.0, 0.0], [1.0, 0.0, 1.0, 0.0])
    >>> soft(candidates, 0.05).tolist()
    [0.90625, 0.0, 0.59375, 0.0]
    """

    scores: Scores
    ids: Ids
    posterior: Scores
    bin_index: Ints
    error_rate: float
    before: Scores


def best(scores: Scores, ids: Ids, n: int) -> NDArray[np.bool_]:
    """The ``n`` highest finite scores; among equals the lowest ids, so that the order of rows does not matter.

    >>> best(np.array([3.0, 2.0, 2.0, np.nan]), np.array([7, 9, 8, 1], dtype=np.uint64), 2).tolist()
    [True, False, True, False]
    """
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


def rising(values: Scores, ids: Ids) -> NDArray[np.intp]:
    """The order of rising values; among equals that of ids. ``np.lexsort`` does the same in four times as long."""
    order = np.argsort(values)
    equal = values[order[1:]] == values[order[:-1]]
    tied = np.flatnonzero(np.append(equal, False) | np.insert(equal, 0, False))
    rows = order[tied]
    order[tied] = rows[np.lexsort((ids[rows], values[rows]))]
    return order


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
    return _flags(standard_loss(candidates.scores) <= k)


def balanced(candidates: Candidates, share: float) -> Weights:
    """The best share of the particles of every bin of views."""
    rank = np.empty(len(candidates.ids))
    order = rising(-np.nan_to_num(candidates.scores, nan=-np.inf), candidates.ids)
    narrow = candidates.bin_index.astype(
        np.min_scalar_type(int(candidates.bin_index.max(initial=0)))
    )  # sorted in linear time
    order = order[np.argsort(narrow[order], kind="stable")]
    size = np.bincount(candidates.bin_index)
    place = np.arange(len(order)) - np.repeat(np.cumsum(size) - size, size)
    rank[order] = (place + 0.5) / np.repeat(size, size)
    rank[~np.isfinite(candidates.scores)] = np.nan
    return _flags(best(-rank, candidates.ids, round(share * len(candidates.ids))))


def posterior(candidates: Candidates, lowest: float) -> Weights:
    """All particles whose probability of being correct exceeds a value."""
    return _flags(candidates.posterior > lowest)


def probability(candidates: Candidates, lowest: float) -> Weights:
    """All particles to which the classifier gives more than a probability of being correct."""
    return _flags(np.nan_to_num(candidates.scores, nan=-np.inf) > lowest)


def mixture(candidates: Candidates, factor: float) -> Weights:
    """As many of the best particles as are estimated to be correct; ``factor`` times the error rate is dropped."""
    kept = 1.0 - min(factor * candidates.error_rate, 1.0)
    return fraction(candidates, kept)


def soft(candidates: Candidates, floor: float) -> Weights:
    """Every particle weighs as much as it is probably correct, to a 32nd, and nothing below a floor."""
    return weights_of(candidates.posterior, floor)


def weights_of(likely: Scores, floor: float) -> Weights:
    """Probabilities as weights."""
    return np.where(likely >= floor, np.round(likely * STEPS) / STEPS, 0.0)


def micrograph(candidates: Candidates, lowest: float) -> Weights:
    """All particles of micrographs whose mean probability of being correct, drawn to that of all, exceeds a value."""
    means = shrunk_means(candidates.posterior, candidates.bin_index)
    return _flags((means > lowest) & np.isfinite(candidates.scores))


def softmax(candidates: Candidates, beta: float) -> Weights:
    """Weights exp(-beta d) of the standard loss d."""
    return simplex_weights.softmax(standard_loss(candidates.scores), beta)


def absolute(candidates: Candidates, step: float) -> Weights:
    """A step of gradient descent from the last round's weights, as absolute values."""
    return simplex_weights.absolute(standard_loss(candidates.scores), step, candidates.before)


def simplex(candidates: Candidates, quadratic: float) -> Weights:
    """Weights by projection on the simplex."""
    return simplex_weights.simplex(standard_loss(candidates.scores), quadratic)


def capped(candidates: Candidates, share: float) -> Weights:
    """Weights by projection on the capped simplex, where at least a share of the particles must count."""
    return simplex_weights.capped(standard_loss(candidates.scores), share)


def huber(candidates: Candidates, limit: float) -> Weights:
    """Weights of iteratively reweighted least squares: full up to a loss, beyond it as its inverse."""
    return simplex_weights.huber(standard_loss(candidates.scores), limit)


def student(candidates: Candidates, degrees_of_freedom: float) -> Weights:
    """Weights of Student's t distribution."""
    return simplex_weights.student(standard_loss(candidates.scores), degrees_of_freedom)


def _flags(kept: NDArray[np.bool_]) -> Weights:
    return kept.astype(np.float64)
