"""How far a selection moves the distribution of viewing directions, and how far chance alone would."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryocore.geometry.sphere import Views
from cryocore.statistics import effective_number

DRAWS = 100
"""Random selections of the same size, for what chance does."""


@dataclass(frozen=True)
class ViewShift:
    """The distribution of views of the kept particles beside that of all.

    ``total_variation`` : half the sum over bins of the absolute difference of shares, 0 (equal) to 1; the share of the
        kept particles that looks from elsewhere
    ``by_chance``, ``by_chance_95`` : its median, and the value that 95 % stay below, if as many are drawn at random
    ``beside_correct`` : total variation beside the particles as far as they are correct, instead of all: wrong poses
        lie elsewhere than correct ones, and leaving them out moves the distribution as it should be; None where
        nothing is known of them
    ``p_value`` : chance of a value as large, not below 1/101
    ``least_kept`` : the smallest kept share of a bin, among those of which ten or more are to be expected
    ``least_kept_view`` : that bin's direction
    """

    n_bins: int
    total_variation: float
    by_chance: float
    by_chance_95: float
    beside_correct: float | None
    p_value: float
    least_kept: float
    least_kept_view: tuple[float, float, float]


def view_shift(
    views: Views, weights: NDArray[np.float32], correct: NDArray[np.float32] | None = None, seed: int = 0
) -> ViewShift:
    """Compare the views of the particles with weight ``(n,)``, each counted with it, with those of all.

    ``correct`` ``(n,)`` are flags or probabilities of being correct; None where nothing is known.
    """
    everyone = np.bincount(views.bin_index, minlength=len(views.centre))
    kept = np.bincount(views.bin_index, weights=weights, minlength=len(everyone))
    share = everyone / everyone.sum()
    total = kept.sum()
    effective = round(effective_number(weights))
    rng = np.random.default_rng(seed)
    drawn = rng.multivariate_hypergeometric(everyone, min(effective, len(weights)), size=DRAWS)
    null = 0.5 * np.abs(drawn / drawn.sum(axis=1, keepdims=True) - share).sum(axis=1)
    found = float(0.5 * np.abs(kept / total - share).sum())
    beside = None
    if correct is not None and correct.any():
        wanted = np.bincount(views.bin_index, minlength=len(everyone), weights=correct)
        beside = float(0.5 * np.abs(kept / total - wanted / wanted.sum()).sum())
    relative = np.where(everyone * total / len(weights) >= 10, kept / np.maximum(everyone, 1), np.inf)
    least = int(np.argmin(relative))
    return ViewShift(
        n_bins=len(everyone),
        total_variation=found,
        by_chance=float(np.median(null)),
        by_chance_95=float(np.quantile(null, 0.95)),
        beside_correct=beside,
        p_value=float((1 + np.count_nonzero(null >= found - 1e-12)) / (1 + DRAWS)),
        least_kept=float(relative[least]) if np.isfinite(relative[least]) else float("nan"),
        least_kept_view=(float(views.centre[least, 0]), float(views.centre[least, 1]), float(views.centre[least, 2])),
    )
