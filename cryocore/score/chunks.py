"""Some particles of the data set: their band sums as they are, and against rivals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryocore.backend import Backend
from cryocore.config import Score
from cryocore.data import Particles
from cryocore.geometry.poses import decoys, displacements, neighbours
from cryocore.geometry.rotations import matrix_to_quaternion
from cryocore.images import Source, StackReader, batch_size, batches
from cryocore.imaging.slices import prepare
from cryocore.imaging.volumes import Floats32
from cryocore.score.reference import Reference
from cryocore.score.scores import Rivals
from cryocore.score.sums import own_sums, pose_sums, shift_sums

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


def chunk_sums(
    part: Particles,
    weights: NDArray[np.float32],
    all_poses: NDArray[np.float64],
    group: NDArray[np.float64],
    reference: Reference,
    settings: Score,
    seed: int,
    backend: Backend,
    *,
    rival_bands: int,
    progress: str = "score",
    source: Source = StackReader,
) -> ChunkSums:
    """Band sums of some particles.

    ``all_poses`` are the quaternions ``(m, 4)`` of the whole data set, from which decoys are drawn; ``group`` are the
    rotations ``(g, 3, 3)`` of the point group, modulo which rivals are no closer to the own pose than they should. Of
    rivals only the innermost ``rival_bands`` are summed: beyond them the map holds no signal.
    """
    n, bands = len(part), rival_bands
    inner = [samples.first(bands) for samples in reference.samples]
    own = np.empty((n, reference.n_bands, 6), dtype=np.float32)
    elsewhere = np.empty((n, settings.n_decoys, bands, 2), dtype=np.float32)
    near = np.empty((n, settings.n_local, bands, 2), dtype=np.float32)
    displaced = np.empty((n, settings.n_shift, bands), dtype=np.float32)
    quaternions = np.empty((n, settings.n_local, 4))
    moves = displacements(part.ids, settings.n_shift, settings.shift_angstrom, seed=seed)
    half, optics_group = part.column("half").astype(np.int32) - 1, part.column("optics_group")
    rotations, k, apart = part.rotations, settings.n_decoys, settings.local_angle_deg[1]
    size = batch_size(max(o.box for o in part.optics))
    for at, images in batches(part, np.arange(n), size, progress=progress, source=source):
        ids, own_poses, g = part.ids[at], rotations[at], int(optics_group[at[0]])
        batch = prepare(images, part.take(at), reference.frames[g], backend)
        particle = (own_poses, half[at], weights[at], reference)
        own[at] = own_sums(batch, *particle, reference.samples[g], backend)
        common = (*particle, inner[g], backend)
        if settings.n_decoys:
            poses = decoys(ids, own_poses, k, all_poses, apart_deg=apart, group=group, seed=seed)
            elsewhere[at] = pose_sums(batch, poses, *common)
        if settings.n_local:
            poses = neighbours(ids, own_poses, settings.n_local, settings.local_angle_deg, group=group, seed=seed)
            quaternions[at] = matrix_to_quaternion(poses.reshape(-1, 3, 3)).reshape(len(at), -1, 4)
            near[at] = pose_sums(batch, poses, *common)
        if settings.n_shift:
            displaced[at] = shift_sums(batch, moves[at], *common)
    return ChunkSums(own, Rivals(elsewhere, near, displaced), quaternions, moves)
