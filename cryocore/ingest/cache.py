"""The stage: images in, their transforms in half precision out."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryocore.backend import Backend
from cryocore.formats.stacks import batch_size, batches
from cryocore.imaging.cache import write_transforms
from cryocore.imaging.grid import FourierGrid, last_shell
from cryocore.imaging.image_geometry import used_shells
from cryocore.imaging.packed import Records, pack_transforms
from cryocore.tables.particles import Particles
from cryocore.tables.shards import WHOLE, Shard

log = logging.getLogger(__name__)


def cache(
    particles: Path, *, max_resolution_angstrom: float | None, backend: Backend, out: Path, shard: Shard = WHOLE
) -> None:
    """Write the transforms of the images within the band that reconstruct and score use, in half precision."""
    data = Particles.read(particles, shard)
    optics = data.reference_optics
    last = last_shell(optics.box, optics.pixel_size_angstrom, max_resolution_angstrom)
    grid = FourierGrid.of(optics.box, optics.pixel_size_angstrom, 1.0, last)
    shells = used_shells(data.optics, grid)
    group = data.column("optics_group")

    def packed() -> Iterator[tuple[NDArray[np.int64], Records]]:
        size = batch_size(max(o.box for o in data.optics))
        for rows, images in batches(data, np.arange(len(data)), size, progress="cache"):
            yield rows, pack_transforms(images, shells[int(group[rows[0]])], backend)

    write_transforms(out, data, shells, packed())
    log.info("%d transforms, %.1f kB each", len(data), out.stat().st_size / len(data) / 1e3)
