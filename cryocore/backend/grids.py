"""Work on whole grids for which each machine has a schedule of its own: sums over shells, smoothed densities."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.backend.base import Backend, Kernel
from cryocore.cores import in_threads
from cryocore.types import Floats

SMOOTH_HOST = Kernel("host/density.cpp", "smooth_density")
SMOOTH_CUDA = Kernel("cuda/density.cu", "smooth_density")


def shell_sums(values: Any, radius: int, shells: NDArray[np.intp], size: int, backend: Backend) -> Floats:
    """Sums of a grid's values float32 ``(R + 2, 2 R + 3, 2 R + 3)`` by plane kz and shell, ``(R + 1, size)``.

    ``shells`` : of each |k|²; no less than ``size - 1`` outside the ball, where not all planes are added up
    """
    if backend.name == "cpu":
        return _folded_shell_sums(values, radius, shells, size)
    along, xp, sums = np.arange(-radius, radius + 1) ** 2, backend.xp, np.zeros((radius + 1, size))
    squares, of_square = backend.to_device(along[:, None] + along), backend.to_device(shells)
    for kz in range(radius + 1):
        plane, at = values[kz, 1:-1, 1:-1], of_square[squares + kz**2]
        sums[kz] = backend.to_host(xp.bincount(at.reshape(-1), weights=plane.reshape(-1), minlength=size))
    return sums


def _folded_shell_sums(values: NDArray[np.floating], radius: int, shells: NDArray[np.intp], size: int) -> Floats:
    """The same on the CPU: a plane's four quarters are added up before its shells are looked up."""
    middle, along = radius + 1, np.arange(radius + 1) ** 2
    squares, sums = along[:, None] + along, np.zeros((radius + 1, size))

    def add_up(kz: int) -> None:
        reach = math.isqrt(radius**2 - kz**2)
        quarter = _fold(_fold(values[kz], middle, reach).T, middle, reach).T
        at = np.take(shells[kz**2 :], squares[: reach + 1, : reach + 1])
        sums[kz] = np.bincount(at.ravel(), weights=quarter.ravel(), minlength=size)

    in_threads(add_up, range(len(sums)))
    return sums


def _fold(values: NDArray[np.floating], middle: int, reach: int) -> NDArray[np.floating]:
    """Rows from the middle to ``reach`` beyond it, those as far before it added."""
    folded = values[middle : middle + reach + 1].copy()
    folded[1:] += values[middle - reach : middle][::-1]
    return folded


def smooth_density(
    density: Any,
    radius: int,
    planes: NDArray[np.int32],
    at: NDArray[np.int32],
    added: NDArray[np.float32] | None,
    backend: Backend,
) -> tuple[Any, Any]:
    """A density D, and D / (D + added), on a grid after [1 2 1] / 4 along each axis, at some of its points.

    Parameters
    ----------
    density : (R + 2, 2 R + 3, 2 R + 3) float32
    planes, at : indices along z ``(p,)``, and along y and x ``(m,)``
    added : by |k|²; None: the second array is not filled

    Returns
    -------
    two arrays (p, m, m) float32
    """
    on_device, xp = backend.to_device, backend.xp
    smooth, share = (xp.empty((len(planes), len(at), len(at)), dtype=np.float32) for _ in range(2))
    given = density, radius, None if added is None else on_device(added)
    args = (*given, on_device(planes), len(planes), on_device(at), len(at), smooth, share)
    if backend.name == "cpu":
        backend.launch(SMOOTH_HOST, args, items=len(planes))
    else:
        backend.launch(SMOOTH_CUDA, args, items=len(planes) * len(at))
    return smooth, share
