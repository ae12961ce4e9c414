"""Fourier shell correlation, its correction for the mask, and what is read off it.

Every coefficient of the full 3-D transform counts once: of a half transform, those with a mate outside
it count twice. Shells are those of :mod:`cryocore.conventions`, from 0 to ``n // 2``.
"""

from __future__ import annotations

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter1d

from cryocore.cores import available_cores
from cryocore.data import FscCurves

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Ints = NDArray[np.int32]
Spectrum = NDArray[np.complex64]

RANDOMISE_BELOW = 0.8
MARGIN_SHELLS = 2
RANDOMISATIONS = 4
NOISE_LEVEL = 0.05


def shell_index(n: int) -> Ints:
    """Shell of every coefficient of ``rfftn``, ``(n, n, n // 2 + 1)``; corners lie beyond ``n // 2``."""
    kx, ky = np.fft.rfftfreq(n, 1 / n), np.fft.fftfreq(n, 1 / n)
    squares = np.square(ky)[:, None, None] + np.square(ky)[:, None] + np.square(kx)
    return np.rint(np.sqrt(squares, dtype=np.float32)).astype(np.int32)


def shell_resolution(n: int, pixel_size_angstrom: float) -> Floats:
    """Resolution (Å) of the shells 0 to ``n // 2``; infinite for shell 0."""
    with np.errstate(divide="ignore"):
        return n * pixel_size_angstrom / np.arange(n // 2 + 1, dtype=np.float64)


def fsc(first: ArrayLike, second: ArrayLike) -> Floats:
    """Correlation of two volumes ``(n, n, n)``, shell by shell, ``(n // 2 + 1,)``; 0 where a shell is empty."""
    a, b = _as_cubes(first, second)
    return _correlate(_transform(a), _transform(b), a.shape[0])


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
    spectra = _transform(a), _transform(b)
    unmasked = _correlate(spectra[0], spectra[1], n)
    start = randomised_from(unmasked)
    masked, randomised = unmasked, unmasked
    if mask is not None:
        window = np.asarray(mask, dtype=np.float32)
        masked = _correlate(_transform(a * window), _transform(b * window), n)
        randomised = masked
        if start <= n // 2:
            rng = np.random.default_rng(seed)
            curves = []
            for _ in range(RANDOMISATIONS):
                noise = [_transform(_inverse(_randomise(s, start, rng), n) * window) for s in spectra]
                curves.append(_correlate(noise[0], noise[1], n))
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


def resolution_at(curve: ArrayLike, resolution_angstrom: ArrayLike, threshold: float) -> float:
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


def fsc_weight(curve: ArrayLike, *, merged: bool = False) -> Floats:
    """Weight W of each shell in [0, 1]: how much of the map there is signal.

    The curve is smoothed over neighbouring shells and set to zero from where, after its peak, it first sinks into the
    noise. A weak shell or two before the peak, as sparse data have them, do not end it.

    Parameters
    ----------
    curve : (shells,) half-map FSC from shell 0
    merged : give the weight of the map of both halves, ``2 FSC / (1 + FSC)``, instead of a half map's
    """
    values = np.clip(np.nan_to_num(np.asarray(curve, dtype=np.float64)), 0.0, 1.0)
    values[0] = values[1]
    smooth = gaussian_filter1d(values, 1.0, mode="nearest")
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


def _transform(volume: Floats32) -> Spectrum:
    return scipy.fft.rfftn(volume, workers=available_cores())


def _inverse(spectrum: Spectrum, n: int) -> Floats32:
    return scipy.fft.irfftn(spectrum, s=(n, n, n), workers=available_cores(), overwrite_x=True)


def _correlate(first: Spectrum, second: Spectrum, n: int) -> Floats:
    """FSC of two half transforms, summed in float64, one plane of constant kz at a time."""
    squares = np.square(np.fft.fftfreq(n, 1 / n))
    in_plane = squares[:, None] + np.square(np.fft.rfftfreq(n, 1 / n))
    mates = np.full(n // 2 + 1, 2.0)
    mates[0] = 1.0
    if n % 2 == 0:
        mates[-1] = 1.0
    sums = np.zeros((3, n + 1))
    for z in range(n):
        shells = np.rint(np.sqrt(in_plane + squares[z])).astype(np.intp).ravel()
        a, b = first[z].astype(np.complex128), second[z].astype(np.complex128)
        for row, product in enumerate((a * b.conj(), a * a.conj(), b * b.conj())):
            sums[row] += np.bincount(shells, (product.real * mates).ravel(), minlength=n + 1)
    cross, one, two = sums[:, : n // 2 + 1]
    power = np.sqrt(one * two)
    return np.divide(cross, power, out=np.zeros_like(cross), where=power > 0)


def _randomise(spectrum: Spectrum, start: int, rng: np.random.Generator) -> Spectrum:
    """The same amplitudes with random phases from shell ``start`` on, still those of a real volume."""
    n = spectrum.shape[0]
    phases = rng.random(spectrum.shape, dtype=np.float32) * np.float32(2 * np.pi)
    mirror = -np.arange(n) % n
    for plane in (0, n // 2) if n % 2 == 0 else (0,):
        phases[:, :, plane] -= phases[mirror[:, None], mirror, plane]
    phases[shell_index(n) < start] = 0.0
    turn = np.empty_like(spectrum)
    turn.real, turn.imag = np.cos(phases), np.sin(phases)
    return np.multiply(spectrum, turn, out=turn)


def _corrected(masked: Floats, randomised: Floats, start: int) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (masked - randomised) / (1.0 - randomised)
    ratio = np.where(randomised < 1.0, ratio, 0.0)
    return np.where(np.arange(len(masked)) >= start + MARGIN_SHELLS, ratio, masked)
