"""Transforms of maps on a GPU, axis by axis in slabs: no padded map, and no padded transform, is ever whole.

A line of n points about its origin, n // 2, is padded to ``size`` points with the origin at 0 and what is before it at
the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.backend.base import Backend, Kernel

QUOTIENT = Kernel("cuda/quotient.cu", "quotient_planes")
SLAB_BYTES = 1 << 27
"""Of the padded lines of a slab."""


def working_bytes(n: int, radius: int) -> int:
    """What a transform of a map ``(n, n, n)`` or back takes of a GPU beside the grid: the map, another and a mask, its
    columns, and slabs."""
    return 4 * n**2 * (3 * n + 2 * (radius + 2)) + 4 * SLAB_BYTES


def transform_by_slabs(volume: Any, size: int, radius: int, line: NDArray[np.float32] | None, backend: Backend) -> Any:
    """See :func:`cryocore.backend.map_transforms.transform_of_map`."""
    xp, fft, n, planes, width = backend.xp, backend.xp.fft, len(volume), radius + 2, 2 * radius + 3
    if line is not None:
        along = backend.to_device(line)
        volume = volume / (np.float32(n) * along[:, None, None] * along[:, None] * along)
    columns = xp.empty((planes, n, n), dtype=np.complex64)
    for y in _slabs(n, 8 * size * n):
        columns[:, y] = fft.rfft(_padded(volume[:, y], size, 0, xp), axis=0)[:planes]
    values = xp.empty((planes, width, width), dtype=np.complex64)
    for kz in _slabs(planes, 8 * size * width):
        rows = _centred(fft.fft(_padded(columns[kz], size, 2, xp), axis=2), width, 2, xp)
        values[kz] = _centred(fft.fft(_padded(rows, size, 1, xp), axis=1), width, 1, xp)
    return values


def map_by_slabs(sums: tuple[Any, ...], n: int, size: int, radius: int, scale: float, backend: Backend) -> Any:
    """See :func:`cryocore.backend.map_transforms.map_of_transform`.

    ``sums`` : two numerators, two denominators, floor and added, each of which may be None
    """
    xp, fft, width, planes = backend.xp, backend.xp.fft, 2 * radius + 3, radius + 1
    given = tuple(None if a is None else backend.to_device(a) for a in sums)
    columns = xp.empty((planes, n, n), dtype=np.complex64)
    for kz in _slabs(planes, 8 * size * width):
        count = kz.stop - kz.start
        values = xp.empty((count, width, width), dtype=np.complex64)
        backend.launch(QUOTIENT, (*given, radius, kz.start, count, values), items=count * width)
        rows = _centred(fft.ifft(_padded(values, size, 1, xp), axis=1, norm="forward"), n, 1, xp)
        columns[kz] = _centred(fft.ifft(_padded(rows, size, 2, xp), axis=2, norm="forward"), n, 2, xp)
    volume = xp.empty((n,) * 3, dtype=np.float32)
    for y in _slabs(n, 8 * size * n):
        lines = fft.irfft(columns[:, y], n=size, axis=0, norm="forward")
        volume[:, y] = _centred(lines, n, 0, xp) * np.float32(scale)
    return volume


def _slabs(n: int, n_bytes: int) -> Iterator[slice]:
    """Slices of n planes or rows, each of which takes ``n_bytes``."""
    step = max(1, SLAB_BYTES // n_bytes)
    yield from (slice(i, min(i + step, n)) for i in range(0, n, step))


def _padded(values: Any, size: int, axis: int, xp: Any) -> Any:
    """Lines along an axis padded to ``size`` points."""
    n, at = values.shape[axis], _along(axis)
    before = n // 2
    out = xp.zeros((*values.shape[:axis], size, *values.shape[axis + 1 :]), dtype=values.dtype)
    out[at(0, n - before)] = values[at(before, n)]
    out[at(size - before, size)] = values[at(0, before)]
    return out


def _centred(lines: Any, n: int, axis: int, xp: Any) -> Any:
    """The n points about the origin of padded lines; both ends are one point where n is one more than these have."""
    size, at = lines.shape[axis], _along(axis)
    before = n // 2
    out = xp.empty((*lines.shape[:axis], n, *lines.shape[axis + 1 :]), dtype=lines.dtype)
    out[at(before, n)] = lines[at(0, n - before)]
    out[at(0, before)] = lines[at(size - before, size)]
    return out


def _along(axis: int) -> Any:
    return lambda start, stop: (*(slice(None),) * axis, slice(start, stop))
