"""Other poses and shifts for a particle: those of other particles, and perturbed ones of its own.

The draws are a function of the particle's id, so that they depend neither on the order nor on the grouping of the work.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cryocore.geometry.rotations import angular_distance_deg, quaternion_to_matrix, rotations_by_angle
from cryocore.hashing import hashed_uniform
from cryocore.types import Floats, Ids, Rows

TRIES = 16
"""Draws after which a pose is taken although it is too close to the own."""
TOLERANCE_DEG = 1e-3


def random_poses(
    ids: Ids,
    rotations: Floats,
    n_random_poses: int,
    quaternions: Floats,
    *,
    apart_deg: float,
    group: Floats,
    seed: int,
) -> Floats:
    """Poses of other particles ``(n, n_random_poses, 3, 3)``, drawn from ``quaternions`` ``(m, 4)``.

    Those closer than ``apart_deg`` to the own pose ``rotations`` ``(n, 3, 3)``, modulo the point group
    ``group`` ``(g, 3, 3)``, are drawn again: under preferred views many are.
    """

    def draw(rows: Rows, attempt: int) -> Floats:
        uniform = hashed_uniform(ids[rows], n_random_poses, seed=seed, stream=1, first=attempt * n_random_poses)
        chosen = quaternions[(uniform * len(quaternions)).astype(np.int64)]
        return quaternion_to_matrix(chosen.reshape(-1, 4)).reshape(len(rows), n_random_poses, 3, 3)

    return _apart(draw, rotations, apart_deg, group)


def perturbed_poses(
    ids: Ids, rotations: Floats, n_neighbours: int, angle_deg: tuple[float, float], *, group: Floats, seed: int
) -> Floats:
    """Poses ``(n, n_neighbours, 3, 3)``: each particle's own, turned about a random axis by an angle in a range.

    Those that a point group ``(g, 3, 3)`` brings closer to the own pose than the range allows are drawn again.
    """

    def draw(rows: Rows, attempt: int) -> Floats:
        n = 3 * n_neighbours
        uniform = hashed_uniform(ids[rows], n, seed=seed, stream=2, first=attempt * n).reshape(-1, 3)
        height, azimuth = 2 * uniform[:, 0] - 1, 2 * np.pi * uniform[:, 1]
        radius = np.sqrt(1 - height**2)
        axes = np.stack([radius * np.cos(azimuth), radius * np.sin(azimuth), height], axis=1)
        angles = angle_deg[0] + (angle_deg[1] - angle_deg[0]) * uniform[:, 2]
        turns = rotations_by_angle(axes, angles).reshape(len(rows), n_neighbours, 3, 3)
        return turns @ rotations[rows, None]

    return _apart(draw, rotations, angle_deg[0], group)


def _apart(draw: Callable[[Rows, int], Floats], own: Floats, least_deg: float, group: Floats) -> Floats:
    """Poses ``(n, k, 3, 3)``, each drawn until it is ``least_deg`` from the own pose modulo a group, or kept."""

    def close(rows: Rows) -> NDArray[np.bool_]:
        return angular_distance_deg(own[rows, None], poses[rows], group) < least_deg - TOLERANCE_DEG

    rows = np.arange(len(own))
    poses = draw(rows, 0)
    pending = close(rows)
    for attempt in range(1, TRIES):
        rows = np.flatnonzero(pending.any(axis=1))
        if not len(rows):
            break
        poses[rows] = np.where(pending[rows][..., None, None], draw(rows, attempt), poses[rows])
        pending[rows] &= close(rows)
    return poses


def displacements(ids: Ids, n: int, range_angstrom: tuple[float, float], *, seed: int) -> Floats:
    """Displacements ``(len(ids), n, 2)`` of shifts, Å: the distance uniform in a range, in a random direction."""
    uniform = hashed_uniform(ids, 2 * n, seed=seed, stream=4).reshape(len(ids), n, 2)
    distance = range_angstrom[0] + (range_angstrom[1] - range_angstrom[0]) * uniform[..., 0]
    direction = 2 * np.pi * uniform[..., 1]
    return distance[..., None] * np.stack([np.cos(direction), np.sin(direction)], axis=-1)
