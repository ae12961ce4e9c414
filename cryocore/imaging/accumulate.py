"""The normal equations of both half sets, in one streaming pass over the images."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cryocore.backend import Backend, Kernel
from cryocore.backend.fourier_slabs import working_bytes
from cryocore.formats.stacks import Source, StackReader, batch_size, batches
from cryocore.imaging.grid import FourierGrid, FourierSums, require_room
from cryocore.imaging.image_geometry import ImageGeometry
from cryocore.imaging.insertion import Insertion
from cryocore.imaging.prepare import prepare
from cryocore.tables.particles import Particles


def accumulate(
    particles: Particles,
    weights: NDArray[np.float32],
    grid: FourierGrid,
    backend: Backend,
    start: FourierSums | None = None,
    source: Source = StackReader,
    progress: str = "insert",
    n_sets: Literal[1, 2] = 2,
) -> FourierSums:
    """Sum w c y and w c² of all particles with a weight, per half set, and add them to those of ``start``.

    Memory is that of the sums and a few batches, whatever the number of particles; the arrays of ``start`` are used up.

    ``n_sets`` : 1: the sums are those of both half sets together
    """
    if start is None or start.backend is not backend:
        require_room_of_maps(grid, n_sets, backend)
    insertion = Insertion(grid, backend, start, n_sets)
    frames = [ImageGeometry.of(optics, grid) for optics in particles.optics]
    half = particles.column("half").astype(np.int32) - 1 if n_sets == 2 else np.zeros(len(particles), dtype=np.int32)
    rows = np.flatnonzero(weights)
    size = batch_size(max(o.box for o in particles.optics))
    for chosen, images in batches(particles, rows, size, progress=progress, source=source, memory=backend.memory):
        part = particles.take(chosen)
        batch = prepare(images, part, frames[int(part.column("optics_group")[0])], backend)
        insertion.add(batch, part.rotations, weights[chosen], half[chosen])
    return insertion.sums()


def require_room_of_maps(grid: FourierGrid, n_sets: int, backend: Backend) -> None:
    """Refuse sums that the device has no room for, or has none for what makes maps of them."""
    working = working_bytes(grid.box, grid.radius)
    require_room(grid, n_sets, backend, more_bytes=working, more=", and maps of them,")


def symmetrise(sums: FourierSums, group: NDArray[np.float64]) -> FourierSums:
    """Add up the symmetry equivalents of a point group ``(m, 3, 3)``, identity first, by interpolation in the sums."""
    if len(group) == 1:
        return sums
    backend = sums.backend
    require_room(sums.grid, len(sums.numerator), backend, more=" with their symmetry equivalents")
    operators = backend.to_device(group.astype(np.float32).reshape(-1, 9))
    made = replace(sums, **{name: backend.xp.empty_like(getattr(sums, name)) for name in ("numerator", "denominator")})
    planes, width = sums.grid.shape[:2]
    for h in range(len(sums.numerator)):
        source, target = ((of.numerator[h], of.denominator[h]) for of in (sums, made))
        args = (*source, operators, len(group), planes - 2, *target)
        backend.launch(Kernel("symmetrise.cu", "symmetrise_sums"), args, items=planes * width)
    return made
