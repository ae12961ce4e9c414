"""Half-space volumes in blocks (:mod:`cryocore.imaging.blocks`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cryocore.backend import Backend, Kernel
from cryocore.imaging.blocks import blocked_size


@dataclass(frozen=True)
class BlockedVolume:
    """Volumes of half-space radius ``radius``, ``(n, voxels)`` complex64, block after block."""

    values: Any
    radius: int


def pack(volumes: Any, backend: Backend) -> BlockedVolume:
    """Put volumes ``(n, R + 2, 2R + 3, 2R + 3)`` of the kernels, complex64, in blocks."""
    n, planes = volumes.shape[:2]
    values = backend.xp.zeros((n, blocked_size(planes - 2)), dtype=np.complex64)
    args = backend.to_device(volumes), n, planes - 2, values
    backend.launch(Kernel("pack.cu", "pack_blocks"), args, items=n * planes)
    return BlockedVolume(values, planes - 2)
