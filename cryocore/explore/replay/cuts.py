"""Selections that cut a score, at many places at once, with the numbers of their replays.

A rule cuts where it keeps the best of each half set, and all alike: a selection is then two numbers of particles. All
that a replay says of it is made of sums over the particles that are kept, and these are taken along the order of the
score, so that a hundred selections cost a little more than one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryocore.config.rules import RULES
from cryocore.explore.replay.known import Known
from cryocore.explore.replay.resolution import Prediction, effective_correct, predicted, scaled_fsc
from cryocore.log.error_rate import ErrorRate
from cryocore.log.names import LIKELY_KIND, MIXTURE, PROBABILITY, SCORES, SPOILT, lower_is_better
from cryocore.log.rounds import LogRound
from cryocore.select.rules import rising
from cryocore.statistics import posterior
from cryocore.types import Floats, Ints

PLACES = 100
"""Selections by one score and rule."""
TENTHS = 10
"""Groups by the share of them that is kept, in equal steps from 0 to 1."""

Texts = tuple[str, ...]


@dataclass(frozen=True)
class Order:
    """The particles of each half set from the best to the worst by a score.

    ``score`` : ``(n,)``, as it stands in the log
    ``rows`` : of each half set those with a score; the best first, and of equal ones the lowest id
    ``ranked`` : their scores, higher is better, descending
    ``sizes`` : particles of each half set, those without a score among them
    """

    name: str
    score: NDArray[np.float32]
    rows: tuple[Ints, Ints]
    ranked: tuple[Floats, Floats]
    sizes: tuple[int, int]

    @classmethod
    def of(cls, name: str, score: NDArray[np.float32], known: Known) -> Order | None:
        """By a score ``(n,)``; None where it tells nothing in a half set."""
        values = score.astype(np.float64)
        if not lower_is_better(name):
            values = -values
        rows, ranked, sizes = [], [], []
        for h in (1, 2):
            members = known.half == h
            found = np.flatnonzero(members & np.isfinite(values))
            found = found[rising(values[found], known.ids[found])]
            if not len(found) or values[found[0]] == values[found[-1]]:
                return None
            rows.append(found)
            ranked.append(-values[found])
            sizes.append(int(np.count_nonzero(members)))
        return cls(name, score, (rows[0], rows[1]), (ranked[0], ranked[1]), (sizes[0], sizes[1]))

    def reaching(self, lowest: float) -> tuple[int, int]:
        """How many of each half set reach a value, higher is better."""
        return _at_least(self.ranked, lowest)

    def above(self, lowest: float) -> tuple[int, int]:
        """How many of each half set exceed a value, higher is better."""
        return _at_least(self.ranked, np.nextafter(lowest, np.inf))

    def best(self, share: float) -> tuple[int, int]:
        """How many of each half set the best share is, of those that have a score."""
        first, second = (min(round(share * n), len(r)) for n, r in zip(self.sizes, self.rows, strict=True))
        return first, second


def _at_least(ranked: tuple[Floats, Floats], lowest: float) -> tuple[int, int]:
    """How many of descending values reach a value, in each half set."""
    first, second = (len(values) - int(np.searchsorted(values[::-1], lowest)) for values in ranked)
    return first, second


@dataclass(frozen=True)
class Places:
    """Where a rule cuts, the strictest first.

    ``value`` : of the rule, as configurations and commands take it
    ``kept`` : ``(places, 2)``, particles of each half set
    """

    value: Texts
    kept: Ints

    @classmethod
    def of(cls, values: Sequence[str], count: Callable[[float], tuple[int, int]]) -> Places:
        """Those values that keep particles in both half sets, one of those that keep the same."""
        kept = {count(float(value)): value for value in values}
        pairs = sorted(pair for pair in kept if min(pair) > 0)
        return cls(tuple(kept[pair] for pair in pairs), np.array(pairs, dtype=np.int64).reshape(-1, 2))


def _fractions(order: Order, _: ErrorRate | None) -> Places:
    return Places.of([f"{i / PLACES:g}" for i in range(PLACES, 0, -1)], order.best)


def _thresholds(order: Order, _: ErrorRate | None) -> Places:
    """At every hundredth of the first half set, and at 0; rounded, so that they can be read."""
    ranked = order.ranked[0]
    sign = -1.0 if lower_is_better(order.name) else 1.0
    low, high = np.quantile(ranked, (0.05, 0.95))
    digits = int(np.clip(np.ceil(2.5 - np.log10(high - low)), 0, 12)) if high > low else 6
    steps = ranked[np.linspace(0, len(ranked) - 1, PLACES).round().astype(int)]
    named = np.unique(np.round([*sign * steps, 0.0], digits)) + 0.0
    return Places.of([f"{v:.{digits}f}" for v in named], lambda value: order.reaching(sign * value))


def _posteriors(order: Order, _: ErrorRate | None) -> Places:
    first, second = (posterior(odds) for odds in order.ranked)
    values = [f"{i / PLACES:g}" for i in range(PLACES)]
    return Places.of(values, lambda lowest: _at_least((first, second), np.nextafter(lowest, np.inf)))


def _mixtures(order: Order, rate: ErrorRate | None) -> Places:
    share = rate.value if rate is not None and rate.method == "mixture" else 0.0
    steps = [f"{i / 20:g}" for i in range(2 * PLACES)]
    return Places.of(steps if share else steps[:1], lambda factor: order.best(1.0 - min(factor * share, 1.0)))


def _probabilities(order: Order, _: ErrorRate | None) -> Places:
    return Places.of([f"{i / PLACES:g}" for i in range(PLACES)], order.above)


CUTS: dict[str, Callable[[Order, ErrorRate | None], Places]] = {
    "fraction": _fractions,
    "threshold": _thresholds,
    "posterior": _posteriors,
    "mixture": _mixtures,
    "probability": _probabilities,
}
"""Rules that cut, and where."""


@dataclass(frozen=True)
class Cuts:
    """Selections by one rule and score, the strictest first, with what their replays say; NaN where that is None.

    ``value``, ``kept`` : as in :class:`Places`
    ``worst_kept`` : ``(places, 2)``, of each half set
    ``correct_rate``, ``recall`` : ``(places,)``, against the flags
    ``expected_correct`` : ``(places,)``, the sum of the probabilities of being correct
    ``predictions`` : of each place
    ``fsc`` : ``(places, shells)``, predicted; None where the round's curve is not at hand
    ``views_moved``, ``least_kept`` : ``(places,)``, total variation of views, and the least share of a bin that is kept
    ``by_bin`` : ``(places, bins)``, share of each bin of views that is kept
    ``micrographs`` : ``(places, 10)``, how many of the micrographs are kept to a tenth, two tenths, ...
    ``losing`` : ``(places,)``, micrographs that lose more than half of their particles
    """

    rule: str
    score: str
    value: Texts
    kept: Ints
    worst_kept: Floats
    correct_rate: Floats
    recall: Floats
    expected_correct: Floats
    predictions: tuple[Prediction, ...]
    fsc: Floats | None
    views_moved: Floats
    least_kept: Floats
    by_bin: Floats | None
    micrographs: Ints | None
    losing: Floats


def score_orders(log_round: LogRound, known: Known) -> Iterator[tuple[Order, Texts]]:
    """The orders of a round's scores, one in memory at a time, and the rules that cut by each.

    Rules of the mixture's probability leave out particles that something in the image hides, rules that rank by any
    score do not.
    """
    of_any = tuple(rule for rule in CUTS if RULES[rule].score is None)
    for name in (MIXTURE, PROBABILITY, *SCORES):
        score = log_round.column(name)
        order = None if score is None else Order.of(name, score, known)
        if score is None or order is None:
            continue
        own = tuple(rule for rule in CUTS if RULES[rule].score == name)
        kinds = log_round.labels(LIKELY_KIND) if name == MIXTURE else None
        if kinds is None or SPOILT not in kinds[1]:
            yield order, (*of_any, *own)
            continue
        yield order, of_any
        clear = np.where(kinds[0] == kinds[1].index(SPOILT), np.float32(np.nan), score)
        if (order := Order.of(name, clear, known)) is not None:
            yield order, own


def all_cuts(log_round: LogRound, known: Known) -> Iterator[Cuts]:
    """Selections by every score of a round and every rule that cuts it, of which ``known`` is what the log
    knows."""
    rate = ErrorRate.of(log_round.metadata)
    likely = log_round.posterior()
    for order, rules in score_orders(log_round, known):
        for rule in rules:
            places = CUTS[rule](order, rate)
            if len(places.value):
                yield cuts(rule, order, places, known, likely, log_round)


def cuts(
    rule: str,
    order: Order,
    places: Places,
    known: Known,
    likely: NDArray[np.float32] | None,
    log_round: LogRound,
) -> Cuts:
    """What the selections at these places come to.

    ``likely`` ``(n,)`` are the log's probabilities of being correct; None where it has none.
    """
    n_places, n = len(places.value), len(known.ids)
    nothing = np.full(n_places, np.nan)
    # the first place that keeps a particle; the places keep ever more of the same order
    first = np.full(n, n_places, dtype=np.int64)
    for rows, kept in zip(order.rows, places.kept.T, strict=True):
        first[rows[: kept[-1]]] = np.repeat(np.arange(n_places), np.diff(kept, prepend=0))

    def sums(values: NDArray[np.floating] | None, code: Ints | None = None, n_codes: int = 1) -> Floats:
        """Over the kept particles of each place and code, ``(places, codes)``; without values their number."""
        cell = first if code is None else first * n_codes + code
        counted = np.bincount(cell, weights=values, minlength=(n_places + 1) * n_codes)
        return counted.reshape(n_places + 1, n_codes)[:-1].cumsum(axis=0).astype(np.float64)

    total = places.kept.sum(axis=1)
    rates = (nothing, nothing)
    if (known.flags >= 0).any():
        flagged = sums((known.flags >= 0).astype(np.float64))[:, 0]
        hits = sums((known.flags == 1).astype(np.float64))[:, 0]
        rates = _ratio(hits, flagged), _ratio(hits, np.full(n_places, np.count_nonzero(known.flags == 1)))
    predictions, fsc = _predictions(places, known, sums, log_round)
    moved, least, by_bin = nothing, nothing, None
    if known.views is not None:
        by_bin, moved, least = _views(sums(None, known.views.bin_index, len(known.views.centre)), known, total)
    micrographs, losing = None, nothing
    if "micrograph" in known.groups:
        labels, names = known.groups["micrograph"]
        codes = labels.astype(np.int64)
        micrographs, losing = _micrographs(sums(None, codes, len(names)), codes, len(names))
    worst = [order.score[rows[kept - 1]] for rows, kept in zip(order.rows, places.kept.T, strict=True)]
    return Cuts(
        rule=rule,
        score=order.name,
        value=places.value,
        kept=places.kept,
        worst_kept=np.stack(worst, axis=1).astype(np.float64),
        correct_rate=rates[0],
        recall=rates[1],
        expected_correct=nothing if likely is None else sums(likely)[:, 0],
        predictions=predictions,
        fsc=fsc,
        views_moved=moved,
        least_kept=least,
        by_bin=by_bin,
        micrographs=micrographs,
        losing=losing,
    )


def _predictions(
    places: Places, known: Known, sums: Callable[..., Floats], log_round: LogRound
) -> tuple[tuple[Prediction, ...], Floats | None]:
    """Of all weights 1, G is (Σ p)² / n."""
    if known.weights is None:
        return (), None
    half = known.half.astype(np.int64) - 1
    correct = np.ones_like(known.weights) if known.likely is None else known.likely
    new = sums(correct, half, 2) ** 2 / places.kept
    old = [effective_correct(known.weights[half == h], correct[half == h]) for h in (0, 1)]
    curves = log_round.curves
    found = tuple(predicted(old, pair, curves) for pair in new.tolist())
    if curves is None or min(old) <= 0:
        return found, None
    return found, np.stack([scaled_fsc(curves.corrected, *(pair / old)) for pair in new])


def _views(kept: Floats, known: Known, total: Ints) -> tuple[Floats, Floats, Floats]:
    """Kept shares of bins ``(places, bins)``; total variation and the least share of a bin as in ``ViewShift``."""
    views = known.views
    everyone = np.bincount(views.bin_index, minlength=kept.shape[1]) if views is not None else np.ones(0)
    moved = 0.5 * np.abs(kept / total[:, None] - everyone / everyone.sum()).sum(axis=1)
    relative = kept / everyone
    expected = everyone * total[:, None] / len(known.ids)
    least = np.where(expected >= 10, relative, np.inf).min(axis=1)
    return relative, moved, np.where(np.isfinite(least), least, np.nan)


def _micrographs(kept: Floats, codes: Ints, n_codes: int) -> tuple[Ints, Floats]:
    size = np.bincount(codes, minlength=n_codes)
    share = kept[:, size > 0] / size[size > 0]
    tenth = np.minimum((share * TENTHS).astype(np.int64), TENTHS - 1) + TENTHS * np.arange(len(kept))[:, None]
    counted = np.bincount(tenth.ravel(), minlength=TENTHS * len(kept)).reshape(-1, TENTHS)
    return counted, np.count_nonzero(share < 0.5, axis=1).astype(np.float64)


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
