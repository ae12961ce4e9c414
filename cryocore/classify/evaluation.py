"""How well a classifier's probability tells correct particles from incorrect ones, with intervals, and beside other
scores.

Intervals are of a bootstrap [1]_ over groups of particles (micrographs), because particles of one micrograph share its
defocus, its ice and its mistakes.

.. [1] Davison & Hinkley (1997). Bootstrap Methods and their Application, ch. 2 and 3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.errors import InputError
from cryocore.log.names import lower_is_better
from cryocore.types import Bools, Floats

RESAMPLES, LEVEL = 1000, 0.95
FEWEST_GROUPS = 20
"""With fewer groups particles are drawn instead: quantiles of a few groups are no interval."""
BINS, CHANCE_DRAWS, LEVELS = 10, 200, 2048

Statistics = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class Bin:
    """Particles with a probability from ``low`` to ``high``: how many, their mean probability, the share of correct
    ones.

    Both are None where there are none.
    """

    low: float
    high: float
    n: int
    probability: float | None
    share: float | None


@dataclass(frozen=True)
class Kind:
    """Incorrect particles of one kind, and the AUC of all correct particles against them."""

    n: int
    auc: Estimate


@dataclass(frozen=True)
class Evaluation:
    """What a probability is worth; a particle is called correct where it is above 0.5.

    ``resampled`` : ``groups``, or ``particles`` where the groups are too few
    ``confusion`` : rows truly incorrect, truly correct; columns called incorrect, called correct
    ``brier`` : mean squared difference of probability and truth
    ``calibration_error`` : mean distance of probability and share of correct ones over the bins of ``reliability``,
        weighted by their particles; ``calibration_by_chance`` is what a calibrated probability would show
    """

    n: int
    n_correct: int
    n_groups: int
    resampled: str
    accuracy: Estimate
    balanced_accuracy: Estimate
    auc: Estimate
    kappa: Estimate
    brier: Estimate
    calibration_error: Estimate
    calibration_by_chance: float
    confusion: tuple[tuple[int, int], tuple[int, int]]
    reliability: tuple[Bin, ...]
    kinds: dict[str, Kind]

    def as_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Comparison:
    """The classifier beside other scores, on the same particles.

    ``auc`` : of the classifier (``probability``) and of each score; ``n`` : particles that have it
    ``gain`` : AUC of the classifier less that of the score, drawn together
    ``gain_over_best`` : over whichever score is best, in each draw anew; ``best`` is it on all particles
    """

    n: dict[str, int]
    resampled: str
    auc: dict[str, Estimate]
    gain: dict[str, Estimate]
    best: str
    gain_over_best: Estimate

    def as_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def evaluate(
    probability: Floats, label: Bools, *, groups: NDArray[Any], kinds: NDArray[Any] | None = None, seed: int
) -> Evaluation:
    """Assess a probability of being correct by the truth.

    Parameters
    ----------
    probability, label, groups : (n,)  from 0 to 1; whether the particle is correct; what its micrograph is called
    kinds : (n,)                       what is wrong with an incorrect particle, by name

    Raises
    ------
    InputError  if there are no correct or no incorrect particles, or values are no probabilities.
    """
    probability, label = np.asarray(probability, dtype=np.float64), np.asarray(label, dtype=bool)
    _check(probability, label, groups)
    if not ((probability >= 0) & (probability <= 1)).all():
        raise InputError("probabilities must be finite and from 0 to 1", fix="Score only particles that have one")
    called = probability > 0.5
    of_kind = {} if kinds is None else {str(k): ~label & (kinds == k) for k in np.unique(kinds[~label])}
    areas = [Area(probability, label)] + [Area(probability, label, label | incorrect) for incorrect in of_kind.values()]
    which = np.minimum((probability * BINS).astype(int), BINS - 1)
    cell = 2 * label + called

    def statistics(weight: Floats) -> Floats:
        table = np.bincount(cell, weight, 4).reshape(2, 2) / weight.sum()
        off = np.bincount(which, weight * (probability - label), BINS)
        rates = [*_agreement(table), np.average((probability - label) ** 2, weights=weight)]
        return np.array([*rates, np.abs(off).sum() / weight.sum(), *(area(weight) for area in areas)])

    codes, resampled = _codes(groups)
    values, draws = statistics(np.ones(len(label))), _draws(codes, statistics, seed)
    accuracy, balanced, kappa, brier, calibration, area, *areas_of_kinds = map(_estimate, values, draws.T)
    table = np.bincount(cell, minlength=4).tolist()
    return Evaluation(
        n=len(label),
        n_correct=int(label.sum()),
        n_groups=len(np.unique(groups)),
        resampled=resampled,
        accuracy=accuracy,
        balanced_accuracy=balanced,
        auc=area,
        kappa=kappa,
        brier=brier,
        calibration_error=_reflected(calibration),
        calibration_by_chance=_by_chance(probability, which, seed),
        confusion=((table[0], table[1]), (table[2], table[3])),
        reliability=_reliability(probability, label, which),
        kinds={k: Kind(int(w.sum()), a) for (k, w), a in zip(of_kind.items(), areas_of_kinds, strict=True)},
    )


def compare(
    probability: Floats, scores: Mapping[str, Floats], label: Bools, groups: NDArray[Any], seed: int
) -> Comparison:
    """Set the AUC of a classifier beside that of each score; the name of a score says whether small values are good.

    Particles without a finite score are left out of what concerns it.

    Raises
    ------
    InputError  if there are no correct or no incorrect particles, or no score tells of both.
    """
    probability, label = np.asarray(probability, dtype=np.float64), np.asarray(label, dtype=bool)
    _check(probability, label, groups)
    names, areas, partners, counts = list[str](), list[Area](), list[Area](), {"probability": len(label)}
    for name, values in scores.items():
        has = np.isfinite(values)
        if 0 < label[has].sum() < has.sum():
            names.append(name)
            areas.append(Area(-values if lower_is_better(name) else values, label, has))
            partners.append(Area(probability, label, has))
            counts[name] = int(has.sum())
    if not names:
        raise InputError("no score has values of correct and of incorrect particles", fix="Score the particles first")
    whole = Area(probability, label)
    complete = [count == len(label) for name, count in counts.items() if name != "probability"]

    def statistics(weight: Floats) -> Floats:
        all_in_all, known = whole(weight), np.array([area(weight) for area in areas])
        own = [all_in_all if is_whole else p(weight) for is_whole, p in zip(complete, partners, strict=True)]
        gains = np.array(own) - known
        return np.array([all_in_all, *known, *gains, gains.min()])

    codes, resampled = _codes(groups)
    values, draws = statistics(np.ones(len(label))), _draws(codes, statistics, seed)
    found = list(map(_estimate, values, draws.T))
    n = len(names)
    gain = dict(zip(names, found[n + 1 : 2 * n + 1], strict=True))
    return Comparison(
        n=counts,
        resampled=resampled,
        auc=dict(zip(["probability", *names], found[: n + 1], strict=True)),
        gain=gain,
        best=min(gain, key=lambda name: gain[name].value),
        gain_over_best=found[-1],
    )


class Area:
    """The AUC of the chosen particles as a function of the weights of all; ties count one half.

    Scores of more than ``LEVELS`` values are cut into as many levels by rank, which moves the AUC by less than 0.0003.
    """

    def __init__(self, score: Floats, label: Bools, chosen: Bools | None = None) -> None:
        self._rows = slice(None) if chosen is None else np.flatnonzero(chosen)
        values, level = np.unique(score[self._rows], return_inverse=True)
        if len(values) > LEVELS:
            level = level * LEVELS // len(values)
        self._cell = 2 * level + label[self._rows]

    def __call__(self, weight: Floats) -> float:
        incorrect, correct = np.bincount(self._cell, weight[self._rows], 2 * LEVELS).reshape(-1, 2).T
        pairs = correct.sum() * incorrect.sum()
        return float(correct @ (incorrect.cumsum() - 0.5 * incorrect) / pairs) if pairs else np.nan


def _check(probability: Floats, label: Bools, groups: NDArray[Any]) -> None:
    if not len(probability) == len(label) == len(groups):
        raise InputError(
            f"{len(probability)} probabilities, {len(label)} labels and {len(groups)} groups differ in number",
            fix="Give one of each per particle",
        )
    if label.all() or not label.any():
        raise InputError(
            "correct and incorrect particles are both needed to assess a classifier", fix="Plant errors, or score more"
        )


def _agreement(table: Floats) -> tuple[float, float, float]:
    """Accuracy, balanced accuracy and Cohen's kappa of shares, rows true, columns called."""
    accuracy = float(np.trace(table))
    true, called = table.sum(axis=1), table.sum(axis=0)
    by_chance = float(true @ called)
    balanced = float(np.mean(np.diag(table) / true)) if true.all() else np.nan
    return accuracy, balanced, (accuracy - by_chance) / (1.0 - by_chance) if by_chance < 1.0 else np.nan


