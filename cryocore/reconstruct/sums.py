"""Fourier sums from round to round: what left is subtracted, what came is added, and the rest is not read again.

Sums are linear in the weights, so that sums(w) = sums(v) + sums(w - v): only particles whose weight changes are
inserted, as long as all have the CTF that they had before. Float32 sums keep a rounding error of some 1e-7 of what was
ever in them; a full reconstruction starts afresh.
"""

from __future__ import annotations

import hashlib
import logging
import math
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.backend import Backend, host
from cryocore.errors import InputError
from cryocore.formats.stacks import Source, StackReader
from cryocore.imaging.accumulate import accumulate
from cryocore.imaging.grid import FourierGrid, FourierSums
from cryocore.tables.io import atomic_path, open_arrays, stream_array
from cryocore.tables.particles import ENVELOPE, Particles
from cryocore.tables.shards import Shard
from cryocore.types import Floats32

log = logging.getLogger(__name__)

MOST_CHANGED = 0.5
"""Changed particles, over those that have a weight, from which on all sums are made anew: as cheap, and more exact."""
KEEP_FROM = 4.0
"""Samples of the particles, over voxels of the sums, from which on sums are kept. Writing and reading a voxel takes
some 15 ns, entering a sample 30; and many rounds have other B-factors than the one before."""


def round_sums(
    data: Particles,
    weights: Floats32,
    grid: FourierGrid,
    backend: Backend,
    previous: Path | None = None,
    source: Source = StackReader,
) -> FourierSums:
    """The sums of a round; from those of the round before where few enough particles changed."""
    if previous is None or (change := _change(previous, data, weights)) is None:
        return accumulate(data, weights, grid, backend, source=source)
    return accumulate(data, change, grid, backend, read_sums(previous, grid), source)


def _change(previous: Path, data: Particles, weights: Floats32) -> Floats32 | None:
    """By how much weights differ from those of kept sums, ``(n,)``; None where all sums are to be made anew."""
    if not _kept(previous):
        log.info("in full: the sums of the round before would have cost more than they save")
        return None
    change = weights - read_weights_of_sums(previous, data)
    if not _same_envelopes(previous, data):
        log.info("in full: envelopes of particles changed")
        return None
    moved, kept = np.count_nonzero(change), np.count_nonzero(weights)
    in_full = moved > MOST_CHANGED * kept
    log.info("%s: %d of %d particles changed", "in full" if in_full else "incremental", moved, len(data))
    return None if in_full else change


def worth_keeping(weights: Floats32, grid: FourierGrid) -> bool:
    """Whether an incremental round of so many particles saves more than keeping the sums costs."""
    samples = 0.5 * np.pi * grid.last_shell**2 * np.count_nonzero(weights)
    return bool(samples >= KEEP_FROM * 2 * math.prod(grid.shape))


def write_sums(path: Path, sums: FourierSums | None, grid: FourierGrid, weights: Floats32, data: Particles) -> None:
    """Keep the sums of a round, the weights of its particles and what tells the particles and their envelopes; without
    ``sums`` the file says that they were not kept."""
    arrays: dict[str, Any] = {}
    if sums is not None:
        sums = sums.on(host())
        arrays = {"numerator": sums.numerator, "denominator": sums.denominator}
    with atomic_path(path) as temporary:
        np.savez(
            temporary,
            particles=np.array(_digest(data.ids)),
            envelopes=np.array(_envelopes(data)),
            weights=weights,
            grid=_signature(grid),
            kept=sums is not None,
            **arrays,
        )


def read_weights_of_sums(path: Path, data: Particles) -> Floats32:
    """The weight ``(n,)`` of each particle in kept sums; refused if they are of other particles."""
    with open_arrays(path, WHAT) as file:
        if str(file["particles"]) != _digest(data.ids):
            raise InputError("Fourier sums of other particles", file=path, fix=_FIX)
        return file.of("weights", (len(data),), np.float32)


def _kept(path: Path) -> bool:
    with open_arrays(path, WHAT) as file:
        return bool(file["kept"])


def _same_envelopes(path: Path, data: Particles) -> bool:
    """Whether kept sums are of CTFs with the same B-factors and scales."""
    with open_arrays(path, WHAT) as file:
        return str(file["envelopes"]) == _envelopes(data)


def read_sums(path: Path, grid: FourierGrid) -> FourierSums:
    """Kept sums, on the grid that is expected; the file's checksums are checked."""
    with open_arrays(path, WHAT) as file:
        require_grid(file, grid, path)
        shape = (2, *grid.shape)
        sums = FourierSums(file.of("numerator", shape, np.complex64), file.of("denominator", shape, np.float32), grid)
        if not np.isfinite(sums.denominator.sum(dtype=np.float64) + sums.numerator.sum(dtype=np.complex128)):
            raise ValueError("they are not finite")
        return sums


def merged_sums(paths: list[Path], data: Particles, weights: Floats32, grid: FourierGrid) -> FourierSums:
    """The sums of all shards, added plane by plane in their order and in double precision.

    Each shard has to be of its own range of the particles, with the weights and envelopes that they have in this round.
    """
    for i, path in enumerate(paths):
        rows = Shard(i, len(paths)).row_range(len(data))
        part = replace(data, table=data.table.slice(rows.start, rows.stop - rows.start))
        if not np.array_equal(read_weights_of_sums(path, part), weights[rows]):
            raise InputError("Fourier sums with other weights", file=path, fix=_FIX)
        if not _same_envelopes(path, part):
            raise InputError("Fourier sums with other B-factors or scales", file=path, fix=_FIX)
        with open_arrays(path, WHAT) as file:
            require_grid(file, grid, path)
    numerator = np.empty((2, *grid.shape), dtype=np.complex64)
    denominator = np.empty((2, *grid.shape), dtype=np.float32)
    for name, target, kind in (("numerator", numerator, np.complex128), ("denominator", denominator, np.float64)):
        with ExitStack() as files:
            pieces = [files.enter_context(stream_array(path, name, WHAT)) for path in paths]
            for plane in target.reshape(-1, *grid.shape[1:]):
                total = np.zeros(plane.shape, dtype=kind)
                for piece in pieces:
                    total += piece(plane.shape)
                plane[...] = total
    log.info("merged %d shards", len(paths))
    return FourierSums(numerator, denominator, grid)


def require_grid(file: Any, grid: FourierGrid, path: Path) -> None:
    """Refuse sums on another grid."""
    if not np.array_equal(file["grid"], _signature(grid)):
        raise InputError("Fourier sums of another grid", file=path, fix=_FIX)


WHAT = "Fourier sums"
_FIX = "Delete it and run snakemake again"


def _envelopes(data: Particles) -> str:
    return _digest(np.stack([data.column(name) for name in ENVELOPE]))


def _digest(column: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(column).tobytes()).hexdigest()[:32]


def _signature(grid: FourierGrid) -> NDArray[np.float64]:
    return np.array([grid.box, grid.pixel_size_angstrom, grid.size, grid.last_shell], dtype=np.float64)
