"""Transforms of volumes, axis by axis in planes that fit the cache; what is zero, or not asked for, is left out."""

from __future__ import annotations

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from cryocore.cores import in_threads

Floats32 = NDArray[np.float32]
Spectrum = NDArray[np.complex64]
Window = tuple[slice, slice, slice]


def whole(n: int) -> Window:
    """The window ``[z, y, x]`` of all of a cube."""
    return (slice(0, n),) * 3


def support(volume: Floats32) -> Window:
    """The smallest window ``[z, y, x]`` outside which a volume is zero; all of it where it is zero throughout."""
    window = []
    for axis in range(3):
        used = np.flatnonzero(volume.any(axis=tuple(a for a in range(3) if a != axis)))
        window.append(slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(0, volume.shape[axis]))
    return window[0], window[1], window[2]


def forward(values: Floats32, n: int, window: Window) -> Spectrum:
    """``rfftn`` of a cube of side n, ``(n, n, n // 2 + 1)``, that holds ``values`` in the window and is zero elsewhere."""
    z, y, x = window
    spectrum = np.empty((n, n, n // 2 + 1), dtype=np.complex64)

    def transform_plane(i: int) -> None:
        rows = np.zeros((y.stop - y.start, n), dtype=np.float32)
        rows[:, x] = values[i]
        plane = np.zeros(spectrum.shape[1:], dtype=np.complex64)
        plane[y] = scipy.fft.rfft(rows, axis=1)
        spectrum[z.start + i] = scipy.fft.fft(plane, axis=0, overwrite_x=True)

    def transform_z(ky: int) -> None:
        columns = np.zeros((n, spectrum.shape[2]), dtype=np.complex64)
        columns[z] = spectrum[z, ky]
        spectrum[:, ky] = scipy.fft.fft(columns, axis=0, overwrite_x=True)

    in_threads(transform_plane, range(len(values)))
    in_threads(transform_z, range(n))
    return spectrum


def inverse(spectrum: Spectrum, n: int, window: Window) -> Floats32:
    """The part of ``irfftn`` in a window; the spectrum is used up."""
    z, y, x = window
    values = np.empty([s.stop - s.start for s in window], dtype=np.float32)

    def transform_z(ky: int) -> None:
        spectrum[z, ky] = scipy.fft.ifft(spectrum[:, ky], axis=0)[z]

    def transform_plane(i: int) -> None:
        rows = scipy.fft.ifft(spectrum[z.start + i], axis=0)[y]
        values[i] = scipy.fft.irfft(rows, n=n, axis=1)[:, x]

    in_threads(transform_z, range(n))
    in_threads(transform_plane, range(len(values)))
    return values