def _codes(groups: NDArray[Any]) -> tuple[NDArray[np.int64], str]:
    """The number of each particle's group, or its own where groups are too few, and which it is."""
    names, codes = np.unique(groups, return_inverse=True)
    if len(names) < FEWEST_GROUPS:
        return np.arange(len(groups)), "particles"
    return codes, "groups"


def _draws(codes: NDArray[np.int64], statistics: Statistics, seed: int) -> Floats:
    """The statistics of groups drawn with replacement, one row per draw."""
    random, n = np.random.default_rng(seed), int(codes.max()) + 1
    times = (np.bincount(random.integers(n, size=n), minlength=n) for _ in range(RESAMPLES))
    return np.array([statistics(drawn[codes].astype(np.float64)) for drawn in times])


def _estimate(value: float, draws: Floats) -> Estimate:
    """A figure with the quantiles of its draws; those without a class are left out."""
    finite = draws[np.isfinite(draws)]
    tail = 0.5 * (1.0 - LEVEL)
    low, high = np.quantile(finite, [tail, 1.0 - tail]) if len(finite) else (value, value)
    return Estimate(float(value), float(low), float(high))


def _reflected(estimate: Estimate) -> Estimate:
    """The basic interval of a distance: a draw is farther from calibration than the particles it is drawn from."""
    value = estimate.value
    return Estimate(value, max(2 * value - estimate.high, 0.0), max(2 * value - estimate.low, 0.0))


def _by_chance(probability: Floats, which: NDArray[np.int64], seed: int) -> float:
    """The mean calibration error if every probability were true."""
    random = np.random.default_rng([seed, 1])
    truths = (random.random(len(probability)) < probability for _ in range(CHANCE_DRAWS))
    errors = [np.abs(np.bincount(which, probability - truth, BINS)).sum() / len(probability) for truth in truths]
    return float(np.mean(errors))


def _reliability(probability: Floats, label: Bools, which: NDArray[np.int64]) -> tuple[Bin, ...]:
    n, chance, correct = (np.bincount(which, values, BINS) for values in (np.ones(len(label)), probability, label))
    return tuple(
        Bin(i / BINS, (i + 1) / BINS, int(m), float(p / m) if m else None, float(r / m) if m else None)
        for i, (m, p, r) in enumerate(zip(n, chance, correct, strict=True))
    )
