"""Functions of the pose, and tests of dependence on it, beside their definitions and known laws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import sph_harm_y
from scipy.stats import binomtest, false_discovery_control

from cryocore.errors import InputError
from cryocore.explore.loss.columns import LossColumns
from cryocore.explore.loss.dependence import permutation_tests, pose_functions
from cryocore.explore.loss.direction import direction, holm
from cryocore.explore.loss.harmonics import KERNEL_SHARPNESS, in_plane_functions, kernel_weights, view_functions
from cryocore.geometry.rotations import random_rotations, rotations_by_angle
from cryocore.geometry.symmetry import point_group
from tests.explore.loss.laws import law

POSES = random_rotations(4000, np.random.default_rng(0))


@pytest.mark.parametrize(("symmetry", "n_views"), [("C1", 24), ("C4", 6), ("D7", 2), ("O", 1)])
def test_functions_are_those_that_the_point_group_leaves_as_they_are(symmetry: str, n_views: int) -> None:
    view, _ = view_functions(POSES[:, 2], 4, symmetry)
    turned, _ = in_plane_functions(POSES, 4, symmetry)
    assert view.shape[1] == n_views
    for operator in point_group(symmetry)[1:4]:
        assert np.allclose(view_functions(POSES[:, 2] @ operator, 4, symmetry)[0], view, atol=1e-5)
        assert np.allclose(in_plane_functions(POSES @ operator, 4, symmetry)[0], turned, atol=1e-5)
    every = np.concatenate([view, turned], axis=1)
    assert np.allclose(every.T @ every / len(POSES), np.eye(every.shape[1]), atol=0.12)


def test_view_functions_are_spherical_harmonics() -> None:
    view, degrees = view_functions(POSES[:, 2], 3)
    x, y, z = POSES[:, 2].T
    for ell in (1, 2, 3):
        ours = view[:, degrees == ell]
        theirs = [sph_harm_y(ell, m, np.arccos(z), np.arctan2(y, x)) for m in range(ell + 1)]
        wanted = np.stack([part for t in theirs for part in (t.real, t.imag)], axis=1)
        left = wanted - ours @ np.linalg.lstsq(ours, wanted, rcond=None)[0]
        assert np.abs(left).max() < 1e-5


def test_functions_of_the_first_degree_are_the_rotation_matrix() -> None:
    turned, _ = in_plane_functions(POSES, 1)
    wanted = POSES[:, :2].reshape(-1, 6)
    assert np.abs(wanted - turned @ np.linalg.lstsq(turned, wanted, rcond=None)[0]).max() < 1e-5


def test_in_plane_functions_vanish_in_the_mean_over_turns() -> None:
    turns = rotations_by_angle(np.tile([0.0, 0.0, 1.0], (12, 1)), np.arange(12) * 30.0)
    values = in_plane_functions((turns[:, None] @ POSES[None, :50]).reshape(-1, 3, 3), 4)[0]
    assert np.abs(values.reshape(12, 50, -1).mean(axis=0)).max() < 1e-5


@pytest.mark.parametrize("symmetry", ["C1", "D7"])
def test_statistic_is_hsic_with_the_mean_kernel_over_symmetry_equivalents(symmetry: str) -> None:
    poses = POSES[:400]
    loss = np.random.default_rng(1).normal(size=400)
    views = poses[:, 2]
    kernel = np.mean(
        [np.exp(KERNEL_SHARPNESS * (views @ (views @ operator).T - 1)) for operator in point_group(symmetry)], axis=0
    )
    standard = (loss - loss.mean()) / loss.std()
    functions, degrees = view_functions(views, 16, symmetry)
    weights = kernel_weights(16)
    assert np.allclose((functions * weights[degrees]) @ functions.T + weights[0], kernel, atol=1e-5)
    ours = permutation_tests(pose_functions(poses, symmetry), loss, permutations=9).statistic[0]
    assert ours == pytest.approx(standard @ kernel @ standard / 400, rel=0.15)  # degrees that 400 particles allow


def test_rejects_as_often_as_it_says_without_dependence() -> None:
    functions, random = pose_functions(POSES[:300]), np.random.default_rng(2)
    p_values = [
        permutation_tests(functions, random.normal(size=300), permutations=99, seed=i).p_values for i in range(300)
    ]
    for rejected in np.count_nonzero(np.array(p_values) <= 0.05, axis=0):
        assert binomtest(int(rejected), 300, 0.05).pvalue > 1e-3


def test_a_mirrored_view_is_another_view() -> None:
    poses = POSES[:1000]
    loss = np.sign(poses[:, 2, 2]) + np.random.default_rng(3).normal(size=1000)
    result = direction(LossColumns("z", loss, np.arange(1000, dtype=np.uint64), poses), permutations=99)
    assert {"mean", "narrow"} <= set(result.questions[0].found)
    assert result.questions[0].effect["mean"].low > 0.3


@pytest.mark.parametrize(("planted", "name"), [("in_plane", "in_plane"), ("spread", "shape")])
def test_finds_what_is_planted(planted: str, name: str) -> None:
    poses = POSES[:1000]
    noise = np.random.default_rng(4).normal(size=1000)
    loss = noise + 0.5 * poses[:, 0, 1] if planted == "in_plane" else noise * np.exp(0.5 * poses[:, 2, 0])
    columns = LossColumns("z", loss, np.arange(1000, dtype=np.uint64), poses)
    assert direction(columns, permutations=199).questions[0].found == (name,)


def test_dependence_through_projection_energy_is_distinguished() -> None:
    columns = law(1500, incorrect=0.3, contrast=0.4, preference=6, strength=8, symmetry="C4", seed=2)
    plain, energy, both = direction(columns, permutations=99).questions
    assert {"mean", "narrow", "shape"} <= set(plain.found)
    assert energy.found == both.found == ()


def test_same_seed_same_result_in_any_order_of_rows() -> None:
    columns = law(600, incorrect=0.3, symmetry="D7")
    order = np.random.default_rng(5).permutation(600)
    first, second = (direction(c, permutations=49, seed=3) for c in (columns, columns.take(order)))
    assert first.as_dict() == second.as_dict()


def test_holm_and_refusals() -> None:
    p_values = np.array([0.01, 0.04, 0.03, 0.5])
    assert np.allclose(holm(p_values), [0.04, 0.09, 0.09, 0.5])
    assert np.all(holm(p_values) >= false_discovery_control(p_values))
    columns = law(100)
    with pytest.raises(InputError, match="no poses"):
        direction(replace(columns, rotations=None))
    with pytest.raises(InputError, match="is the same"):
        direction(replace(columns, loss=np.zeros(100)))
