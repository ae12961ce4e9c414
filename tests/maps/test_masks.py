"""Masks: their shape, and that the automatic one finds the molecule in noise."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import erf

from cryocore.maps import automatic_mask, soft_ball


@pytest.mark.parametrize("n", [16, 17])
def test_soft_ball(n):
    ball = soft_ball(n, 4, 2)
    c = n // 2
    assert ball.dtype == np.float32 and ball.shape == (n, n, n)
    assert ball[c, c, c] == 1 and ball[c, c, c + 4] == 1 and ball[c + 6, c, c] == 0
    assert ball[c, c + 5, c] == pytest.approx(0.5, abs=1e-6)
    assert ball[c, c, c - 5] == ball[c, c, c + 5]


def molecule(n, radius=0.22):
    """An off-centre body with a hole in it, and far from it a small speck; density 1 inside."""
    z, y, x = np.indices((n, n, n)) - n // 2
    r = radius * n
    body = ((x - 2) ** 2 + y**2 + (z / 1.3) ** 2 <= r**2) & ~(x**2 + y**2 + z**2 <= (r / 4) ** 2)
    speck = (x + 0.38 * n) ** 2 + y**2 + z**2 <= 2.0**2
    return body, speck


@pytest.mark.parametrize("noise", [0.0, 1.0, 3.0])
def test_covers_the_molecule_and_little_else(noise):
    body, speck = molecule(64)
    rng = np.random.default_rng(0)
    mask = automatic_mask(body + speck + noise * rng.normal(size=body.shape), 3.0)
    assert mask.min() == 0.0 and mask.max() == 1.0 and mask.dtype == np.float32
    assert np.mean(mask[body] > 0.9) > 0.995
    assert mask[32, 32, 32] == 1.0, "holes are filled"
    assert mask[speck].max() < 0.1, "specks are not part of it"
    assert body.sum() < mask.sum() < 3.5 * body.sum()


def test_edge_is_soft():
    body, _ = molecule(64)
    mask = automatic_mask(body.astype(float), 3.0)
    steps = [abs(np.diff(mask, axis=axis)).max() for axis in range(3)]
    assert max(steps) < 0.35
    assert mask[0].max() == 0.0


def test_scale_does_not_matter():
    body, _ = molecule(48)
    noisy = body + np.random.default_rng(1).normal(size=body.shape)
    np.testing.assert_allclose(automatic_mask(noisy, 2.0), automatic_mask(1e4 * noisy + 7.0, 2.0), atol=1e-3)


def smooth_ball(r, radius, sd):
    """Density at ``r`` of a ball of density 1 blurred by a Gaussian."""
    low, high = (radius - r) / sd, (radius + r) / sd
    bell = np.exp(-0.5 * low**2) - np.exp(-0.5 * high**2)
    return 0.5 * (erf(high / np.sqrt(2)) + erf(low / np.sqrt(2))) - sd / (r * np.sqrt(2 * np.pi)) * bell


@pytest.mark.parametrize(
    ("n", "pixel_size", "radius", "shells", "growth"),
    [(72, 1.0, 12, 4.8, 6.0), (48, 5.0, 11, 12, 2.0), (144, 4.0, 35, 12, 3.0)],
    ids=["6 Å", "2 pixels", "a quarter of the low-pass"],
)
def test_grows_by_the_largest_of_three_lengths(n, pixel_size, radius, shells, growth):
    """Around a ball the mask is a ball, larger by the blur at a quarter of the density and by the growth.

    The other two lengths are 0.8 voxels or more below the one that decides.
    """
    r = np.sqrt(sum((np.indices((n, n, n)) - n // 2) ** 2))
    mask = automatic_mask((r <= radius).astype(float), pixel_size)
    sd = n / (shells * np.pi * np.sqrt(2))  # exp(-(s / shells)²) is the transform of this Gaussian
    top = smooth_ball(1e-6, radius, sd)
    cut = brentq(lambda x: smooth_ball(x, radius, sd) - 0.25 * top, 0.5 * radius, 2 * radius)
    edge = min(6, n / 8)
    full, reached = (np.cbrt(np.sum(kept) * 3 / (4 * np.pi)) for kept in (mask == 1, mask > 0))
    # distances are those of voxels, which know a surface to half of one
    assert full == pytest.approx(cut + growth, abs=0.5)
    assert reached == pytest.approx(cut + growth + edge, abs=0.5)


@pytest.mark.parametrize("volume", [np.zeros((32, 32, 32)), np.random.default_rng(0).normal(size=(32, 32, 32))])
def test_falls_back_to_a_ball(volume, caplog):
    with caplog.at_level(logging.WARNING):
        mask = automatic_mask(volume, 2.0)
    assert "soft ball" in caplog.text
    assert mask[16, 16, 16] == 1.0 and mask[16, 16, 26] == pytest.approx(soft_ball(32, 11, 4)[16, 16, 26], abs=1e-6)


def test_what_fills_more_than_0_6_of_the_ball_is_no_molecule(caplog):
    """A ball of 24 of the 31 voxels fills 0.51 at a quarter of its blurred density, one of 27 fills 0.72."""
    r = np.sqrt(sum((np.indices((64, 64, 64)) - 32) ** 2))
    automatic_mask((r <= 24).astype(float), 3.0)
    assert not caplog.records
    mask = automatic_mask((r <= 27).astype(float), 3.0)
    assert "would fill 72 % of the box's ball" in caplog.text
    np.testing.assert_array_equal(mask, soft_ball(64, 25, 6))


def test_corners_that_hold_nothing_do_not_say_how_strong_the_noise_is():
    body, _ = molecule(64)
    noisy = body + np.random.default_rng(0).normal(size=body.shape)
    ball = sum((np.indices(body.shape) - 32) ** 2) <= 32**2
    with_corners, without = (automatic_mask(v, 3.0) for v in (noisy, noisy * ball))
    # 0.03 over three seeds; 0.4 where the corners count
    assert np.abs(with_corners - without).sum() < 0.1 * body.sum()


def test_parts_of_a_tenth_and_more_belong_to_the_molecule():
    """Balls of 1, 0.2 and 0.05 of the largest one's volume."""
    at = np.indices((64, 64, 64)) - 32
    volume = np.zeros((64, 64, 64))
    for y, x, radius in ((0, -8, 12.0), (0, 17, 7.0), (17, 5, 4.4)):
        volume[at[0] ** 2 + (at[1] - y) ** 2 + (at[2] - x) ** 2 <= radius**2] = 1.0
    mask = automatic_mask(volume, 5.0)
    assert mask[32, 32, 24] == mask[32, 32, 49] == 1.0
    assert mask[32, 52, 37] == 0.0
