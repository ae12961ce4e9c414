"""Rotations as matrices (see conventions) and as the quaternions that tables store."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation

from cryocore.types import Floats


def matrix_to_quaternion(matrices: ArrayLike) -> Floats:
    """Quaternions ``(n, 4)`` as (w, x, y, z), w >= 0, of object-to-image matrices ``(n, 3, 3)``.

    >>> quarter_turn = rotations_by_angle([[0, 0, 1]], [90])
    >>> matrix_to_quaternion(quarter_turn).round(4).tolist()
    [[0.7071, 0.0, 0.0, 0.7071]]
    """
    return Rotation.from_matrix(np.asarray(matrices, dtype=np.float64)).as_quat(canonical=True, scalar_first=True)


def quaternion_to_matrix(quaternions: ArrayLike) -> Floats:
    """Object-to-image matrices ``(n, 3, 3)`` of quaternions ``(n, 4)`` as (w, x, y, z).

    >>> quaternion_to_matrix([[0, 0, 0, 1]])[0].tolist()
    [[-1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    return Rotation.from_quat(np.asarray(quaternions, dtype=np.float64), scalar_first=True).as_matrix()


def matrix_to_euler(matrices: ArrayLike) -> Floats:
    """RELION's (rot, tilt, psi) in degrees, ``(n, 3)``; tilt in [0, 180], rot = 0 at the poles.

    >>> from cryocore.conventions import euler_to_matrix
    >>> matrix_to_euler(euler_to_matrix([30.0], [90.0], [-20.0])).round(6).tolist()
    [[30.0, 90.0, -20.0]]
    """
    m = np.asarray(matrices, dtype=np.float64)
    sine = np.hypot(m[:, 2, 0], m[:, 2, 1])
    polar = sine < 1e-9
    tilt = np.arctan2(sine, m[:, 2, 2])
    rot = np.where(polar, 0.0, np.arctan2(m[:, 2, 1], m[:, 2, 0]))
    psi = np.where(polar, np.arctan2(m[:, 0, 1], m[:, 1, 1]), np.arctan2(m[:, 1, 2], -m[:, 0, 2]))
    return np.rad2deg(np.stack([rot, tilt, psi], axis=1))


def viewing_direction(matrices: ArrayLike) -> Floats:
    """Unit vectors ``(n, 3)`` along which the object is seen, in its own frame.

    >>> from cryocore.conventions import euler_to_matrix
    >>> viewing_direction(euler_to_matrix([30.0], [90.0], [0.0])).round(3).tolist()
    [[0.866, 0.5, 0.0]]
    """
    return np.asarray(matrices, dtype=np.float64)[:, 2, :]


def random_rotations(n: int, rng: np.random.Generator) -> Floats:
    """``n`` rotation matrices, uniform on SO(3): those of quaternions in a random direction (Shoemake 1992)."""
    return quaternion_to_matrix(rng.normal(size=(n, 4))[:, [3, 0, 1, 2]]) if n else np.zeros((0, 3, 3))


def rotations_by_angle(axes: ArrayLike, angles_deg: ArrayLike) -> Floats:
    """Rotation matrices ``(n, 3, 3)`` about ``axes`` ``(n, 3)``, any length, by ``angles_deg``.

    >>> (rotations_by_angle([[0, 0, 2]], [90]) @ [1, 0, 0]).round(6).tolist()
    [[0.0, 1.0, 0.0]]
    """
    axes = np.asarray(axes, dtype=np.float64)
    unit = axes / np.linalg.norm(axes, axis=1, keepdims=True)
    return Rotation.from_rotvec(unit * np.deg2rad(np.asarray(angles_deg, dtype=np.float64))[:, None]).as_matrix()


def angular_distance_deg(first: ArrayLike, second: ArrayLike, group: ArrayLike | None = None) -> Floats:
    """Smallest rotation angle (degrees) between poses ``(..., 3, 3)``, over the symmetry equivalents of ``group`` if
    given.

    >>> from cryocore.geometry.symmetry import point_group
    >>> own, turned = np.eye(3), rotations_by_angle([[0, 0, 1]], [100])[0]
    >>> [float(angular_distance_deg(own, turned, point_group(name)).round(6)) for name in ("C1", "C4")]
    [100.0, 10.0]
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    equivalents = np.eye(3)[None] if group is None else np.asarray(group, dtype=np.float64)
    # the trace of A g B.T is the sum of all elements of (A.T B) * g
    between = np.swapaxes(a, -1, -2) @ b
    trace = np.max(between.reshape(*between.shape[:-2], 9) @ equivalents.reshape(-1, 9).T, axis=-1)
    return np.asarray(np.rad2deg(np.arccos(np.clip((trace - 1.0) / 2.0, -1.0, 1.0))))
