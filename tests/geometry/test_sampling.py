"""Sampling compensation against distributions of views whose factor is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from cryocore.geometry.sampling import sampling_of
from cryocore.geometry.symmetry import point_group

ANYWHERE = np.eye(3)[None]


def uniform(n: int, seed: int = 0) -> np.ndarray:
    views = np.random.default_rng(seed).normal(size=(n, 3))
    return views / np.linalg.norm(views, axis=1, keepdims=True)


def great_circle(n: int) -> np.ndarray:
    angle = np.random.default_rng(1).uniform(0, 2 * np.pi, n)
    return np.stack([np.cos(angle), np.sin(angle), np.zeros(n)], axis=1)


def without_cone(half_angle_deg: float) -> float:
    """SCF of uniform views outside two cones about z, integrated over the directions of Fourier space.

    The great circle perpendicular to a direction at polar angle t has its z between -sin t and sin t.
    """
    limit, z = np.cos(np.deg2rad(half_angle_deg)), (np.arange(20000) + 0.5) / 20000
    outside = 1 - 2 / np.pi * np.arccos(np.minimum(limit / np.sqrt(1 - z**2), 1))
    return float(1 / np.mean(limit / outside))


@pytest.mark.parametrize("symmetry", ["C1", "C4", "D7", "O"])
def test_uniform_views_lose_nothing(symmetry):
    found = sampling_of(uniform(20_000), point_group(symmetry))
    assert found.factor == pytest.approx(1.0, abs=0.003)
    assert found.unsampled == 0


def test_one_great_circle():
    """8 / pi², the 0.81 of Baldwin and Lyumkis (2020)."""
    assert sampling_of(great_circle(20_000), ANYWHERE).factor == pytest.approx(8 / np.pi**2, abs=0.012)


@pytest.mark.parametrize("half_angle", [20, 45, 70])
def test_views_outside_a_cone(half_angle):
    views = uniform(200_000)
    views = views[np.abs(views[:, 2]) < np.cos(np.deg2rad(half_angle))]
    assert sampling_of(views, ANYWHERE).factor == pytest.approx(without_cone(half_angle), abs=0.003)


@pytest.mark.parametrize("half_angle", [30, 45, 60])
def test_views_within_a_cone_leave_a_cone_unsampled(half_angle):
    """Directions within 90 degrees less the half angle of the axis see no view; the kernel reaches 6 further."""
    views = uniform(200_000)
    views = views[np.abs(views[:, 2]) > np.cos(np.deg2rad(half_angle))]
    found = sampling_of(views, ANYWHERE)
    edges = [1 - np.cos(np.deg2rad(90 - half_angle - d)) for d in (6, 0)]
    assert edges[0] - 0.02 < found.unsampled < edges[1] + 0.02
    assert found.factor < 1 - found.unsampled


def test_symmetry_fills_what_one_side_leaves_out():
    """A great circle through z becomes two under C4, three under O."""
    views = great_circle(20_000)[:, [2, 0, 1]]
    factors = [sampling_of(views, point_group(name)).factor for name in ("C1", "C4", "O")]
    assert factors == sorted(factors)
    assert factors[2] > 0.9


def test_it_does_not_depend_on_which_mate_a_view_is():
    group = point_group("D7")
    rng = np.random.default_rng(3)
    views = great_circle(5000)[:, [1, 2, 0]]
    equivalents = np.einsum("nj,njk->nk", views, group[rng.integers(len(group), size=len(views))])
    assert sampling_of(equivalents, group).factor == pytest.approx(sampling_of(views, group).factor, abs=1e-6)


def test_weights_count():
    views = np.concatenate([uniform(20_000), great_circle(20_000)])
    weights = np.repeat([0.0, 0.7], 20_000)
    assert sampling_of(views, ANYWHERE, weights).factor == pytest.approx(8 / np.pi**2, abs=0.012)
