"""The FSC that a selection is predicted to give, from the FSC of the particles that were in the map.

The model: a correct particle adds signal, an incorrect one none, and both add the same noise. With weights w and
probabilities p of being correct, the signal of a half map is in proportion to Σ w p and its noise variance to Σ w², so
that the ratio of signal to noise power in every shell is in proportion to

    G = (Σ w p)² / Σ w²,

the number of correct particles, were there no others, that would make as good a map. From SSNR = F / (1 - F) of the
round's half maps, each half set's SSNR is scaled by its own ratio of G, and the FSC is read off again. This is the law
of Rosenthal and Henderson (2003), in which resolution grows with the number of particles, with the round's own curve
in place of a B-factor. Where envelopes of particles are known, so that the signal of one is q = g exp(-B s²/4) times
that of the map, and its CTF in the map has a factor a of this kind or none, every shell has a ratio of its own:

    G = (Σ w p q a)² / Σ w² a².

Left out: what incorrect particles share with the map at low resolution, and particles that are half correct.
"""

from __future__ import annotations

from collections.abc import Sequence
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


@dataclass(frozen=True)
class Envelope:
    """How the signal of particles falls off: B-factors in Å² and scales, ``(n,)`` each."""

    bfactor: Floats
    scale: Floats

    @classmethod
    def none(cls, n: int) -> Envelope:
        """That of a particle like all."""
        return cls(np.zeros(n), np.ones(n))

    def of(self, rows: NDArray[np.bool_]) -> Envelope:
        """Those of some particles."""
        return Envelope(self.bfactor[rows].astype(np.float64), self.scale[rows].astype(np.float64))

    def at(self, squared_frequency: float) -> Floats:
        """What is left of the signal ``(n,)`` at a squared frequency in 1/Å²."""
        return np.asarray(self.scale * np.exp(-0.25 * squared_frequency * self.bfactor))


@dataclass(frozen=True)
class Envelopes:
    """Those of the particles' ``own``, and those of their CTFs in the map ``before`` and ``after``."""

    own: Envelope
    before: Envelope
    after: Envelope


def effective_correct(weights: Floats, correct: Floats) -> float:
    """G of one half set, for weights and probabilities of being correct ``(n,)``."""
    w, p = weights.astype(np.float64), correct.astype(np.float64)
    noise = float(np.sum(w * w))
    return float(np.sum(w * p)) ** 2 / noise if noise > 0 else 0.0


def effective_by_shell(weights: Floats, correct: Floats, own: Envelope, applied: Envelope, frequency: Floats) -> Floats:
    """G of one half set at frequencies ``(shells,)`` in 1/Å, for weights and probabilities ``(n,)``: particles have
    envelopes of their ``own``, and those that are ``applied`` in their CTFs."""
    rows = weights > 0
    own, applied = own.of(rows), applied.of(rows)
    w, p = weights[rows], correct[rows]

    def at(squared: float) -> float:
        return effective_correct(w * applied.at(squared), p * own.at(squared))

    return np.array([at(float(s) ** 2) for s in frequency])


def predict(
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    correct: NDArray[np.float32],
    half: NDArray[np.int8],
    curves: FscCurves | None,
    envelopes: Envelopes | None = None,
) -> Prediction:
    """Predict the FSC of other weights.

    Parameters
    ----------
    before, after : (n,) weights in the round's map, and to be tried
    correct : (n,) probabilities of being correct, or flags
    half : (n,) half sets
    curves : of the round's half maps; None leaves resolutions unknown
    envelopes : of particles of unequal quality
    """
    halves = [half == h for h in (1, 2)]
    old, new = ([effective_correct(w[h], correct[h]) for h in halves] for w in (before, after))
    gains = None
    if curves is not None and envelopes is not None and min(old) > 0:
        e, frequency = envelopes, 1.0 / curves.resolution_angstrom
        gains = [
            effective_by_shell(after[h], correct[h], e.own.of(h), e.after.of(h), frequency)
            / effective_by_shell(before[h], correct[h], e.own.of(h), e.before.of(h), frequency)
            for h in halves
        ]
    return predicted(old, new, curves, gains)


def predicted(
    old: Sequence[float], new: Sequence[float], curves: FscCurves | None, gains: Sequence[Floats] | None = None
) -> Prediction:
    """The prediction from the G of both half sets, before and after.

    ``gains`` : how the signal-to-noise ratio of each half set changes, per shell; None: as its G does
    """
    if curves is None or min(old) <= 0:
        return Prediction(sum(new), sum(old), None, None, None)
    measured = curves.corrected
    ratios: Sequence[Floats | float] = gains or [n / o for n, o in zip(new, old, strict=True)]
    curve = scaled_fsc(measured, *ratios)
    was, will_be = (resolution_at(c, curves.resolution_angstrom) for c in (measured, curve))
    return Prediction(sum(new), sum(old), was, will_be, float(np.mean((curve - np.clip(measured, 0, 1))[1:])))


def scaled_fsc(curve: NDArray[np.float64], first: Floats | float, second: Floats | float) -> NDArray[np.float64]:
    """FSC ``(shells,)`` of half maps whose signal-to-noise ratios are multiplied by ``first`` and ``second``, a number
    each or one per shell.

    >>> scaled_fsc(np.array([1.0, 0.5, 0.0]), 4.0, 4.0).round(3).tolist()
    [1.0, 0.8, 0.0]
    """
    fsc = np.clip(curve, 0.0, LARGEST_FSC)
    ratio = fsc / (1.0 - fsc)
    return np.sqrt(np.prod([gain * ratio / (1.0 + gain * ratio) for gain in (first, second)], axis=0))
