"""The one convention, against SciPy and against RELION's own symmetry operators."""

from __future__ import annotations

import re
import shutil
import subprocess

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cryocore.conventions import euler_to_matrix
from cryocore.errors import InputError
from cryocore.geometry.poses import perturbed_poses, random_poses
from cryocore.geometry.rotations import (
    angular_distance_deg,
    matrix_to_euler,
    matrix_to_quaternion,
    quaternion_to_matrix,
    random_rotations,
    rotations_by_angle,
    viewing_direction,
)
from cryocore.geometry.symmetry import point_group
from cryocore.hashing import hashed_uniform

RNG = np.random.default_rng(0)


def test_euler_angles_agree_with_scipy_and_come_back() -> None:
    angles = np.stack([RNG.uniform(-180, 180, 200), RNG.uniform(0, 180, 200), RNG.uniform(-180, 180, 200)], axis=1)
    angles[:4, 1] = [0.0, 180.0, 0.0, 180.0]
    matrices = euler_to_matrix(*angles.T)
    np.testing.assert_allclose(matrices, Rotation.from_euler("ZYZ", angles, degrees=True).inv().as_matrix(), atol=1e-14)
    np.testing.assert_allclose(euler_to_matrix(*matrix_to_euler(matrices).T), matrices, atol=1e-9)
    a, b = np.deg2rad(angles[:, 0]), np.deg2rad(angles[:, 1])
    expected = np.stack([np.sin(b) * np.cos(a), np.sin(b) * np.sin(a), np.cos(b)], axis=1)
    np.testing.assert_allclose(viewing_direction(matrices), expected, atol=1e-14)


def test_quaternions_follow_the_stated_formula() -> None:
    rot, tilt, psi = 40.0, 70.0, -130.0
    quaternion = matrix_to_quaternion(euler_to_matrix(rot, tilt, psi)[None])[0]
    a, b, g = np.deg2rad([rot, tilt, psi])
    expected = np.array(
        [
            np.cos((g + a) / 2) * np.cos(b / 2),
            -np.sin((g - a) / 2) * np.sin(b / 2),
            -np.cos((g - a) / 2) * np.sin(b / 2),
            -np.sin((g + a) / 2) * np.cos(b / 2),
        ]
    )
    np.testing.assert_allclose(quaternion, expected * np.sign(expected[0]), atol=1e-14)
    matrices = random_rotations(100, RNG)
    quaternions = matrix_to_quaternion(matrices)
    assert np.all(quaternions[:, 0] >= 0)
    np.testing.assert_allclose(quaternion_to_matrix(quaternions), matrices, atol=1e-14)


@pytest.mark.parametrize(
    ("name", "order"),
    [("C1", 1), ("c5", 5), ("D2", 4), ("D7", 14), ("T", 12), ("O", 24), ("I1", 60), ("I2", 60), ("I3", 60), ("I4", 60)],
)
def test_point_groups_are_groups(name: str, order: int) -> None:
    group = point_group(name)
    assert group.shape == (order, 3, 3)
    np.testing.assert_array_equal(group[0], np.eye(3))
    products = np.einsum("aij,bjk->abik", group, group).reshape(-1, 9)
    distance = np.abs(products[:, None] - group.reshape(1, -1, 9)).max(axis=2)
    assert distance.min(axis=1).max() < 1e-9
    np.testing.assert_array_equal(np.bincount(distance.argmin(axis=1)), order)


def test_unknown_point_group_is_refused() -> None:
    with pytest.raises(InputError, match="no point group 'C0'"):
        point_group("C0")


@pytest.mark.parametrize("name", ["C4", "D7", "D2", "T", "O", "I", "I1", "I2", "I3", "I4"])
def test_point_groups_have_relions_axes(name: str) -> None:
    if shutil.which("relion_refine") is None:
        pytest.skip("RELION is not installed")
    out = subprocess.run(
        ["relion_refine", "--sym", name, "--print_symmetry_ops"], capture_output=True, text=True, check=False
    ).stdout
    rows = [
        [float(v) for v in line.split()] for line in out.splitlines() if re.fullmatch(r"(\s*-?[\d.e+-]+){3}\s*", line)
    ]
    theirs = np.array(rows).reshape(-1, 3, 3)
    ours = point_group(name)
    theirs = theirs[np.abs(np.linalg.det(theirs) - 1) < 1e-3]
    distance = np.abs(theirs[:, None] - ours[None]).max(axis=(2, 3)).min(axis=1)
    assert len(theirs) >= len(ours) - 1
    assert distance.max() < 1e-3


def test_angular_distance_counts_symmetry_symmetry_equivalents() -> None:
    group = point_group("D7")
    poses = random_rotations(20, RNG)
    equivalents = poses @ group[RNG.integers(len(group), size=20)]
    assert angular_distance_deg(poses, equivalents, group).max() < 1e-5
    assert angular_distance_deg(poses, equivalents).max() > 10
    turned = Rotation.from_rotvec([0, 0, 7.0], degrees=True).as_matrix() @ poses
    np.testing.assert_allclose(angular_distance_deg(turned, poses), 7.0, atol=1e-6)


