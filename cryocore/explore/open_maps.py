"""A finished round, ready to have its maps made again of other particles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryocore.formats.stacks import Source
from cryocore.geometry.symmetry import point_group
from cryocore.imaging.cache import image_source
from cryocore.imaging.grid import FourierGrid
from cryocore.imaging.image_geometry import used_shells
from cryocore.log.rounds import LogRound, find_rounds, wanted_round
from cryocore.maps.mrc import read_map
from cryocore.tables.io import open_arrays
from cryocore.tables.particles import Particles
from cryocore.types import Floats, Floats32


@dataclass(frozen=True)
class OpenRound:
    """What the maps of a round are made from.

    ``data`` : all particles, without envelopes of the run
    ``mask`` : ``(n, n, n)``, that of the round
    ``source`` : the run's cache of transforms, where it keeps one, or else the images
    ``group`` : rotations ``(m, 3, 3)`` of the point group
    """

    log: LogRound
    folder: Path
    data: Particles
    mask: Floats32
    pixel_size_angstrom: float
    grid: FourierGrid
    source: Source
    group: Floats


def open_maps(run_dir: Path, number: str) -> OpenRound:
    """A round of ``results/<run>``: ``number``, or ``last``.

    Raises
    ------
    InputError  if there is no such round, it lacks its maps, or the cache is of other images.
    """
    log = wanted_round(find_rounds(run_dir), number)
    folder = run_dir / f"round_{log.number}"
    data = Particles.read(run_dir / "particles.parquet")
    mask, pixel = read_map(folder / "mask.mrc")
    with open_arrays(folder / "sampling.npz", "sampling density") as file:
        grid = FourierGrid.of(len(mask), pixel, float(file["padding"]), int(file["last_shell"]))
    cache = run_dir / "cache" / "transforms.npz"
    source = image_source(cache if cache.exists() else None, data, used_shells(data.optics, grid))
    return OpenRound(log, folder, data, mask, pixel, grid, source, point_group(log.symmetry))
