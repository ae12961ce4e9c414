"""Some particles of the data set: their band sums as they are, and against rivals."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.backend import Backend
from cryocore.config import Score
from cryocore.data import Particles
from cryocore.geometry.poses import decoys, displacements, neighbours
from cryocore.geometry.rotations import matrix_to_quaternion
from cryocore.images import Source, batch_size, batches
from cryocore.imaging.slices import prepare
from cryocore.imaging.volumes import Floats32
from cryocore.score.reference import Reference
from cryocore.score.scores import Rivals
from cryocore.score.sums import Batch, own_sums, pose_sums, shift_sums

CHUNK = 32768
"""Particles whose sums are held at a time: a row group of the log."""


@dataclass(frozen=True)
class ChunkSums:
    """Band sums of n particles, and where their rivals are.

    ``own`` : ``(n, bands, 6)``
    ``rivals`` : at decoys, neighbours and displaced shifts, of the innermost bands
    ``quaternions`` : ``(n, k, 4)`` of the neighbours
    ``displacements_angstrom`` : ``(n, k, 2)`` of the shifts
    """

    own: Floats32
    rivals: Rivals
    quaternions: NDArray[np.float64]
    displacements_angstrom: NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """What the particles of a pass are compared with.

    ``poses`` : the quaternions ``(m, 4)`` of the whole data set, from which decoys are drawn
    ``group`` : the rotations ``(g, 3, 3)`` of the point group, modulo which rivals are no closer to the own pose than
    they should
    ``rival_bands`` : how many of the innermost bands rivals are summed in: beyond them the map holds no signal
    """

    reference: Reference
    settings: Score
    seed: int
    backend: Backend
    source: Source
    poses: NDArray[np.float64]
    group: NDArray[np.float64]
    rival_bands: int


def chunk_sums(
    part: Particles, weights: NDArray[np.float32], comparison: Comparison, progress: str = "score"
) -> ChunkSums:
    """Band sums of some particles, whose weights in the map are ``(n,)``."""
    n, bands, reference, settings = len(part), comparison.rival_bands, comparison.reference, comparison.settings
    own = np.empty((n, reference.n_bands, 6), dtype=np.float32)
    elsewhere = np.empty((n, settings.n_decoys, bands, 2), dtype=np.float32)
    near = np.empty((n, settings.n_local, bands, 2), dtype=np.float32)
    displaced = np.empty((n, settings.n_shift, bands), dtype=np.float32)
    quaternions = np.empty((n, settings.n_local, 4))
    moves = displacements(part.ids, settings.n_shift, settings.shift_angstrom, seed=comparison.seed)
    half, optics_group = part.column("half").astype(np.int32) - 1, part.column("optics_group")
    rotations, leverage = part.rotations, (weights * reference.leverage).astype(np.float32)
    inner = [samples.first(bands) for samples in reference.samples]
    size = batch_size(max(o.box for o in part.optics))
    drawn: dict[str, Any] = {"group": comparison.group, "seed": comparison.seed}
    for at, images in batches(part, np.arange(n), size, progress=progress, source=comparison.source):
        ids, own_poses, g, backend = part.ids[at], rotations[at], int(optics_group[at[0]]), comparison.backend
        prepared = prepare(images, part.take(at), reference.frames[g], backend)
        batch = Batch(prepared, own_poses, half[at], leverage[at], reference, reference.samples[g], backend)
        own[at] = own_sums(batch)
        batch = replace(batch, samples=inner[g])
        if settings.n_decoys:
            apart = settings.local_angle_deg[1]
            poses = decoys(ids, own_poses, settings.n_decoys, comparison.poses, apart_deg=apart, **drawn)
            elsewhere[at] = pose_sums(batch, poses)
        if settings.n_local:
            poses = neighbours(ids, own_poses, settings.n_local, settings.local_angle_deg, **drawn)
            quaternions[at] = matrix_to_quaternion(poses.reshape(-1, 3, 3)).reshape(len(at), -1, 4)
            near[at] = pose_sums(batch, poses)
        if settings.n_shift:
            displaced[at] = shift_sums(batch, moves[at])
    return ChunkSums(own, Rivals(elsewhere, near, displaced), quaternions, moves)
