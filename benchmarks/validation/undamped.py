"""Half maps of weight 1 without damping: what a program that only divides makes of the same particles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.validation.common import host
from cryocore.config.reconstruct import Reconstruct
from cryocore.geometry.symmetry import point_group
from cryocore.imaging.accumulate import accumulate, symmetrise
from cryocore.imaging.solve import Solver
from cryocore.reconstruct.stage import sums_grid
from cryocore.tables.particles import Particles
from cryocore.types import Floats32


def undamped(table: Path, symmetry: str, chosen: NDArray[np.bool_] | None = None) -> list[Floats32]:
    """The half maps ``(n, n, n)`` of particles, or of some of them, all of weight 1, without the damping of a
    round's."""
    data, group = Particles.read(table), point_group(symmetry)
    weights = np.ones(len(data)) if chosen is None else chosen
    sums = accumulate(data, weights.astype(np.float32), sums_grid(data, Reconstruct()), host())
    solver = Solver(symmetrise(sums, group), group)
    return [solver.half(h, damped=False) for h in (0, 1)]
