"""Transforms of maps on the CPU: padded, and only what lies in a ball about the origin.

The half-space transform of a map ``(n, n, n)``, padded to ``size`` points along each axis, is an array
``(R + 2, 2 R + 3, 2 R + 3)`` as the kernels have grids: indexed [kz, ky + R + 1, kx + R + 1], for a ball of radius R.

For maps on any device see :mod:`cryocore.backend.map_transforms`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.backend.base import Kernel
from cryocore.backend.cpu import host

MAP_TO_COLUMNS = Kernel("host/fourier.cpp", "map_to_columns")
COLUMNS_TO_GRID = Kernel("host/fourier.cpp", "columns_to_grid")
GRID_TO_COLUMNS = Kernel("host/fourier.cpp", "grid_to_columns")
COLUMNS_TO_MAP = Kernel("host/fourier.cpp", "columns_to_map")


def transform_of_map(
    volume: NDArray[np.float32], size: int, radius: int, line: NDArray[np.float32] | None = None
) -> NDArray[np.complex64]:
    """The transform of a map, over n where its values are first divided by ``line`` ``(n,)`` along each axis."""
    n, planes, width = len(volume), radius + 2, 2 * radius + 3
    columns = np.empty((planes, n, n), dtype=np.complex64)
    args = np.ascontiguousarray(volume, dtype=np.float32), line, n, size, planes, columns
    host().launch(MAP_TO_COLUMNS, args, items=n)
    values = np.empty((planes, width, width), dtype=np.complex64)
    host().launch(COLUMNS_TO_GRID, (columns, planes, n, size, width, values), items=planes)
    return values


def one_or_two(arrays: Sequence[Any]) -> tuple[Any, Any]:
    """Two arguments of a kernel, None where there is no array."""
    first, second, *_ = *arrays, None, None
    return first, second


def map_of_transform(
    numerators: Sequence[Any],
    n: int,
    size: int,
    radius: int,
    *,
    scale: float,
    denominators: Sequence[Any] = (),
    floor: NDArray[np.float32] | None = None,
    added: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """The map ``(n, n, n)`` of numerator / denominator, times ``scale``.

    Parameters
    ----------
    numerators : one transform complex64, or two to be added up; what lies outside the ball is not read
    denominators : none, or as many, float32
    floor, added : ``(R² + 1,)`` float32 by |k|², what the denominator is no less than, and what is then added to it;
        the mean of the map is 0 where there is a denominator
    """
    columns = np.empty((radius + 1, n, n), dtype=np.complex64)
    sums = (*one_or_two(numerators), *one_or_two(denominators))
    host().launch(GRID_TO_COLUMNS, (*sums, floor, added, radius, n, size, columns), items=radius + 1)
    volume = np.empty((n,) * 3, dtype=np.float32)
    host().launch(COLUMNS_TO_MAP, (columns, radius + 1, n, size, scale, volume), items=n)
    return volume
