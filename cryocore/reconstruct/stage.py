"""The stage: particles and weights in, maps and their FSC out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.backend import Backend
from cryocore.config.reconstruct import Reconstruct
from cryocore.errors import InputError
from cryocore.geometry.symmetry import point_group
from cryocore.imaging.cache import image_source
from cryocore.imaging.grid import FourierGrid, last_shell
from cryocore.imaging.image_geometry import used_shells
from cryocore.maps.curves import FscCurves
from cryocore.maps.fsc import fsc_weight, half_map_fsc, resolution_at
from cryocore.maps.masks import automatic_mask
from cryocore.maps.mrc import read_map, read_placement, write_map
from cryocore.maps.placement import AT_ZERO, Placement, require_same_voxel, warn_of_other_place
from cryocore.reconstruct.solved import is_large, solve_both, solve_in_turn
from cryocore.reconstruct.sums import merged_sums, round_sums, worth_keeping, write_sums
from cryocore.tables.io import atomic_path, copy_file
from cryocore.tables.particles import Particles, read_weights, unchanged_since
from cryocore.tables.shards import Shard
from cryocore.types import Floats32

log = logging.getLogger(__name__)

LEAST_MASK_VOXELS = 64
WRITTEN = ("half1.mrc", "half2.mrc", "map.mrc", "mask.mrc", "fsc.parquet", "sampling.npz")
"""Files of a round."""


def reconstruct(
    particles: Path,
    subset: Path | None,
    mask: Path | None,
    *,
    settings: Reconstruct,
    symmetry: str,
    backend: Backend,
    out_dir: Path,
    previous_sums: Path | None = None,
    cache: Path | None = None,
    sums_of_shards: list[Path] | None = None,
    previous_map: Path | None = None,
) -> None:
    """Write half1.mrc, half2.mrc, map.mrc, mask.mrc, fsc.parquet and sampling.npz into ``out_dir``.

    Unless every round is done in full, the Fourier sums are kept there as well, in sums.npz, where that is worth it.

    Parameters
    ----------
    particles : the data set
    subset : weights of the particles, and envelopes where they are of unequal quality; None: all particles, weight 1
    mask : mask for the FSC and the scores; None: settings.mask, or one made from the map
    previous_sums : sums of the round before, to be changed where weights changed; None: all particles are summed, as
        they are where CTFs changed
    cache : transforms to read instead of the stacks
    sums_of_shards : what :func:`sum_shard` wrote, in order: no image is read, and no sums are kept
    previous_map : map.mrc of the round before, whose files are copied where the subset says that it has not changed
    """
    own_sums = ["sums.npz"] if settings.full_every > 1 and not sums_of_shards else []
    if previous_map is not None and stays(subset, previous_map.parent, [*WRITTEN, *own_sums]):
        return copy_round(previous_map.parent, out_dir, [*WRITTEN, *own_sums])
    data = Particles.read(particles).with_quality(subset)
    weights = read_weights(subset, data)
    require_both_halves(weights, data.column("half"), subset)
    group, pixel, grid = point_group(symmetry), data.reference_optics.pixel_size_angstrom, sums_grid(data, settings)
    mask = mask or (Path(settings.mask) if settings.mask else None)
    if mask is not None:
        read_mask(mask, grid.box, pixel)  # refused before the sums, not after them
    if sums_of_shards:
        sums = merged_sums(sums_of_shards, data, weights, grid)
        solved = solve_both(sums if is_large(grid) else sums.on(backend), group)
        del sums
    else:
        source = image_source(cache, data, used_shells(data.optics, grid))
        keep = out_dir / "sums.npz" if settings.full_every > 1 else None
        if is_large(grid):
            if keep is not None:
                write_sums(keep, None, grid, weights, data)
            solved = solve_in_turn(data, weights, grid, group, backend, source)
        else:
            sums = round_sums(data, weights, grid, backend, previous_sums, source)
            if keep is not None:
                write_sums(keep, sums if worth_keeping(weights, grid) else None, grid, weights, data)
            solved = solve_both(sums, group)
            del sums
    halves = solved.halves
    if not all(np.isfinite(half).all() for half in halves):
        raise InputError("the half maps are not finite", file=particles, fix="Check the images: a pixel may be NaN")
    shape = choose_mask(mask, halves, pixel)
    curves = within(half_map_fsc(halves[0], halves[1], shape, pixel_size_angstrom=pixel), grid.last_shell)
    merged = solved.merged(fsc_weight(curves.corrected))

    write_map(out_dir / "half1.mrc", halves[0], pixel)
    write_map(out_dir / "half2.mrc", halves[1], pixel)
    write_map(out_dir / "map.mrc", merged, pixel)
    write_map(out_dir / "mask.mrc", shape, pixel)
    curves.write(out_dir / "fsc.parquet")
    write_sampling(out_dir / "sampling.npz", solved.own, settings.padding, grid.last_shell)
    resolution = resolution_at(curves.corrected, curves.resolution_angstrom)
    log.info("%d particles with a weight, %.2f Å at FSC 0.143", np.count_nonzero(weights), resolution)


def stays(subset: Path | None, previous: Path, names: Sequence[str]) -> bool:
    """Whether a round has the files of the one before, in the folder ``previous``; where one is lost, it has not."""
    return unchanged_since(subset) is not None and all((previous / name).exists() for name in names)


def copy_round(previous: Path, out_dir: Path, names: Sequence[str]) -> None:
    """Copy files of the round before, whose particles and weights are those of this one."""
    for name in names:
        copy_file(previous / name, out_dir / name)
    log.info("nothing changes: the maps are those of %s", previous.name)


def sum_shard(
    particles: Path,
    subset: Path | None,
    shard: Shard,
    *,
    settings: Reconstruct,
    backend: Backend,
    out: Path,
    previous_sums: Path | None = None,
    cache: Path | None = None,
) -> None:
    """Write the Fourier sums of one shard of the particles; parameters as those of :func:`reconstruct`."""
    if previous_sums is not None and unchanged_since(subset) is not None:
        copy_file(previous_sums, out)
        return log.info("nothing changes: the sums are those of the round before")
    data = Particles.read(particles, shard).with_quality(subset, shard)
    weights = read_weights(subset, data, shard)
    grid = sums_grid(data, settings)
    source = image_source(cache, data, used_shells(data.optics, grid))
    sums = round_sums(data, weights, grid, backend, previous_sums, source)
    write_sums(out, sums, grid, weights, data)
    log.info("%d of the %d particles of shard %d of %d", np.count_nonzero(weights), len(data), shard.index, shard.count)


def sums_grid(data: Particles, settings: Reconstruct) -> FourierGrid:
    """The grid of the sums."""
    optics = data.reference_optics
    last = last_shell(optics.box, optics.pixel_size_angstrom, settings.max_resolution_angstrom)
    return FourierGrid.of(optics.box, optics.pixel_size_angstrom, settings.padding, last)


def write_sampling(path: Path, own: Floats32, padding: float, last_shell: int) -> None:
    """Write what own samples are divided by (:func:`cryocore.imaging.solve.own_divisor`), and the grid of the sums."""
    with atomic_path(path) as temporary:
        np.savez(temporary, density=own, padding=np.float64(padding), last_shell=last_shell)


def within(curves: FscCurves, last: int) -> FscCurves:
    """The curves up to the last shell in use, 0 beyond it: what is there was put there by the mask."""
    names = ("unmasked", "masked", "phase_randomised", "corrected")
    kept: dict[str, Any] = {name: np.where(curves.shell <= last, getattr(curves, name), 0.0) for name in names}
    return replace(curves, **kept)


def require_both_halves(weights: NDArray[np.float32], half: NDArray[np.int8], subset: Path | None) -> None:
    """Refuse an empty half set."""
    for h in (1, 2):
        if not np.any(weights[half == h] > 0):
            raise InputError(
                f"half set {h} has no particles", file=subset, fix="Keep more particles, or check rlnRandomSubset"
            )


def choose_mask(
    path: Path | None,
    halves: tuple[Floats32, Floats32],
    pixel_size_angstrom: float,
    placement: Placement = AT_ZERO,
) -> Floats32:
    """The mask of a file, checked against the maps and their ``placement``, or one made from their mean."""
    if path is None:
        return automatic_mask(0.5 * (halves[0] + halves[1]), pixel_size_angstrom)
    return read_mask(path, len(halves[0]), pixel_size_angstrom, placement)


def read_mask(path: Path, box: int, pixel_size_angstrom: float, placement: Placement = AT_ZERO) -> Floats32:
    """The mask of a file ``(box, box, box)``, checked against maps of that box, pixel size and placement."""
    values, _ = read_map(path, pixel_size_angstrom=1.0)
    if len(values) != box:
        raise InputError(
            f"the mask is {values.shape}, the maps are {(box,) * 3}", file=path, fix="Give a mask of the same box"
        )
    fix = "Resample the mask onto the maps, or correct the voxel size in its header"
    own = read_placement(path)
    require_same_voxel(own, pixel_size_angstrom, path, what="those of the maps", fix=fix)
    warn_of_other_place(own, placement, pixel_size_angstrom, path)
    if values.min() < -1e-3 or values.max() > 1.001 or values.max() <= 0:
        raise InputError(
            f"mask values run from {values.min():g} to {values.max():g}", file=path, fix="Give a mask from 0 to 1"
        )
    if values.sum(dtype=np.float64) < LEAST_MASK_VOXELS:
        problem = f"the mask covers {values.sum(dtype=np.float64):.3g} voxels"
        raise InputError(problem, file=path, fix="Give a mask that covers the molecule, 1 inside")
    return np.clip(values, 0.0, 1.0)
