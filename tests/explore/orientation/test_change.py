"""Losses in a direction: seldom found where there are none, found where they are planted."""

from __future__ import annotations

import numpy as np
import pytest

from cryocore.explore.orientation.change import ConeChange, cone_change
from cryocore.maps.cones import directional_fsc
from cryocore.maps.masks import soft_ball
from cryocore.validate.stopping import independent_samples
from tests.maps.test_cones import filtered, frequencies

BOX, KEPT = 48, 0.6
MASK = soft_ball(BOX, 16, 4)
SAMPLES = independent_samples(MASK, 1)


def change(seed: int, along_z: float = 1.0) -> ConeChange:
    """Round two keeps 60 % of the particles, drawn at random, but fewer of those that sample about z."""
    rng, (k, cosine) = np.random.default_rng(seed), frequencies(BOX)
    signal = filtered(rng.normal(size=(BOX,) * 3), np.exp(-((k / 10) ** 2)))
    before, after = [], []
    for _ in range(2):
        shared, own = 0.25 * rng.normal(size=(2, *signal.shape))
        noise = shared + np.sqrt(1 / KEPT - 1) * own
        before.append((signal + shared).astype(np.float32))
        after.append((signal + filtered(noise, np.where(cosine > 0.8, along_z, 1.0))).astype(np.float32))
    cones = [directional_fsc(*halves, MASK, 1.0) for halves in (before, after)]
    return cone_change(*cones, SAMPLES, np.sqrt(KEPT))


def test_random_subsets_lose_alike():
    changes = [change(seed) for seed in range(25)]
    assert sum(c.p_value < 0.05 for c in changes) <= 2
    assert np.mean([c.gain for c in changes]) == pytest.approx(KEPT, abs=0.08)
    worst = [c.after.area_ratio - c.expected_ratio for c in changes]
    assert abs(np.mean(worst)) < 0.08


def test_a_lost_direction_is_found():
    changes = [change(seed, along_z=3.0) for seed in range(3)]
    for found in changes:
        assert found.p_value < 0.05
        assert found.after.area_ratio < found.expected_ratio - 0.1
        assert abs(found.before.direction[found.most_lost, 2]) > 0.7
