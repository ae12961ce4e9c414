"""Point groups in RELION's settings."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cryocore.errors import InputError

# Constant rotations (rotation vectors, degrees) from SciPy's setting of a group to RELION's.
_SETTINGS = {
    "T": (-76.391, -99.554, 8.478),
    "O": (0.0, 0.0, 0.0),
    "I1": (0.0, 0.0, 0.0),
    "I2": (127.279, 0.0, 127.279),
    "I3": (87.654, 0.0, 157.216),
    "I4": (157.216, 0.0, 87.654),
}


@cache
def point_group(name: str) -> NDArray[np.float64]:
    """The rotations ``(m, 3, 3)`` of a point group, identity first.

    Cn: n-fold on z. Dn: n-fold on z, 2-fold on x. T: 3-fold on z. O: 4-fold on z. I is I2.

    >>> len(point_group("D7")), len(point_group("I1"))
    (14, 60)
    """
    label = name.strip().upper()
    match = re.fullmatch(r"([CD])([1-9][0-9]*)|(T|O)|(I[1-4]?)", label)
    if match is None:
        raise InputError(f"there is no point group {name!r}", fix="Use C1, C2, ..., D1, D2, ..., T, O or I1 to I4")
    if match[1]:
        return _cyclic_or_dihedral(match[1], int(match[2]))
    setting = "I2" if label == "I" else label
    turn = Rotation.from_rotvec(_polished(setting), degrees=True)
    group = turn * Rotation.create_group(setting[0]) * turn.inv()
    return _identity_first(group.as_matrix())


def _cyclic_or_dihedral(kind: str, order: int) -> NDArray[np.float64]:
    angles = 2.0 * np.pi / order * np.arange(order)
    turns = Rotation.from_rotvec(np.outer(angles, [0.0, 0.0, 1.0])).as_matrix()
    return turns if kind == "C" else np.concatenate([turns, turns @ np.diag([1.0, -1.0, -1.0])])


def _polished(setting: str) -> NDArray[np.float64]:
    """The constant of a setting, made exact: its rounded value is moved so that the axes below hold."""
    rough = Rotation.from_rotvec(_SETTINGS[setting], degrees=True)
    axes = _EXACT_AXES.get(setting)
    if axes is None:
        return rough.as_rotvec(degrees=True)
    group = (rough * Rotation.create_group(setting[0]) * rough.inv()).as_rotvec()
    angle = np.linalg.norm(group, axis=1)
    found, wanted = [], []
    for order, axis in axes:
        target = np.array(axis) / np.linalg.norm(axis)
        candidates = group[np.isclose(angle, 2 * np.pi / order, atol=1e-6)] / (2 * np.pi / order)
        if order == 2:  # both ways along the axis are the same turn, and rounding chooses one
            candidates = np.concatenate([candidates, -candidates])
        found.append(candidates[np.argmax(candidates @ target)])
        wanted.append(target)
    fix, _ = Rotation.align_vectors(np.array(wanted), np.array(found))
    return (fix * rough).as_rotvec(degrees=True)


_GOLDEN = (1 + 5**0.5) / 2
_EXACT_AXES: dict[str, list[tuple[int, tuple[float, float, float]]]] = {
    "T": [(3, (0, 0, 1)), (2, (0, 2**0.5, 1))],
    "I2": [(2, (0, 0, 1)), (5, (1, 0, _GOLDEN))],
    "I3": [(5, (0, 0, 1)), (5, (-2, 0, 1))],
    "I4": [(5, (0, 0, 1)), (5, (2, 0, 1))],
}


def _identity_first(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    # equal angles have equal traces but for rounding, which must not decide on the order
    trace = np.round(np.trace(matrices, axis1=1, axis2=2), 9)
    order = np.argsort(-trace, kind="stable")
    matrices = matrices[order]
    matrices[0] = np.eye(3)
    return matrices
