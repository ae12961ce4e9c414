"""Transforms of images in half precision, the rows of a disc of shells one after the other: some 1.6 d² bytes an image.

A record is a factor (float32) and the coefficients (float16 real and imaginary parts) of ``rfft2`` within the disc
kx² + ky² <= r² + r, kx >= 0, for ky = -r, ..., r. Coefficients are what the record holds times its factor, a power of
two that puts the largest part into [2^14, 2^15): none overflows, and parts down to 2^-29 of the largest keep all their
11 bits. The mean of an image is in no sample that is used; it is left out, so that it does not set the factor.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.backend import Backend

Records = NDArray[np.int16]
LARGEST_EXPONENT = 15


def row_ends(limit: int) -> NDArray[np.int32]:
    """The last kx inside the disc for ky = -limit, ..., limit."""
    ky = np.arange(-limit, limit + 1)
    return np.sqrt(limit**2 + limit - ky**2).astype(np.int32)


def row_starts(limit: int) -> NDArray[np.int32]:
    """Where in a record each row begins, and the record's end, ``(2 limit + 2,)``, in complex halves of 4 bytes."""
    return np.cumsum([1, *(row_ends(limit) + 1)], dtype=np.int32)


@cache
def limit_of(values: int) -> int:
    """The last shell in records of so many int16 values.

    >>> limit_of(2 * int(row_starts(30)[-1]))
    30
    """
    limit = next(r for r in range(1, values) if 2 * int(row_starts(r)[-1]) >= values)
    if 2 * int(row_starts(limit)[-1]) != values:
        raise ValueError(f"no record has {values} values")
    return limit


def record_type(limit: int) -> np.dtype[Any]:
    """A record as a structure; :func:`pack_transforms` gives its bytes as int16."""
    return np.dtype([("factor", "<f4"), ("transform", "<f2", (int(row_starts(limit)[-1]) - 1, 2))])


def pack_transforms(images: NDArray[np.float32], limit: int, backend: Backend) -> Records:
    """Records ``(n, m)`` int16 of images ``(n, d, d)``, with shells up to ``limit``."""
    n, d = images.shape[:2]
    ends = row_ends(limit)
    rows = np.repeat(np.arange(-limit, limit + 1) % d, ends + 1)
    columns = np.concatenate([np.arange(end + 1) for end in ends])
    where = rows * (d // 2 + 1) + columns
    out = np.empty(n, dtype=record_type(limit))
    size = max(1, backend.cache_bytes // (8 * d * (d // 2 + 1)))
    for part in (slice(i, i + size) for i in range(0, n, size)):
        transforms = backend.rfft2(backend.to_device(images[part]))
        inside = backend.to_host(transforms.reshape(len(transforms), -1).take(backend.to_device(where), axis=1))
        inside[:, where == 0] = 0
        parts = inside.view(np.float32).reshape(*inside.shape, 2)
        exponent = np.frexp(np.abs(parts).max(axis=(1, 2)))[1] - LARGEST_EXPONENT
        out["factor"][part] = np.ldexp(np.float32(1), exponent)
        out["transform"][part] = np.ldexp(parts, -exponent[:, None, None])
    return out.view(np.int16).reshape(n, -1)
