"""Some particles of the data set: their band sums as they are, and against alternative poses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.formats.stacks import batch_size, batches, beside
from cryocore.geometry.poses import displacements, perturbed_poses, random_poses
from cryocore.geometry.rotations import matrix_to_quaternion
from cryocore.imaging.prepare import prepare
from cryocore.score.comparison import Comparison
from cryocore.score.scores import Alternatives
from cryocore.score.sums import Batch, of_region, own_sums, pose_sums, shift_sums
from cryocore.tables.particles import Particles
from cryocore.types import Floats, Floats32, Ints

CHUNK = 32768
"""Particles whose sums are held at a time: a row group of the log."""


@dataclass(frozen=True)
class ChunkSums:
    """Band sums of n particles, and where their alternative poses are.

    ``own`` : ``(n, bands, 6)``
    ``alternatives`` : at random poses, perturbed poses and perturbed shifts, of the innermost bands
    ``quaternions`` : ``(n, k, 4)`` of the perturbed poses
    ``displacements_angstrom`` : ``(n, k, 2)`` of the shifts
    """

    own: Floats32
    alternatives: Alternatives
    quaternions: NDArray[np.float64]
    displacements_angstrom: NDArray[np.float64]


def chunk_sums(
    part: Particles, weights: NDArray[np.float32], comparison: Comparison, progress: str = "score"
) -> ChunkSums:
    """Band sums of some particles, whose weights in the map are ``(n,)``."""
    n, n_bands, inner = len(part), comparison.reference.n_bands, comparison.alternative_bands
    settings, folds = comparison.settings, comparison.folds
    sums = ChunkSums(
        np.empty((n, n_bands, 6), dtype=np.float32),
        Alternatives(
            np.empty((n, settings.n_random_poses, inner, 2), dtype=np.float32),
            np.empty((n, settings.n_perturbed_poses, inner, 2), dtype=np.float32),
            np.empty((n, settings.n_perturbed_shifts, inner), dtype=np.float32),
        ),
        np.empty((n, settings.n_perturbed_poses, 4)),
        displacements(part.ids, settings.n_perturbed_shifts, settings.perturbed_shift_angstrom, seed=comparison.seed),
    )
    if folds is None:
        self_contribution = (weights * comparison.reference.self_contribution).astype(np.float32)
        fill(sums, part, np.arange(n), self_contribution, comparison, progress)
        return sums
    fold = folds.of(part.images)
    for f in np.unique(fold):
        name = f"{progress}, fold {f + 1} of {len(folds)}"
        of_fold = np.flatnonzero(fold == f), np.zeros_like(weights)
        fill(sums, part, *of_fold, comparison.with_maps(folds.maps[f]), name)
    return sums


def fill(
    sums: ChunkSums,
    part: Particles,
    rows: NDArray[np.intp],
    self_contribution: NDArray[np.float32],
    comparison: Comparison,
    progress: str,
) -> None:
    """Put the band sums of some rows of ``part`` where they belong; ``self_contribution`` ``(n,)`` is that of all its
    rows."""
    reference, settings, backend = comparison.reference, comparison.settings, comparison.backend
    half, optics_group = part.column("half").astype(np.int32) - 1, part.column("optics_group")
    all_ids, rotations = part.ids, part.rotations
    inner = comparison.alternative_bands
    drawn: dict[str, Any] = {"group": comparison.group, "seed": comparison.seed}

    def draw(at: Ints) -> tuple[Floats, Floats]:
        ids, own_poses, (least, most) = all_ids[at], rotations[at], settings.perturbed_angle_deg
        n_random, n_perturbed = settings.n_random_poses, settings.n_perturbed_poses
        perturbed = perturbed_poses(ids, own_poses, n_perturbed, (least, most), **drawn)
        sums.quaternions[at] = matrix_to_quaternion(perturbed.reshape(-1, 3, 3)).reshape(len(at), -1, 4)
        return random_poses(ids, own_poses, n_random, comparison.poses, apart_deg=most, **drawn), perturbed

    size, source = batch_size(max(o.box for o in part.optics)), beside(comparison.source, draw)
    last: list[Made] = []
    stream = batches(part, rows, size, progress=progress, source=source, memory=backend.memory)
    for at, (images, (at_random, perturbed)) in stream:
        g = int(optics_group[at[0]])
        prepared = prepare(images, part.take(at), reference.frames[g], backend)
        given = prepared, rotations[at], half[at], self_contribution[at]
        batch = of_region(Batch(*given, reference, reference.samples[g], backend))
        made = [(sums.own, at, backend.later(own_sums(batch)))]
        if settings.n_random_poses:
            made.append((sums.alternatives.random_poses, at, backend.later(pose_sums(batch, at_random, inner))))
        if settings.n_perturbed_poses:
            made.append((sums.alternatives.perturbed_poses, at, backend.later(pose_sums(batch, perturbed, inner))))
        if settings.n_perturbed_shifts:
            displaced = sums.displacements_angstrom[at]
            made.append((sums.alternatives.shifts, at, backend.later(shift_sums(batch, displaced, inner))))
        put(last)  # while the device works on this batch
        last = made
    put(last)


Made = tuple[Floats32, Ints, Callable[[], Floats32]]
"""An array of all particles, rows of it, and what gives their values."""


def put(made: list[Made]) -> None:
    """Put what a device has made of a batch where it belongs."""
    for target, rows, values in made:
        target[rows] = values()
