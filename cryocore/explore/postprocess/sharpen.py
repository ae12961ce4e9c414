"""Sharpening of the mean of two half maps: FSC weights, the B-factor of a Guinier plot, and a low-pass.

Amplitudes fall as ``exp(-B s² / 4)`` with the spatial frequency s; a sharpening B-factor is negative, as users know it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import linregress

from cryocore.cores import in_threads
from cryocore.errors import InputError
from cryocore.maps.curves import FscCurves
from cryocore.maps.fsc import RESOLUTION_FSC, resolution_at, shell_index
from cryocore.maps.transforms import Spectrum, forward, inverse, whole
from cryocore.types import Floats, Floats32

COARSEST_ANGSTROM = 10.0
"""Coarser shells are no part of the fit: there the shape of the molecule decides, not its B-factor."""
LARGEST_EXPONENT = 80.0
"""Amplitudes are scaled by exp of at most this: float32 ends at 88."""
FEWEST_SHELLS = 5
EDGE_SHELLS = 2.0
"""Width of the low-pass filter's cosine edge, which begins at the resolution."""


@dataclass(frozen=True)
class GuinierFit:
    """A straight line ``ln amplitude = intercept - B / 4 · s²`` through ``n_shells`` shells.

    ``bfactor_angstrom2`` is the sharpening B-factor -B, ``bfactor_sd_angstrom2`` its standard error, Å²;
    ``correlation`` is that of the points.
    """

    bfactor_angstrom2: float
    bfactor_sd_angstrom2: float
    intercept: float
    correlation: float
    from_angstrom: float
    to_angstrom: float
    n_shells: int


@dataclass(frozen=True)
class Guinier:
    """Natural logarithms of the mean amplitude of the shells from 1; -inf where there is none.

    ``inverse_d2`` : 1/d², 1/Å²
    ``original``, ``weighted``, ``sharpened`` : of the mean of the half maps, times C_ref, and of the result
    """

    inverse_d2: Floats
    original: Floats
    weighted: Floats
    sharpened: Floats


@dataclass(frozen=True)
class Sharpened:
    """A sharpened map ``(n, n, n)`` and how it came about.

    ``bfactor_angstrom2`` is what was applied, Å²; 0 where there is no fit and none was given.
    """

    volume: Floats32
    resolution_angstrom: float
    bfactor_angstrom2: float
    fit: GuinierFit | None
    guinier: Guinier


