"""Rules: pure functions from scores to weights, applied to each half set on its own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cryocore.config import Select, per_round
from cryocore.errors import InputError

Scores = NDArray[np.float64]
Weights = NDArray[np.float32]
Ids = NDArray[np.uint64]
Rule = Callable[[Scores, Ids, float], NDArray[np.bool_]]


def best(scores: Scores, ids: Ids, n: int) -> NDArray[np.bool_]:
    """The ``n`` highest finite scores; among equals the lowest ids, so that the order of rows does not matter."""
    order = np.lexsort((ids, -np.nan_to_num(scores, nan=-np.inf)))
    kept = np.zeros(len(scores), dtype=bool)
    kept[order[: min(n, int(np.isfinite(scores).sum()))]] = True
    return kept


def fraction(scores: Scores, ids: Ids, share: float) -> NDArray[np.bool_]:
    """The best share of all particles."""
    return best(scores, ids, round(share * len(scores)))


def count(scores: Scores, ids: Ids, n: float) -> NDArray[np.bool_]:
    """The best half of ``n`` particles in each half set."""
    return best(scores, ids, int(n) // 2)


def threshold(scores: Scores, ids: Ids, lowest: float) -> NDArray[np.bool_]:
    """All scores that reach the threshold."""
    return np.nan_to_num(scores, nan=-np.inf) >= lowest


RULES: dict[str, Rule] = {"fraction": fraction, "count": count, "threshold": threshold}


def require_informative(scores: Scores, name: str, half: int) -> None:
    """Refuse scores from which nothing can be chosen."""
    finite = scores[np.isfinite(scores)]
    if len(finite) and finite.min() < finite.max():
        return
    what = f"all {len(finite)} scores are equal" if len(finite) else "no score is a number"
    raise InputError(
        f"in half set {half} {what}: nothing can be chosen by {name}",
        setting="select.score",
        remedy="Look at the FSC of that round: maps that agree nowhere score nothing. Use more particles",
    )


def apply_rule(
    scores: NDArray[np.floating], ids: Ids, half: NDArray[np.int8], settings: Select, round_number: int
) -> Weights:
    """Weights ``(n,)`` of all particles, 1 for kept and 0 for others.

    Parameters
    ----------
    scores : (n,) the column ``settings.score``; lower is better if its name ends in ``_loss``
    ids, half : (n,) stable ids and half sets (1 or 2)
    round_number : the round that the selection is for, from 1

    Raises
    ------
    InputError  if a half set would keep fewer than ``settings.minimum`` particles.
    """
    values = np.asarray(scores, dtype=np.float64)
    value = per_round(getattr(settings, settings.rule), round_number)
    lower_is_better = settings.score.endswith("_loss")
    if lower_is_better:
        values = -values
    limit = -value if settings.rule == "threshold" and lower_is_better else value
    weights = np.zeros(len(values), dtype=np.float32)
    for h in (1, 2):
        members = half == h
        require_informative(values[members], settings.score, h)
        kept = RULES[settings.rule](values[members], ids[members], limit)
        if kept.sum() < settings.minimum:
            raise InputError(
                f"{settings.rule} {value:g} keeps {kept.sum()} of the {members.sum()} particles of half set {h} in "
                f"round {round_number}; at least {settings.minimum} are wanted",
                setting=f"select.{settings.rule}",
                remedy=f"Loosen select.{settings.rule}, or lower select.minimum",
            )
        weights[members] = kept
    return weights
