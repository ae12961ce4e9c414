"""Directional FSC of maps whose noise is the same in all directions, and of maps whose noise is not."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft

from cryocore.geometry.symmetry import point_group
from cryocore.maps.cones import cone_axes, directional_fsc
from cryocore.maps.fsc import fsc
from cryocore.maps.masks import soft_ball

BOX = 64


def frequencies(box: int) -> tuple[np.ndarray, np.ndarray]:
    """|k| and the cosine of its angle with z, over a half transform."""
    along = np.fft.fftfreq(box, 1 / box)
    k = np.sqrt(along[:, None, None] ** 2 + along[:, None] ** 2 + np.arange(box // 2 + 1) ** 2)
    return k, np.abs(along[:, None, None]) / np.maximum(k, 1)


def filtered(values: np.ndarray, factor: np.ndarray) -> np.ndarray:
    return scipy.fft.irfftn(scipy.fft.rfftn(values) * factor, s=values.shape)


def half_maps(seed: int, along_z: float = 1.0, noise: float = 0.2) -> list[np.ndarray]:
    """The same signal with independent noise, ``along_z`` times as strong within 35 degrees of z."""
    rng, (k, cosine) = np.random.default_rng(seed), frequencies(BOX)
    signal = filtered(rng.normal(size=(BOX,) * 3), np.exp(-((k / 12) ** 2)))
    factor = np.where(cosine > np.cos(np.deg2rad(35)), along_z, 1.0)
    return [(signal + noise * filtered(rng.normal(size=signal.shape), factor)).astype(np.float32) for _ in range(2)]


@pytest.fixture(scope="module")
def mask() -> np.ndarray:
    return soft_ball(BOX, 20, 4)


def test_cones_of_90_degrees_would_be_the_fsc(mask):
    first, second = half_maps(0)
    expected = fsc(first * mask, second * mask)
    assert directional_fsc(first, second, mask, 1.0).overall[1:] == pytest.approx(expected[1:32], abs=1e-5)


def test_an_isotropic_map_is_flat(mask):
    ratios, areas = [], []
    for seed in range(6):
        found = directional_fsc(*half_maps(seed), mask, 1.0)
        ratios.append(found.area_ratio)
        areas.append(found.areas)
    assert np.mean(ratios) > 0.75
    means = np.mean(areas, axis=0)
    assert np.ptp(means) < 0.1 * means.mean()


def test_noise_alone_correlates_nowhere(mask):
    rng = np.random.default_rng(5)
    first, second = rng.normal(size=(2, BOX, BOX, BOX)).astype(np.float32)
    # over twelve seeds the largest is 0.12 ± 0.014
    assert np.abs(directional_fsc(first, second, mask, 1.0).areas).max() < 0.2


def test_the_bad_direction_is_found(mask):
    found = directional_fsc(*half_maps(1, along_z=6.0), mask, 1.0)
    assert found.area_ratio < 0.5
    assert abs(found.direction[found.worst, 2]) > np.cos(np.deg2rad(35))
    across = np.abs(found.direction[:, 2]) < 0.3
    assert found.resolutions[across].mean() < 0.8 * found.resolutions[found.worst]


def test_a_symmetric_map_has_equal_cones_at_its_symmetry_equivalents(mask):
    """Under C4, which the cells of directions have as well; coefficients on their borders go to one side."""
    first, second = half_maps(2)
    turned = [sum(np.rot90(v[1:, 1:, 1:], i, (1, 2)) for i in range(4)) for v in (first, second)]
    padded = [np.pad(v, ((1, 0),) * 3).astype(np.float32) for v in turned]
    found = directional_fsc(*padded, mask, 1.0)
    quarter = point_group("C4")[1]
    partner = np.argmax(np.abs(found.direction @ (found.direction @ quarter.T).T), axis=0)
    differences = np.abs(found.areas[partner] - found.areas)
    assert np.median(differences) < 1e-5
    assert np.quantile(differences, 0.9) < 0.02 < 0.2 * np.ptp(found.areas)


def test_shells_beyond_the_last_are_left_out(mask):
    whole = directional_fsc(*half_maps(0), mask, 2.0)
    for last, shells in ((20, 21), (25, 26), (40, 32)):
        found = directional_fsc(*half_maps(0), mask, 2.0, last=last)
        assert found.curves.shape == (len(found.direction), shells)
        np.testing.assert_array_equal(found.curves, whole.curves[:, :shells])
        assert found.resolution_angstrom[20] == pytest.approx(64 * 2.0 / 20)


@pytest.mark.parametrize(("angle_deg", "expected"), [(14.1, 0.5), (20.0, 0.9)])
def test_a_cone_counts_what_is_within_20_degrees(angle_deg, expected):
    """Maps that agree within an angle of a direction and are noise elsewhere.

    Within 14.1 degrees lies half a cone; at 20 degrees cells of 7 degrees are cut. In cones of 30 degrees a quarter and
    half would agree.
    """
    axis = cone_axes()[3]
    along = np.fft.fftfreq(BOX, 1 / BOX)
    k, _ = frequencies(BOX)
    cosine = np.abs(axis[2] * along[:, None, None] + axis[1] * along[:, None] + axis[0] * np.arange(BOX // 2 + 1))
    inside = cosine > np.cos(np.deg2rad(angle_deg)) * np.maximum(k, 1)
    common, *others = np.random.default_rng(0).normal(size=(3, BOX, BOX, BOX))
    halves = [(filtered(common, inside) + filtered(v, ~inside)).astype(np.float32) for v in others]
    found = directional_fsc(*halves, np.ones((BOX,) * 3, dtype=np.float32), 1.0).curves[3, 10:]
    assert found.mean() == pytest.approx(expected, abs=0.15)


def test_every_direction_is_well_within_a_cone():
    directions = np.random.default_rng(0).normal(size=(20_000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    nearest = np.rad2deg(np.arccos(np.abs(directions @ cone_axes().T).max(axis=1)))
    # 11 degrees; with axes of the next coarser grid 23, so that some directions would be in no cone
    assert nearest.max() < 14