def sharpen(mean: Floats32, curves: FscCurves, *, bfactor_angstrom2: float | None = None) -> Sharpened:
    """Weight the mean of two half maps by C_ref, sharpen it and low-pass it at the resolution.

    Every coefficient of shell s is multiplied by ``C_ref · exp(-B s² / 4) · low-pass`` [1]_, the low-pass being 1 up to
    the resolution at FSC 0.143 and falling to 0 as a cosine within two shells.

    Parameters
    ----------
    mean : (n, n, n)
    curves : of the half maps; the corrected one is used
    bfactor_angstrom2 : to apply, negative to sharpen; None: that of :func:`fit_guinier`, or 0 where it has none

    Raises
    ------
    InputError  if the half maps do not correlate, or the B-factor is too large for numbers.

    References
    ----------
    .. [1] Rosenthal & Henderson (2003), J. Mol. Biol. 333, 721-745.
    """
    n, pixel = len(mean), float(curves.metadata["pixel_size_angstrom"])
    if not (curves.corrected[1:] >= RESOLUTION_FSC).any():
        raise InputError(
            f"the FSC of the half maps reaches {RESOLUTION_FSC} nowhere", fix="Check the half maps and the mask"
        )
    resolution = resolution_at(curves.corrected, curves.resolution_angstrom)
    spectrum = forward(mean, n, whole(n))
    frequency = np.arange(n // 2 + 1) / (n * pixel)
    weight = reference_correlation(curves.corrected)
    with np.errstate(divide="ignore"):
        original = np.log(mean_amplitudes(spectrum))
        weighted = original + np.log(weight)
    fit = fit_guinier(frequency, weighted, resolution)
    bfactor = bfactor_angstrom2 if bfactor_angstrom2 is not None else fit.bfactor_angstrom2 if fit else 0.0
    passed = low_pass(n, pixel, resolution)
    exponent = np.where(passed > 0, -0.25 * bfactor * frequency**2, 0.0)
    if exponent.max() > LARGEST_EXPONENT:
        problem = f"{bfactor:g} Å² multiplies amplitudes at {resolution:.4g} Å by more than e^{LARGEST_EXPONENT:g}"
        raise InputError(problem, setting="--bfactor", fix="Give a value nearer to 0, as -90")
    factor = weight * np.exp(exponent) * passed
    with np.errstate(divide="ignore"):
        guinier = Guinier(*(v[1:] for v in (frequency**2, original, weighted, original + np.log(factor))))
    return Sharpened(times(spectrum, factor), resolution, float(bfactor), fit, guinier)


def reference_correlation(curve: Floats) -> Floats:
    """Correlation C_ref of the mean of two half maps with the perfect map, ``sqrt(2 FSC / (1 + FSC))``, per shell.

    >>> reference_correlation(np.array([1.0, 0.143, -0.1])).round(3).tolist()
    [1.0, 0.5, 0.0]
    """
    inside = np.clip(curve, 0.0, 1.0)
    return np.sqrt(2.0 * inside / (1.0 + inside))


def fit_guinier(frequency: Floats, weighted: Floats, resolution_angstrom: float) -> GuinierFit | None:
    """The line through the weighted amplitudes from 10 Å to the resolution.

    Parameters
    ----------
    frequency : of the shells, 1/Å
    weighted : ln of amplitudes times C_ref
    resolution_angstrom : at FSC 0.143

    Returns
    -------
    None where fewer than five shells can be used.
    """
    used = (frequency >= 1.0 / COARSEST_ANGSTROM) & (frequency <= 1.0 / resolution_angstrom) & np.isfinite(weighted)
    if used.sum() < FEWEST_SHELLS:
        return None
    line = linregress(frequency[used] ** 2, weighted[used])
    coarsest, finest = (float(v) for v in 1.0 / frequency[used][[0, -1]])
    slope, slope_sd, intercept, correlation = map(float, (line.slope, line.stderr, line.intercept, line.rvalue))
    return GuinierFit(4.0 * slope, 4.0 * slope_sd, intercept, correlation, coarsest, finest, int(used.sum()))


def low_pass(n: int, pixel_size_angstrom: float, resolution_angstrom: float) -> Floats:
    """The filter of each shell, ``(n // 2 + 1,)``."""
    beyond = (np.arange(n // 2 + 1) - n * pixel_size_angstrom / resolution_angstrom) / EDGE_SHELLS
    return 0.5 + 0.5 * np.cos(np.pi * np.clip(beyond, 0.0, 1.0))


def mean_amplitudes(spectrum: Spectrum) -> Floats:
    """Mean amplitude of the shells of a half transform, ``(n // 2 + 1,)``."""
    n, width = len(spectrum), spectrum.shape[2]
    shells = shell_index(n)
    equivalents = np.full(spectrum.shape[1:], 2.0)
    equivalents[:, 0] = 1.0
    if n % 2 == 0:
        equivalents[:, -1] = 1.0
    sums = np.zeros((2, n + 1))
    for plane, shell in zip(spectrum, shells, strict=True):
        for row, values in zip(sums, (equivalents, equivalents * np.abs(plane)), strict=True):
            row += np.bincount(shell.ravel(), values.ravel(), minlength=n + 1)
    return sums[1, :width] / sums[0, :width]


def times(spectrum: Spectrum, factor: Floats) -> Floats32:
    """The volume whose transform is the given one times a factor per shell, 0 in the corners; it is used up."""
    n = len(spectrum)
    shells = shell_index(n)
    padded = np.zeros(n + 1, dtype=np.float32)
    padded[: len(factor)] = factor

    def multiply(z: int) -> None:
        spectrum[z] *= padded[shells[z]]

    in_threads(multiply, range(n))
    return inverse(spectrum, n, whole(n))
