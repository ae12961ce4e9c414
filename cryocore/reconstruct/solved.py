"""Maps of a round from its sums: of both half sets at once, or one after the other where both take much memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryocore.backend import Backend
from cryocore.config.reconstruct import LARGE_SUMS_BYTES
from cryocore.formats.stacks import Source
from cryocore.imaging.accumulate import accumulate, symmetrise
from cryocore.imaging.grid import FourierGrid, FourierSums
from cryocore.imaging.solve import Solver, own_divisor
from cryocore.tables.particles import Particles
from cryocore.types import Floats, Floats32


@dataclass(frozen=True)
class Solved:
    """Both half maps ``(n, n, n)``, what own samples are divided by in them (:func:`own_divisor`), and the merged map
    by the FSC between them."""

    halves: tuple[Floats32, Floats32]
    own: Floats32
    merged: Callable[[Floats], Floats32]


def is_large(grid: FourierGrid) -> bool:
    """Whether the sums of one half set are enough at a time."""
    return 2 * 12 * math.prod(grid.shape) > LARGE_SUMS_BYTES


def solve_both(sums: FourierSums, group: NDArray[np.float64]) -> Solved:
    """From the sums of both half sets, whose symmetry equivalents under ``group`` ``(m, 3, 3)`` are added up first."""
    sums = symmetrise(sums, group)
    solver = Solver(sums, group)
    return Solved((solver.half(0), solver.half(1)), own_divisor(sums), solver.merged)


def half_maps(
    data: Particles,
    weights: Floats32,
    grid: FourierGrid,
    group: NDArray[np.float64],
    backend: Backend,
    source: Source,
    progress: str = "insert",
) -> Iterator[Floats32]:
    """The maps ``(n, n, n)`` of both half sets of particles with weights ``(n,)``, one after the other."""
    if not is_large(grid):
        sums = accumulate(data, weights, grid, backend, source=source, progress=progress)
        solver = Solver(symmetrise(sums, group), group)
        yield from (solver.half(h) for h in (0, 1))
        return
    for h in (1, 2):
        sums = symmetrise(_of_half(h, data, weights, grid, backend, source, progress), group)
        half = Solver(sums, group).half(0)
        del sums
        yield half


def _of_half(
    h: int, data: Particles, weights: Floats32, grid: FourierGrid, backend: Backend, source: Source, progress: str
) -> FourierSums:
    """The sums of one half set alone."""
    of_half = np.where(data.column("half") == h, weights, np.float32(0.0))
    name = f"{progress}, half set {h}"
    return accumulate(data, of_half, grid, backend, source=source, progress=name, n_sets=1)


def solve_in_turn(
    data: Particles,
    weights: Floats32,
    grid: FourierGrid,
    group: NDArray[np.float64],
    backend: Backend,
    source: Source,
) -> Solved:
    """From the images, with the sums of one half set in memory.

    The merged map is that of the first half set added to the sums of the second; where symmetry equivalents were added
    to these, all images are read again.
    """
    half, maps, own = data.column("half"), [], []
    for h in (1, 2):
        sums = _of_half(h, data, weights, grid, backend, source, "insert")
        of_group = symmetrise(sums, group)
        maps.append(Solver(of_group, group).half(0))
        own.append(own_divisor(of_group)[0])
        left = [sums] if of_group is sums and h == 2 else []
        del sums, of_group

    def merged(fsc: Floats) -> Floats32:
        start = left.pop() if left else None
        rest = weights if start is None else np.where(half == 1, weights, np.float32(0.0))
        sums = accumulate(data, rest, grid, backend, start, source, "insert, merged map", n_sets=1)
        return Solver(symmetrise(sums, group), group).merged(fsc)

    return Solved((maps[0], maps[1]), np.stack(own), merged)
