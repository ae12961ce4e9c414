"""The size of half-space volumes in the order in which slices are read: blocks of 8 x 8 x 8 voxels."""

from __future__ import annotations

from cryocore.backend import constant

SIDE = 1 << constant("shared/blocked.cuh", "SIDE_BITS")


def blocked_size(radius: int) -> int:
    """Voxels of a half-space volume ``(R + 2, 2R + 3, 2R + 3)`` in whole blocks.

    >>> blocked_size(3), blocked_size(7)
    (2048, 9216)
    """
    across, deep = -(-(2 * radius + 3) // SIDE), -(-(radius + 2) // SIDE)
    return SIDE**3 * across * across * deep
