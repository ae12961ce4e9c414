"""Training particles without a truth: some particles as they are, and the same ones made incorrect, before maps that
lack them."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cryocore.config.plant import ErrorShares
from cryocore.formats.stacks import Pixels, Reader
from cryocore.geometry.rotations import matrix_to_quaternion
from cryocore.hashing import hashed_uniform
from cryocore.imaging.accumulate import accumulate, symmetrise
from cryocore.imaging.packed import limit_of, record_type
from cryocore.imaging.solve import Solver
from cryocore.maps.mrc import read_map
from cryocore.memory import Memory
from cryocore.score.folds import signal_without
from cryocore.score.reference import read_sampling, sampling_grid
from cryocore.score.scorer import Scorer
from cryocore.simulate.plant import KINDS, assign_errors, perturb_poses, phase_randomised
from cryocore.tables.particles import Particles

log = logging.getLogger(__name__)

STREAM_ROWS = 20
LARGEST_SHARE = 0.25
"""Of a half map's particles, that training particles may take out of it."""


def training_rows(
    data: Particles, weights: NDArray[np.float32], per_half: int, seed: int, most: float = LARGEST_SHARE
) -> NDArray[np.intp]:
    """Rows of particles drawn by their ids, at most ``per_half`` of each half set and a share of its map's."""
    order = hashed_uniform(data.ids, 1, seed=seed, stream=STREAM_ROWS)[:, 0]
    half = data.column("half")
    chosen = []
    for h in (1, 2):
        members = np.flatnonzero(half == h)
        inside = len(members) if most == 1.0 else int(most * np.count_nonzero(weights[members]))
        chosen.append(members[np.argsort(order[members], kind="stable")][: min(per_half, inside)])
    return np.sort(np.concatenate(chosen))


def without(
    scorer: Scorer, data: Particles, weights: NDArray[np.float32], rows: NDArray[np.intp], round_dir: Path
) -> Scorer:
    """A scorer whose half maps lack the particles of ``rows``: it scores them, and copies of them, as strangers."""
    comparison = scorer.comparison
    others = weights.copy()
    others[rows] = 0.0
    mask, _ = read_map(round_dir / "mask.mrc")
    grid = sampling_grid(data, read_sampling(round_dir / "sampling.npz"))
    sums = accumulate(
        data, others, grid, comparison.backend, source=comparison.source, progress="maps for training particles"
    )
    solver = Solver(symmetrise(sums, comparison.group), comparison.group)
    maps = np.stack([solver.half(h) * mask for h in range(2)])
    signal = signal_without(scorer.signal, float(weights[rows].sum() / weights.sum()))
    return replace(scorer, comparison=comparison.with_maps(maps), signal=signal)


@dataclass(frozen=True)
class Planted:
    """A data set some of whose particles are made incorrect.

    ``particles`` : all of it, with the wrong poses and shifts
    ``kinds`` : (m,), the kinds of error of ``rows``
    """

    particles: Particles
    rows: NDArray[np.intp]
    kinds: NDArray[np.str_]

    def scorer(self, scorer: Scorer, seed: int) -> Scorer:
        """The scorer, to which images of the particles that are junk come as noise."""
        junk = self.particles.ids[self.rows[self.kinds == "junk"]]
        if len(junk) == 0:
            return scorer
        comparison = scorer.comparison

        def source(particles: Particles) -> Reader:
            return _Scrambling(comparison.source(particles), particles, junk, seed)

        return replace(scorer, comparison=replace(comparison, source=source))


def plant_errors(data: Particles, rows: NDArray[np.intp], errors: ErrorShares, seed: int) -> Planted:
    """Make the particles of ``rows`` incorrect; the shares of the kinds are those of ``errors``, whatever their sum."""
    rng = np.random.default_rng([seed, STREAM_ROWS])
    shares = errors.model_copy(update={kind: getattr(errors, kind) / errors.total for kind in KINDS})
    kinds = assign_errors(len(rows), shares, rng)
    kinds[kinds == "none"] = max(KINDS, key=lambda kind: getattr(errors, kind))  # what rounding left over
    rotations, shifts = perturb_poses(kinds, data.rotations[rows], data.shifts_angstrom[rows], errors, rng)
    quaternions, all_shifts = data.quaternions, data.shifts_angstrom
    quaternions[rows], all_shifts[rows] = matrix_to_quaternion(rotations), shifts
    changed = {f"quat_{c}": quaternions[:, i] for i, c in enumerate("wxyz")}
    changed |= {f"shift_{c}_angstrom": all_shifts[:, i] for i, c in enumerate("xy")}
    return Planted(data.with_columns(changed), rows, kinds)


class _Scrambling:
    """A reader that turns the phases of some particles' images at random."""

    def __init__(self, reader: Reader, particles: Particles, ids: NDArray[np.uint64], seed: int) -> None:
        self._reader, self._ids, self._seed = reader, particles.ids, seed
        self._junk = np.isin(self._ids, ids)

    def __enter__(self) -> Self:
        self._reader.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.__exit__(kind, error, trace)

    def read(self, rows: NDArray[np.integer[Any]], memory: Memory | None = None) -> Any:
        images = self._reader.read(rows, memory)
        images = images.bright() if isinstance(images, Pixels) else images
        for i in np.flatnonzero(self._junk[rows]):
            rng = np.random.default_rng([self._seed, int(self._ids[rows[i]])])
            images[i] = phase_randomised(images[i][None], rng)[0] if images.ndim == 3 else _turned(images[i], rng)
        return images


def _turned(record: NDArray[np.int16], rng: np.random.Generator) -> NDArray[np.int16]:
    """A packed transform with random phases."""
    packed = record.copy().view(record_type(limit_of(len(record))))
    parts = packed["transform"][0].astype(np.float32)
    values = (parts[:, 0] + 1j * parts[:, 1]) * np.exp(2j * np.pi * rng.random(len(parts)))
    packed["transform"][0] = np.stack([values.real, values.imag], axis=1)
    return packed.view(np.int16).reshape(record.shape)
