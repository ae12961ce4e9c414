"""Transforms of volumes (``kernels/host/fourier.cpp``); what is zero, or not asked for, is left out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.backend import Kernel, host
from cryocore.backend.cpu import FORWARD
from cryocore.types import Floats32

Spectrum = NDArray[np.complex64]
Window = tuple[slice, slice, slice]

INVERSE = Kernel("host/fourier.cpp", "inverse_planes")
ALONG_Z = Kernel("host/fourier.cpp", "transform_z")


def whole(n: int) -> Window:
    """The window ``[z, y, x]`` of all of a cube."""
    return (slice(0, n),) * 3


def support(volume: NDArray[Any]) -> Window:
    """The smallest window ``[z, y, x]`` outside which a volume is zero; all of it where it is zero throughout."""
    window = []
    for axis in range(3):
        used = np.flatnonzero(volume.any(axis=tuple(a for a in range(3) if a != axis)))
        window.append(slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(0, volume.shape[axis]))
    return window[0], window[1], window[2]


def forward(values: Floats32, n: int, window: Window, out: Spectrum | None = None) -> Spectrum:
    """``rfftn`` ``(n, n, n // 2 + 1)`` of a cube that holds ``values`` in the window and is zero elsewhere."""
    z, y, x = window
    width = n // 2 + 1
    spectrum = np.empty((n, n, width), dtype=np.complex64) if out is None else out
    planes, rows, columns = values.shape
    source = np.ascontiguousarray(values, dtype=np.float32)
    args = source, planes, y.start, rows, x.start, columns, n, width, spectrum[z]
    host().launch(FORWARD, args, items=planes)
    host().launch(ALONG_Z, (spectrum, n, width, z.start, z.stop, 0, n, 1), items=n)
    return spectrum


def inverse(spectrum: Spectrum, n: int, window: Window) -> Floats32:
    """The part of ``irfftn`` in a window; the spectrum is used up."""
    z, y, x = window
    values = np.empty([s.stop - s.start for s in window], dtype=np.float32)
    host().launch(ALONG_Z, (spectrum, n, n // 2 + 1, 0, n, z.start, z.stop, 0), items=n)
    planes, rows, columns = values.shape
    args = spectrum[z], planes, y.start, rows, x.start, columns, n, values
    host().launch(INVERSE, args, items=planes)
    return values
