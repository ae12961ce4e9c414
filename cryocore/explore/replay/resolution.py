"""The FSC that a selection is predicted to give, from the FSC of the particles that were in the map.

The model: a correct particle adds signal, an incorrect one none, and both add the same noise. With weights w and
probabilities p of being correct, the signal of a half map is in proportion to Σ w p and its noise variance to Σ w², so
that the ratio of signal to noise power in every shell is in proportion to

    G = (Σ w p)² / Σ w²,

the number of correct particles, were there no others, that would make as good a map. From SSNR = F / (1 - F) of the
round's half maps, each half set's SSNR is scaled by its own ratio of G, and the FSC is read off again. This is the law
of Rosenthal and Henderson (2003), in which resolution grows with the number of particles, with the round's own curve
in place of a B-factor. Left out: what incorrect particles share with the map at low resolution, particles that are half
correct, and differences between particles in signal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryocore.maps.curves import FscCurves
from cryocore.maps.fsc import resolution_at

Floats = NDArray[np.floating]

LARGEST_FSC = 1.0 - 1e-6


@dataclass(frozen=True)
class Prediction:
    """What a selection does to the map.

    ``effective_correct`` : G of the selection, both half sets together
    ``effective_correct_before`` : that of the particles in the round's map
    ``resolution_before_angstrom`` : of the round's map; None where its curve is not at hand
    ``resolution_angstrom`` : predicted, likewise
    ``fsc_area_change`` : predicted change of the mean FSC over shells
    """

    effective_correct: float
    effective_correct_before: float
    resolution_before_angstrom: float | None
    resolution_angstrom: float | None
    fsc_area_change: float | None


def effective_correct(weights: Floats, correct: Floats) -> float:
    """G of one half set, for weights and probabilities of being correct ``(n,)``."""
    w, p = weights.astype(np.float64), correct.astype(np.float64)
    noise = float(np.sum(w * w))
    return float(np.sum(w * p)) ** 2 / noise if noise > 0 else 0.0


def predict(
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    correct: NDArray[np.float32],
    half: NDArray[np.int8],
    curves: FscCurves | None,
) -> Prediction:
    """Predict the FSC of other weights.

    Parameters
    ----------
    before, after : (n,) weights in the round's map, and to be tried
    correct : (n,) probabilities of being correct, or flags
    half : (n,) half sets
    curves : of the round's half maps; None leaves resolutions unknown
    """
    halves = [half == h for h in (1, 2)]
    old, new = ([effective_correct(w[h], correct[h]) for h in halves] for w in (before, after))
    if curves is None or min(old) <= 0:
        return Prediction(sum(new), sum(old), None, None, None)
    measured = curves.corrected
    curve = scaled_fsc(measured, new[0] / old[0], new[1] / old[1])
    was, will_be = (resolution_at(c, curves.resolution_angstrom) for c in (measured, curve))
    return Prediction(sum(new), sum(old), was, will_be, float(np.mean((curve - np.clip(measured, 0, 1))[1:])))


def scaled_fsc(curve: NDArray[np.float64], first: float, second: float) -> NDArray[np.float64]:
    """FSC ``(shells,)`` of half maps whose signal-to-noise ratios are multiplied by ``first`` and ``second``.

    >>> scaled_fsc(np.array([1.0, 0.5, 0.0]), 4.0, 4.0).round(3).tolist()
    [1.0, 0.8, 0.0]
    """
    fsc = np.clip(curve, 0.0, LARGEST_FSC)
    ratio = fsc / (1.0 - fsc)
    return np.sqrt(np.prod([gain * ratio / (1.0 + gain * ratio) for gain in (first, second)], axis=0))
