"""Half maps as images are compared with them: what is read round a sample lies side by side, in half precision."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cryocore.backend import Backend, Kernel
from cryocore.backend.fourier_slabs import working_bytes
from cryocore.imaging.blocks import blocked_size
from cryocore.imaging.grid import FourierGrid

LARGEST = 2.0**15
"""A half holds up to 65504."""
MOST_SHARE = 1024.0
"""Of a particle of weight 1 in a coefficient of its map, by its density: what is beyond is cut, since half the
coefficient is the most that is taken out, and CTFs squared are rarely less than 1 / 2048."""


@dataclass(frozen=True)
class Voxels:
    """Maps on a grid, in blocks, each voxel with the inverse density of its samples.

    ``values`` : ``(n, voxels, 4)`` int16, bits of half-precision numbers: real and imaginary part, inverse density, 0
    ``unit`` : ``(n,)`` float32, what those of the map are multiplied by; a power of 2
    ``density_unit`` : what the inverse densities are multiplied by
    """

    values: Any
    unit: Any
    density_unit: float
    grid: FourierGrid

    def map(self, index: int) -> Voxels:
        """One of the maps."""
        at = slice(index, index + 1)
        return Voxels(self.values[at], self.unit[at], self.density_unit, self.grid)


def pack_voxels(
    grids: Iterable[Any],
    n: int,
    grid: FourierGrid,
    backend: Backend,
    inverse_density: Any = None,
    self_contribution: float = 1.0,
) -> Voxels:
    """Put maps on a grid beside the densities of their samples, one map at a time; both are on the device.

    Parameters
    ----------
    grids : n maps ``grid.shape`` complex64, as :func:`cryocore.imaging.volumes.map_to_grid` makes them
    inverse_density : ``(n, r+2, 2r+3, 2r+3)`` float32, on the grid without padding; None: 0, for particles that are in
        no map
    self_contribution : times inverse density, the share of a particle of weight 1
    """
    xp, voxels = backend.xp, blocked_size(grid.radius)
    # all maps in blocks, and the grid of one, which is made meanwhile
    n_bytes = 8 * (n * voxels + math.prod(grid.shape)) + working_bytes(grid.box, grid.radius)
    fix = "Set reconstruct.max_resolution_angstrom, or a larger one"
    backend.require_room(n_bytes, f"the half maps of box {grid.box}", fix)
    values = xp.zeros((n, voxels, 4), dtype=np.int16)
    unit, scale = np.empty(n, dtype=np.float32), LARGEST / (MOST_SHARE / self_contribution)

    def pack(i: int, values_of_map: Any) -> None:
        parts = values_of_map.view(np.float32)
        largest = float(max(parts.max(), -parts.min()))
        factor = 2.0 ** np.floor(np.log2(LARGEST / largest)) if largest > 0 else 1.0
        unit[i] = 1.0 / factor
        density = None if inverse_density is None else inverse_density[i]
        radius = 0 if inverse_density is None else inverse_density.shape[1] - 2
        given = values_of_map, grid.radius, factor, density, radius, grid.padding, scale, LARGEST
        backend.launch(Kernel("pack_voxels.cu", "pack_voxels"), (*given, values[i]), items=grid.radius + 2)

    made = iter(grids)
    for i in range(n):
        pack(i, next(made))  # nothing holds a map when the next one is made
    return Voxels(values, backend.to_device(unit), 1.0 / scale, grid)
