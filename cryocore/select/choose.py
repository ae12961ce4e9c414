"""From the log of one round to the weights of the next: what replays and the workflow share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.config.base import per_round
from cryocore.config.rules import RULES
from cryocore.config.select import Select
from cryocore.errors import InputError
from cryocore.log.error_rate import ErrorRate
from cryocore.log.names import LIKELY_KIND, MIXTURE, SPOILT, lower_is_better
from cryocore.select.groups import BIN_COLUMNS, bins, normalised
from cryocore.select.rules import Candidates, Scores
from cryocore.statistics import effective_number, posterior
from cryocore.tables.particles import IMAGE
from cryocore.types import Bools

Columns = Mapping[str, NDArray[Any]]

VIEW = BIN_COLUMNS["view"]
DESCRIBING = (MIXTURE, LIKELY_KIND)
"""Columns of the log that say what each particle is, whatever the rule decides by."""


@dataclass(frozen=True)
class Selection:
    """What a rule decides, in the order of the log's rows.

    ``weights`` : float32 ``(n,)``, 0 for particles that are dropped
    ``selected`` : ``(n,)``, those that are selected
    ``guarded`` : ``(n,)``, those of them that are selected for their rare views alone
    ``kinds`` : ``(n,)``, what each particle most probably is; None where the log does not say
    ``posterior`` : ``(n,)``, probability of being correct; None where the log does not allow one
    ``error_rate`` : None likewise
    """

    weights: NDArray[np.float32]
    selected: NDArray[np.bool_]
    guarded: NDArray[np.bool_]
    kinds: NDArray[np.object_] | None
    posterior: Scores | None
    error_rate: ErrorRate | None


def columns_needed(settings: Select, available: Sequence[str], *, described: bool = True) -> list[str]:
    """The columns of a log that a selection reads, in order, the optional ones only where they are available.

    With ``described`` off they are those that decide, without those that only describe the result.

    Raises
    ------
    InputError  if one is missing that the rule or the score cannot do without.

    >>> columns_needed(Select(rule="fraction", score="zc"), ["particle_id", "half", "zc", "ncc"])
    ['particle_id', 'half', 'zc']
    """
    rule = RULES[settings.rule]
    score = settings.score
    required = ["particle_id", "half", score]
    kinds = (rule.grouped_by, None if settings.normalise == "none" else settings.normalise)
    required += [name for kind in kinds if kind for name in BIN_COLUMNS[kind]]
    required += ["weight"] if rule.goes_on else []
    deciding = [LIKELY_KIND] if rule.score == MIXTURE else []
    missing = [name for name in required if name not in available]
    if missing:
        raise InputError(
            f"the log has no column {missing[0]!r}, which the selection by {settings.rule} of {score} reads",
            column=missing[0],
            fix="Choose another select.rule or select.score, or score the particles again",
        )
    optional = (*(DESCRIBING if described else deciding), IMAGE, *(VIEW if _is_guarded(settings) else ()))
    return list(dict.fromkeys([*required, *(name for name in optional if name in available)]))


def _is_guarded(settings: Select) -> bool:
    """Whether a list is made of weights, and rare views are guarded in it."""
    return settings.guard_rare_views and RULES[settings.rule].listed > 0


def choose(
    columns: Columns,
    settings: Select,
    round_number: int,
    *,
    symmetry: str = "C1",
    rate: ErrorRate | None = None,
) -> Selection:
    """Apply the rule of the settings to the log of a round, to each half set on its own.

    Parameters
    ----------
    columns : those that :func:`columns_needed` names, each ``(n,)``
    round_number : the round that the selection is for, from 1
    symmetry : point group by which views are reduced to the asymmetric unit
    rate : error rate that the log states

    Raises
    ------
    InputError  if a half set has no informative score, or would keep fewer than ``settings.minimum`` particles.

    >>> log = {
    ...     "particle_id": np.arange(6, dtype=np.uint64),
    ...     "half": np.array([1, 2, 1, 2, 1, 2]),
    ...     "zc": np.array([5.0, 4.0, 0.3, 6.0, 4.5, -0.2]),
    ... }
    >>> settings = Select(rule="threshold", value=[1.0], score="zc", minimum=1)
    >>> choose(log, settings, round_number=1).weights.tolist()
    [1.0, 1.0, 0.0, 1.0, 1.0, 0.0]
    """
    ids, half = columns["particle_id"], columns["half"]
    odds = _log_odds(columns)
    rule, value = RULES[settings.rule], float(per_round(settings.value, round_number))
    scores, name = scores_of(columns, settings, odds)
    is_loss = lower_is_better(settings.score)
    likely = np.full(len(ids), np.nan) if odds is None else posterior(odds)
    if rule.score == MIXTURE and LIKELY_KIND in columns:
        spoilt = columns[LIKELY_KIND] == SPOILT
        scores, likely = np.where(spoilt, np.nan, scores), np.where(spoilt, 0.0, likely)
    if settings.rule == "mixture" and rate is None:
        raise InputError(
            "the log states no error rate, by which the rule mixture chooses",
            setting="select.rule",
            fix="Use soft or posterior, or score the round again",
        )
    if settings.rule == "threshold" and is_loss:
        value = -value
    weights, selected = np.zeros(len(ids), dtype=np.float32), np.zeros(len(ids), dtype=bool)
    guarded = np.zeros(len(ids), dtype=bool)
    for h in (1, 2):
        members = np.flatnonzero(half == h)
        part = {n: v[members] for n, v in columns.items()}
        own = scores[members]
        require_informative(own, name, h)
        if settings.normalise != "none":
            own = normalised(own, bins(settings.normalise, part, symmetry))
        bin_index = bins(rule.grouped_by, part, symmetry) if rule.grouped_by else np.zeros(len(members), dtype=np.int64)
        share = np.nan if rate is None else rate.value if rate.method == "mixture" else 0.0
        before = part["weight"].astype(np.float64) if rule.goes_on else np.ones(len(members))
        weights[members] = rule.weigh(Candidates(own, ids[members], likely[members], bin_index, share, before), value)
        selected[members] = rule.selected(weights[members])
        if _is_guarded(settings) and all(name in part for name in VIEW):
            rescued = guard(likely[members], selected[members], weights[members] > 0, part, symmetry)
            guarded[members] = rescued & ~selected[members]
            selected[members] = rescued
        estimate = rate if rule.score == MIXTURE else None
        shown = abs(value) if is_loss else value
        listed = int(np.count_nonzero(selected[members]))
        require_enough(weights[members], listed, settings, shown, h, round_number, estimate, part.get(IMAGE))
    return described(Selection(weights, selected, guarded, None, None, rate), columns)


def described(selection: Selection, columns: Columns) -> Selection:
    """A selection with what the columns :data:`DESCRIBING`, each ``(n,)``, say of its particles."""
    odds = _log_odds(columns)
    return replace(selection, kinds=columns.get(LIKELY_KIND), posterior=None if odds is None else posterior(odds))


def guard(likely: Scores, listed: Bools, candidates: Bools, columns: Columns, symmetry: str) -> Bools:
    """:func:`cryocore.select.view_guard.guarded` for the columns of a log."""
    from cryocore.geometry.symmetry import point_group  # slow to import, and other rules do without
    from cryocore.select.view_guard import guarded

    views = np.stack([columns[name].astype(np.float64) for name in VIEW], axis=1)
    return guarded(likely, listed, candidates, views, point_group(symmetry))


def _log_odds(columns: Columns) -> Scores | None:
    """Log odds of being correct ``(n,)``; None where the log knows none."""
    odds = np.asarray(columns.get(MIXTURE, np.nan), dtype=np.float64)
    return odds if np.isfinite(odds).any() else None


def scores_of(columns: Columns, settings: Select, odds: Scores | None) -> tuple[Scores, str]:
    """The scores ``(n,)`` that a rule ranks by, higher is better, and what they are called."""
    name = settings.score
    if name == MIXTURE:
        return (np.full(len(columns["particle_id"]), np.nan) if odds is None else odds), MIXTURE
    values = np.asarray(columns[name], dtype=np.float64)
    return (-values if lower_is_better(name) else values), name


def require_informative(scores: Scores, name: str, half: int) -> None:
    """Refuse scores from which nothing can be chosen."""
    finite = scores[np.isfinite(scores)]
    if len(finite) and finite.min() < finite.max():
        return
    what = f"all {len(finite)} scores are equal" if len(finite) else "no score is a number"
    raise InputError(
        f"in half set {half} {what}: nothing can be chosen by {name}",
        setting="select.score",
        fix="Look at the half maps of that round and their FSC: where they agree nowhere, no image can be scored",
    )


def require_enough(
    weights: NDArray[np.float32],
    listed: int,
    settings: Select,
    value: float,
    half: int,
    round_number: int,
    estimate: ErrorRate | None = None,
    images: NDArray[np.uint64] | None = None,
) -> None:
    """Refuse a selection that leaves too few particles in the map of a half set, or on its list.

    ``listed`` is how many are on the list. Copies of an image, of the ids ``images`` ``(n,)``, count once.
    """
    kept, count = int(np.count_nonzero(weights)), effective_number(weights, images)
    if count < settings.minimum - 1e-3:
        weighed = "" if round(count) == kept else f", whose weights are worth {count:.1f} equal ones"
        raise InputError(
            f"{settings.rule} {value:g} keeps {kept} of the {len(weights)} particles of half set {half} in "
            f"round {round_number}{weighed}; at least {settings.minimum} are wanted" + _estimated(estimate),
            setting="select.value",
            fix="Bring more particles, or lower select.minimum"
            if len(weights) < settings.minimum
            else _most_are_incorrect(estimate) + "Loosen select.value, or lower select.minimum",
        )
    if listed < settings.minimum:
        raise InputError(
            f"{settings.rule} {value:g} finds {listed} of the {len(weights)} particles of half set {half} more likely "
            f"correct than not in round {round_number}; at least {settings.minimum} are wanted" + _estimated(estimate),
            setting="select.value",
            fix=_most_are_incorrect(estimate) + "Use another rule such as fraction, or lower select.minimum",
        )


def _estimated(rate: ErrorRate | None) -> str:
    if rate is None or rate.method != "mixture":
        return ""
    low, high = 100 * rate.low, 100 * rate.high
    return f". {100 * rate.value:.0f} % of all particles are estimated to be incorrect ({low:.0f} to {high:.0f} %)"


def _most_are_incorrect(rate: ErrorRate | None) -> str:
    """The likely cause, where it is the particles and not their number."""
    if rate is None or rate.method != "mixture" or rate.low < 0.5:
        return ""
    return "Most particles do not fit the map at their poses: estimate these anew, or classify the particles, first. "
