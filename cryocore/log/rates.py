"""How well scores and selections tell correct particles from incorrect ones: pure functions of arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.types import Bools

Strings = NDArray[np.object_]


def auc(score: NDArray[np.floating[Any]], correct: Bools, *, lower_is_better: bool = False) -> float | None:
    """Probability that a correct particle scores better than an incorrect one; ties count one half.

    Particles without a finite score are left out; None where a class is empty.

    >>> auc(np.array([3.0, 2.0, 2.0, 1.0]), np.array([True, True, False, False]))
    0.875
    """
    scored = np.isfinite(score)
    values, flags = score[scored], correct[scored]
    n_correct = int(np.count_nonzero(flags))
    n_incorrect = len(flags) - n_correct
    if n_correct == 0 or n_incorrect == 0:
        return None
    correct_ones, incorrect_ones = np.sort(values[flags]), np.sort(values[~flags])
    below, not_above = (np.searchsorted(incorrect_ones, correct_ones, side=side).sum() for side in ("left", "right"))
    area = float(0.5 * (below + not_above) / (n_correct * n_incorrect))
    return 1.0 - area if lower_is_better else area


def selection_rates(selected: Bools, correct: Bools) -> dict[str, float | None]:
    """Correct rate, precision and recall of a selection, as a prediction of ``correct``."""
    hits = int(np.count_nonzero(selected & correct))
    precision = share(hits, int(np.count_nonzero(selected)))
    return {
        "correct_rate": precision,
        "precision": precision,
        "recall": share(hits, int(np.count_nonzero(correct))),
    }


def rates_by_kind(
    kinds: Strings, score: NDArray[np.floating[Any]], selected: Bools, correct: Bools, *, lower_is_better: bool
) -> dict[str, dict[str, Any]]:
    """For each kind of error: how many, how many selected, and the AUC of correct particles against that kind alone."""
    table: dict[str, dict[str, Any]] = {}
    for kind in sorted({str(k) for k in kinds[~correct]}):
        incorrect = ~correct & (kinds == kind)
        pair = incorrect | correct
        n, n_kept = int(np.count_nonzero(incorrect)), int(np.count_nonzero(incorrect & selected))
        table[kind] = {
            "n": n,
            "n_kept": n_kept,
            "kept_share": share(n_kept, n),
            "auc": auc(score[pair], correct[pair], lower_is_better=lower_is_better),
        }
    return table


def share(part: int, whole: int) -> float | None:
    """``part / whole``, None of nothing."""
    return part / whole if whole else None


def rounded(values: Mapping[str, float | None], digits: int = 6) -> dict[str, float | None]:
    """The same values, rounded, None kept."""
    return {name: None if value is None else round(value, digits) for name, value in values.items()}
