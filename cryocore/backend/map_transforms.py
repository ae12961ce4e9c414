"""Transforms of maps where they are: the CPU transforms lines where they lie, a GPU slabs of planes by its library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.backend import fourier
from cryocore.backend.base import Backend
from cryocore.backend.fourier_slabs import map_by_slabs, transform_by_slabs


def transform_of_map(volume: Any, size: int, radius: int, line: NDArray[np.float32] | None, backend: Backend) -> Any:
    """See :func:`cryocore.backend.fourier.transform_of_map`; map and transform are on the device of a backend."""
    if backend.name == "cpu":
        return fourier.transform_of_map(volume, size, radius, line)
    return transform_by_slabs(volume, size, radius, line, backend)


def map_of_transform(
    numerators: Sequence[Any],
    denominators: Sequence[Any],
    floor: NDArray[np.float32] | None,
    added: NDArray[np.float32] | None,
    n: int,
    size: int,
    radius: int,
    *,
    scale: float,
    backend: Backend,
) -> Any:
    """See :func:`cryocore.backend.fourier.map_of_transform`; transforms and map are on the device of a backend."""
    if backend.name == "cpu":
        divided: dict[str, Any] = {"denominators": denominators, "floor": floor, "added": added}
        return fourier.map_of_transform(numerators, n, size, radius, scale=scale, **divided)
    sums = *fourier.one_or_two(numerators), *fourier.one_or_two(denominators), floor, added
    return map_by_slabs(sums, n, size, radius, scale, backend)
