"""Fourier shell correlation, its correction for the mask, and what is read off it.

Every coefficient of the full 3-D transform counts once: of a half transform, those with a mate outside
it count twice. Shells are those of :mod:`cryocore.conventions`, from 0 to ``n // 2``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryocore.backend import Kernel, host
from cryocore.maps.curves import FscCurves
from cryocore.maps.transforms import Spectrum, forward, inverse, support, whole
from cryocore.types import Floats, Floats32

Ints = NDArray[np.int32]

RANDOMISE_BELOW = 0.8
MARGIN_SHELLS = 2
RANDOMISATIONS = 4
NOISE_LEVEL = 0.05
RESOLUTION_FSC = 0.143
"""FSC of half maps at the resolution of their mean (Rosenthal and Henderson 2003)."""


def shell_index(n: int) -> Ints:
    """Shell of every coefficient of ``rfftn``, ``(n, n, n // 2 + 1)``; corners lie beyond ``n // 2``.

    >>> shell_index(4)[0, 0].tolist()
    [0, 1, 2]
    """
    kx, ky = np.fft.rfftfreq(n, 1 / n), np.fft.fftfreq(n, 1 / n)
    squares = np.square(ky)[:, None, None] + np.square(ky)[:, None] + np.square(kx)
    return np.rint(np.sqrt(squares, dtype=np.float32)).astype(np.int32)


def shell_resolution(n: int, pixel_size_angstrom: float) -> Floats:
    """Resolution (Å) of the shells 0 to ``n // 2``; infinite for shell 0.

    >>> shell_resolution(8, 1.5).tolist()
    [inf, 12.0, 6.0, 4.0, 3.0]
    """
    with np.errstate(divide="ignore"):
        return n * pixel_size_angstrom / np.arange(n // 2 + 1, dtype=np.float64)


def fsc(first: ArrayLike, second: ArrayLike) -> Floats:
    """Correlation of two volumes ``(n, n, n)``, shell by shell, ``(n // 2 + 1,)``; 0 where a shell is empty.

    >>> rng = np.random.default_rng(0)
    >>> signal, noise = rng.normal(size=(2, 32, 32, 32))
    >>> fsc(signal, signal + noise)[8:11].round(2).tolist()  # 0.71 where there is as much noise as signal
    [0.69, 0.7, 0.71]
    """
    a, b = _as_cubes(first, second)
    everything = whole(len(a))
    return _correlate(forward(a, len(a), everything), forward(b, len(b), everything))


def half_map_fsc(
    first: ArrayLike, second: ArrayLike, mask: ArrayLike | None, pixel_size_angstrom: float, seed: int = 0
) -> FscCurves:
    """Unmasked, masked, phase-randomised and corrected FSC of two half maps.

    The phases of both maps are randomised from the shell where the unmasked FSC first drops below 0.8;
    what correlation the mask then still makes is taken out, two shells further on [1]_:
    ``corrected = (masked - randomised) / (1 - randomised)``. The randomised curve is the mean of a few, since one
    alone moves the resolution by a shell or more where the mask is small.

    Parameters
    ----------
    first, second : (n, n, n)
    mask : (n, n, n), 0 to 1; None leaves all curves equal to the unmasked one
    pixel_size_angstrom : voxel size
    seed : of the random phases

    References
    ----------
    .. [1] Chen et al. (2013), Ultramicroscopy 135, 24-35.
    """
    a, b = _as_cubes(first, second)
    n = a.shape[0]
    spectra = forward(a, n, whole(n)), forward(b, n, whole(n))
    unmasked = _correlate(*spectra)
    start = randomised_from(unmasked)
    masked, randomised = unmasked, unmasked
    if mask is not None:
        weights = np.asarray(mask, dtype=np.float32)
        window = support(weights)
        weights = weights[window]
        masked = _correlate(*(forward(v[window] * weights, n, window) for v in (a, b)))
        randomised = masked
        if start <= n // 2:
            rng = np.random.default_rng(seed)
            turned = np.empty_like(spectra[0]), np.empty_like(spectra[1])
            curves = []
            for _ in range(RANDOMISATIONS):
                for spectrum, out in zip(spectra, turned, strict=True):
                    _randomise(spectrum, start, rng, out)
                    forward(inverse(out, n, window) * weights, n, window, out)
                curves.append(_correlate(*turned))
            randomised = np.mean(curves, axis=0)
    return FscCurves(
        shell=np.arange(n // 2 + 1),
        resolution_angstrom=shell_resolution(n, pixel_size_angstrom),
        unmasked=unmasked,
        masked=masked,
        phase_randomised=randomised,
        corrected=_corrected(masked, randomised, start) if mask is not None else unmasked,
        metadata={"box": n, "pixel_size_angstrom": float(pixel_size_angstrom), "randomised_from_shell": start},
    )


def randomised_from(unmasked: Floats) -> int:
    """First shell (from 1) whose FSC is below 0.8; one past the last where there is none."""
    below = np.flatnonzero(unmasked[1:] < RANDOMISE_BELOW)
    return int(below[0]) + 1 if below.size else len(unmasked)


def resolution_at(curve: ArrayLike, resolution_angstrom: ArrayLike, threshold: float = RESOLUTION_FSC) -> float:
    """Resolution (Å) where a curve first falls below ``threshold``, linear between shells.

    A curve that never falls gives the last shell's resolution, one that never reaches it shell 1's; a dip before it
    first reaches the threshold does not count.

    >>> round(resolution_at([1.0, 1.0, 0.5, 0.0], [np.inf, 30.0, 15.0, 10.0], 0.25), 6)
    12.0
    """
    values = np.asarray(curve, dtype=np.float64)
    with np.errstate(divide="ignore"):
        frequency = 1.0 / np.asarray(resolution_angstrom, dtype=np.float64)
    above = np.flatnonzero(values[1:] >= threshold) + 1
    if not above.size:
        return float(1.0 / frequency[1])
    below = np.flatnonzero(~(values[above[0] :] >= threshold)) + above[0]
    if not below.size:
        return float(1.0 / frequency[-1])
    s = int(below[0])
    if s == 1 or not np.isfinite(values[s]):
        return float(1.0 / frequency[max(s - 1, 1)])
    share = (values[s - 1] - threshold) / (values[s - 1] - values[s])
    return float(1.0 / (frequency[s - 1] + share * (frequency[s] - frequency[s - 1])))


def above_chance(curve: ArrayLike, n_operators: int) -> float:
    """How far the FSC of two maps lies above that of noise, over all shells, in standard deviations.

    The FSC of noise is 0 in the mean, with a variance of one over the independent samples of its shell. A shell of the
    full transform has as many samples as coefficients, over the operators of the point group; each shell counts alike
    once it is in units of its standard deviation.

    Parameters
    ----------
    curve : (shells,) FSC of maps without a mask, from shell 0
    n_operators : of the point group by which both maps are symmetrised

    >>> rng = np.random.default_rng(0)
    >>> signal, first, second = rng.normal(size=(3, 32, 32, 32))
    >>> abs(above_chance(fsc(first, second), 1)) < 4, above_chance(fsc(first + signal, second + signal), 1) > 20
    (True, True)
    """
    values = np.nan_to_num(np.asarray(curve, dtype=np.float64))[1:]
    samples = np.maximum(4.0 * np.pi * np.arange(1, len(values) + 1) ** 2 / n_operators, 1.0)
    return float(np.sum(np.sqrt(samples) * values) / np.sqrt(max(len(values), 1)))


def fsc_weight(curve: ArrayLike, *, merged: bool = False) -> Floats:
    """Weight W of each shell in [0, 1]: how much of the map there is signal.

    The curve is smoothed over neighbouring shells and set to zero from where, after its peak, it first sinks into the
    noise. A weak shell or two before the peak, as sparse data have them, do not end it.

    Parameters
    ----------
    curve : (shells,) half-map FSC from shell 0
    merged : give the weight of the map of both halves, ``2 FSC / (1 + FSC)``, instead of a half map's

    >>> fsc_weight([1.0, 1.0, 0.9, 0.6, 0.2, 0.0, 0.0, 0.0, 0.0, 0.0]).round(2).tolist()
    [0.99, 0.95, 0.82, 0.56, 0.28, 0.08, 0.0, 0.0, 0.0, 0.0]
    """
    values = np.clip(np.nan_to_num(np.asarray(curve, dtype=np.float64)), 0.0, 1.0)
    values[0] = values[1]
    kernel = np.exp(-0.5 * np.arange(-4.0, 5.0) ** 2)
    smooth = np.convolve(np.pad(values, 4, mode="edge"), kernel / kernel.sum(), mode="valid")
    weight = 2.0 * smooth / (1.0 + smooth) if merged else smooth
    peak = int(np.argmax(smooth))
    noise = np.flatnonzero(smooth[peak:] < NOISE_LEVEL) + peak
    weight[noise[0] if noise.size else len(weight) :] = 0.0
    return weight


def _as_cubes(first: ArrayLike, second: ArrayLike) -> tuple[Floats32, Floats32]:
    a, b = np.asarray(first, dtype=np.float32), np.asarray(second, dtype=np.float32)
    if a.ndim != 3 or a.shape != b.shape or len(set(a.shape)) != 1:
        raise ValueError(f"both volumes must be (n, n, n); got {a.shape} and {b.shape}")
    return a, b


def _correlate(first: Spectrum, second: Spectrum) -> Floats:
    """FSC of two half transforms, summed in float64."""
    n = len(first)
    sums = np.empty((n, 3, n // 2 + 1), dtype=np.float32)
    host().launch(Kernel("host/shells.cpp", "correlate_shells"), (first, second, n, _shells(n), sums), items=n)
    cross, one, two = sums.sum(axis=0, dtype=np.float64)
    power = np.sqrt(one * two)
    return np.divide(cross, power, out=np.zeros_like(cross), where=power > 0)


def _shells(n: int) -> Ints:
    """The shell of each |k|²."""
    return np.rint(np.sqrt(np.arange(3 * (n // 2) ** 2 + 1))).astype(np.int32)


def _randomise(spectrum: Spectrum, start: int, rng: np.random.Generator, out: Spectrum) -> None:
    """Put into ``out`` the same amplitudes with random phases from shell ``start`` on, still those of a real volume."""
    n = len(spectrum)
    turns = rng.random(spectrum.shape, dtype=np.float32)
    mirror = -np.arange(n) % n
    for plane in (0, n // 2) if n % 2 == 0 else (0,):
        turns[:, :, plane] -= turns[mirror[:, None], mirror, plane]
    args = spectrum, turns, n, _shells(n), start, out
    host().launch(Kernel("host/shells.cpp", "turn_phases"), args, items=n)


def _corrected(masked: Floats, randomised: Floats, start: int) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (masked - randomised) / (1.0 - randomised)
    ratio = np.where(randomised < 1.0, ratio, 0.0)
    return np.where(np.arange(len(masked)) >= start + MARGIN_SHELLS, ratio, masked)
