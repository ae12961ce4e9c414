"""Statistics that stages share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from cryocore.types import Floats

MAD_TO_SD = 1.4826
"""Standard deviation of normal values over their median absolute deviation."""


def centre_and_spread(values: NDArray[np.floating[Any]]) -> tuple[float, float]:
    """Median and robust standard deviation of values ``(n,)``.

    >>> centre_and_spread(np.array([1.0, 2.0, 3.0, 50.0]))
    (2.5, 1.4826)
    """
    centre = float(np.median(values))
    return centre, float(MAD_TO_SD * np.median(np.abs(values - centre)))


def effective_number(weights: NDArray[np.floating[Any]], images: NDArray[np.uint64] | None = None) -> float:
    """Number of equally weighted particles that would leave as much noise: (Σ w)² / Σ w² (Kish 1965); 0 of none.

    Copies of an image have its noise in common: where ``images`` ``(n,)`` says which image each has, it is images that
    are counted, each with the sum of its weights.

    >>> effective_number(np.array([1.0, 1.0, 0.0])), round(effective_number(np.array([1.0, 1.0, 0.5])), 2)
    (2.0, 2.78)
    >>> effective_number(np.array([1.0, 1.0, 1.0, 1.0]), np.array([5, 5, 6, 6], dtype=np.uint64))
    2.0
    """
    w: Floats = weights.astype(np.float64)
    if images is not None:
        w = np.bincount(np.unique(images, return_inverse=True)[1], weights=w).astype(np.float64)
    return float(w.sum() ** 2 / (w @ w)) if np.any(w) else 0.0


def posterior(log_odds: Floats) -> Floats:
    """Probability of being correct, ``(n,)``; 0 where the log odds are NaN.

    >>> posterior(np.log([9.0, 1.0])).round(6).tolist()
    [0.9, 0.5]
    """
    return np.asarray(np.nan_to_num(expit(log_odds), nan=0.0))
