"""Other poses and shifts for a particle: those of other particles, and neighbours of its own.

The draws are a function of the particle's id, so that they depend neither on the order nor on the grouping of the work.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cryocore.geometry.rotations import rotations_by_angle

Array = NDArray[np.float64]
Ids = NDArray[np.uint64]


def hashed_uniform(ids: Ids, n: int, *, seed: int, stream: int) -> Array:
    """``(len(ids), n)`` numbers, uniform in [0, 1), that depend only on id, seed, stream and column.

    The mixing function is SplitMix64 (Steele et al. 2014, OOPSLA).
    """
    start = np.array([seed * 1009 + stream], dtype=np.uint64)
    mixed = _mix(ids[:, None] ^ _mix(start)[:, None])
    columns = _mix(np.arange(1, n + 1, dtype=np.uint64))[None, :]
    return (_mix(mixed ^ columns) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def decoy_rows(ids: Ids, n_decoys: int, n_particles: int, *, seed: int) -> NDArray[np.int64]:
    """Rows of the data set ``(len(ids), n_decoys)`` whose poses serve as decoys."""
    return (hashed_uniform(ids, n_decoys, seed=seed, stream=1) * n_particles).astype(np.int64)


def neighbours(ids: Ids, rotations: Array, n_neighbours: int, angle_deg: tuple[float, float], *, seed: int) -> Array:
    """Poses ``(n, n_neighbours, 3, 3)``: each particle's own, turned about a random axis by an angle in a range."""
    n = len(ids)
    uniform = hashed_uniform(ids, 3 * n_neighbours, seed=seed, stream=2).reshape(n * n_neighbours, 3)
    height, azimuth = 2 * uniform[:, 0] - 1, 2 * np.pi * uniform[:, 1]
    radius = np.sqrt(1 - height**2)
    axes = np.stack([radius * np.cos(azimuth), radius * np.sin(azimuth), height], axis=1)
    angles = angle_deg[0] + (angle_deg[1] - angle_deg[0]) * uniform[:, 2]
    turns = rotations_by_angle(axes, angles).reshape(n, n_neighbours, 3, 3)
    return np.einsum("nkij,njl->nkil", turns, rotations)


def displacements(ids: Ids, n: int, range_angstrom: tuple[float, float], *, seed: int) -> Array:
    """Displacements ``(len(ids), n, 2)`` of shifts, Å: the distance uniform in a range, in a random direction."""
    uniform = hashed_uniform(ids, 2 * n, seed=seed, stream=4).reshape(len(ids), n, 2)
    distance = range_angstrom[0] + (range_angstrom[1] - range_angstrom[0]) * uniform[..., 0]
    direction = 2 * np.pi * uniform[..., 1]
    return distance[..., None] * np.stack([np.cos(direction), np.sin(direction)], axis=-1)