NO_GROUP = point_group("C1")


def test_neighbours_are_in_range_and_depend_only_on_the_id() -> None:
    ids = RNG.integers(0, 2**63, 500).astype(np.uint64)
    poses = random_rotations(500, RNG)
    near = perturbed_poses(ids, poses, 4, (3.0, 15.0), group=NO_GROUP, seed=1)
    angles = np.stack([angular_distance_deg(near[:, k], poses) for k in range(4)])
    assert angles.min() >= 3.0 - 1e-6
    assert angles.max() <= 15.0 + 1e-6
    assert abs(angles.mean() - 9.0) < 0.3
    some = np.array([7, 3, 400])
    again = perturbed_poses(ids[some], poses[some], 4, (3.0, 15.0), group=NO_GROUP, seed=1)
    np.testing.assert_array_equal(again, near[some])
    assert not np.allclose(perturbed_poses(ids, poses, 4, (3.0, 15.0), group=NO_GROUP, seed=2), near)
    exact = perturbed_poses(ids, poses, 4, (5.0, 5.0), group=NO_GROUP, seed=1)
    np.testing.assert_allclose(angular_distance_deg(exact, poses[:, None]), 5.0, atol=1e-6)


def test_neighbours_keep_their_distance_from_symmetry_symmetry_equivalents() -> None:
    """C24 has a symmetry equivalent every 15 degrees: turns of 3 to 15 about its axis may come back to the own pose."""
    ids, poses, group = np.arange(2000, dtype=np.uint64), random_rotations(2000, RNG), point_group("C24")
    plain = perturbed_poses(ids, poses, 8, (6.0, 15.0), group=NO_GROUP, seed=0)
    aware = perturbed_poses(ids, poses, 8, (6.0, 15.0), group=group, seed=0)
    assert angular_distance_deg(plain, poses[:, None], group).min() < 4.0
    assert angular_distance_deg(aware, poses[:, None], group).min() > 6.0 - 2e-3
    assert angular_distance_deg(aware, poses[:, None]).max() < 15.0 + 1e-6
    some = np.array([1500, 3, 77])
    np.testing.assert_array_equal(
        perturbed_poses(ids[some], poses[some], 8, (6.0, 15.0), group=group, seed=0), aware[some]
    )


def test_random_poses_of_a_preferred_view_are_elsewhere() -> None:
    """Nine of ten poses lie close together, or at a symmetry equivalent; all random poses come from the others while
    there are some."""
    group, n = point_group("D7"), 4000
    close = rotations_by_angle(RNG.normal(size=(n, 3)), RNG.uniform(0, 6, n)) @ group[RNG.integers(14, size=n)]
    poses = np.where((RNG.random(n) < 0.9)[:, None, None], close, random_rotations(n, RNG))
    ids, stored = RNG.integers(0, 2**63, n).astype(np.uint64), matrix_to_quaternion(poses)

    def found(rows: np.ndarray, apart_deg: float, among: np.ndarray = stored) -> np.ndarray:
        return random_poses(ids[rows], poses[rows], 8, among, apart_deg=apart_deg, group=group, seed=0)

    everyone = np.arange(n)
    plain, aware = (found(everyone, a) for a in (0.0, 15.0))
    assert np.mean(angular_distance_deg(plain, poses[:, None], group) < 15.0) > 0.7
    assert np.mean(angular_distance_deg(aware, poses[:, None], group) < 15.0 - 2e-3) < 0.25
    from_data = angular_distance_deg(aware.reshape(-1, 3, 3)[:50, None], poses).min(axis=1)
    assert from_data.max() < 1e-5
    some = np.array([9, 3999, 20])
    np.testing.assert_array_equal(found(some, 15.0), aware[some])
    # where all particles look alike there is nothing else to draw
    same = found(everyone[:5], 15.0, stored[np.flatnonzero(angular_distance_deg(poses, poses[[0]], group) < 3)])
    assert same.shape == (5, 8, 3, 3)


def test_hashed_numbers_are_uniform_and_independent() -> None:
    ids = np.arange(20000, dtype=np.uint64)
    values = hashed_uniform(ids, 3, seed=0, stream=1)
    assert values.min() >= 0.0
    assert values.max() < 1.0
    counts = np.histogram(values[:, 0], bins=20, range=(0, 1))[0]
    assert ((counts - 1000.0) ** 2 / 1000.0).sum() < 43.8  # chi squared, 19 degrees of freedom, p = 0.001
    assert np.abs(np.corrcoef(values.T) - np.eye(3)).max() < 0.03
    np.testing.assert_array_equal(hashed_uniform(ids, 2, seed=0, stream=1, first=1), values[:, 1:])
