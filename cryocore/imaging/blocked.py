"""Half-space volumes in the order in which scoring reads them: blocks of 8 x 8 x 8 voxels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cryocore.backend import Backend, Kernel, constant

SIDE = 1 << constant("pack.cu", "SIDE_BITS")


@dataclass(frozen=True)
class BlockedVolume:
    """Volumes of half-space radius ``radius``, ``(n, voxels)`` complex64 or float32, block after block."""

    values: Any
    radius: int


def pack(volumes: Any, backend: Backend) -> BlockedVolume:
    """Put volumes ``(n, R + 2, 2R + 3, 2R + 3)`` of the kernels, complex64 or float32, in blocks."""
    n, planes, width = volumes.shape[:3]
    across = -(-width // SIDE)
    shape = (n, SIDE**3 * across * across * -(-planes // SIDE))
    values = backend.xp.zeros(shape, dtype=volumes.dtype)
    floats = np.dtype(volumes.dtype).itemsize // 4
    args = backend.to_device(volumes), n, planes - 2, floats, values
    backend.launch(Kernel("pack.cu", "pack_blocks"), args, items=n * planes)
    return BlockedVolume(values, planes - 2)
