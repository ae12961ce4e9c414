"""Local resolution against maps of which it is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cryocore.explore.audit.answers import local_answer
from cryocore.explore.audit.local import MOST_WINDOWS, Windows
from cryocore.explore.audit.ruler import Measured
from cryocore.maps.fsc import fsc
from cryocore.maps.masks import soft_ball

N, PIXEL_ANGSTROM = 60, 2.0


def windows(resolution_voxels: float = 3.0, seed: int = 0) -> Windows:
    return Windows.within(soft_ball(N, 22.0, 3.0), resolution_voxels, 0.5, seed)


def halves(noise: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    signal = rng.standard_normal((N, N, N), dtype=np.float32)
    one, other = (signal + noise * rng.standard_normal((N, N, N), dtype=np.float32) for _ in range(2))
    return one.astype(np.float32), other.astype(np.float32)


def test_windows_are_of_the_region_and_the_seed() -> None:
    found = windows()
    distance = np.linalg.norm(found.centres - N // 2, axis=1)
    assert 30 < len(found.centres) <= MOST_WINDOWS
    assert distance.max() <= 24.5
    assert found.radius == 9.0
    assert np.array_equal(found.centres, windows().centres)
    assert not np.array_equal(found.centres, windows(seed=3).centres)
    assert Windows.within(np.full((N,) * 3, 0.3, np.float32), 3.0, 0.5, 0).centres.shape == (1, 3)


def test_a_window_has_the_fsc_of_the_maps_cut_by_it() -> None:
    found, maps = windows(), halves(0.7)
    curves, side = found.curves(maps), found.side
    z, y, x = found.centres[5]
    reach, ball = side // 2, soft_ball(side, found.radius, 3.0)
    cut = (half[z - reach : z + reach, y - reach : y + reach, x - reach : x + reach] * ball for half in maps)
    np.testing.assert_allclose(curves[5], fsc(*cut)[: found.last_shell + 1], atol=1e-5)


def test_noise_in_one_half_of_the_box_is_found_there() -> None:
    """White signal under noise of power 1 / 9 and 4: an FSC of 0.9 and 0.2."""
    noise = np.where(np.arange(N)[:, None, None] < N // 2, 1 / 3, 2.0)
    found = windows()
    areas = found.areas(found.curves(halves(noise)))
    below, above = (areas[np.abs(found.centres[:, 0] - at) < 4] for at in (N // 4, 3 * N // 4))
    assert below.mean() == pytest.approx(0.9, abs=0.02)
    assert above.mean() == pytest.approx(0.2, abs=0.05)


def test_resolution_is_where_the_fsc_falls() -> None:
    found = windows()
    frequency = np.arange(found.last_shell + 1) / found.side
    curve = np.clip(1.0 - 2.5 * frequency, 0.0, 1.0)
    assert found.resolutions(curve[None], PIXEL_ANGSTROM)[0] == pytest.approx(2.0 / 0.2, rel=1e-6)


@pytest.mark.parametrize("gain, verdict", [(0.1, "passed"), (0.004, "undecided"), (-0.1, "failed")])
def test_a_gain_counts_beyond_what_random_lists_differ_by(gain: float, verdict: str) -> None:
    rng = np.random.default_rng(0)
    one = Measured(100, np.ones(4), 0.5, 8.0, rng.uniform(0.4, 0.6, 50), np.full(50, 8.0))
    others = [replace(one, local_areas=one.local_areas - 0.05 + rng.normal(0.0, 0.004)) for _ in range(8)]
    found = local_answer(one, replace(one, local_areas=one.local_areas + gain), others, 40.0)
    assert found.verdict == verdict
    assert "50 windows of 40 Å" in found.sentence


def test_a_short_list_that_is_the_best_of_its_size_is_not_held_against() -> None:
    rng = np.random.default_rng(0)
    one = Measured(100, np.ones(4), 0.5, 8.0, rng.uniform(0.4, 0.6, 50), np.full(50, 8.0))
    others = [replace(one, local_areas=one.local_areas - 0.2 + rng.normal(0.0, 0.004)) for _ in range(8)]
    short = local_answer(one, replace(one, local_areas=one.local_areas - 0.1), others, 40.0)
    assert short.verdict == "undecided"
    assert short.sentence.startswith("It loses by being short")
    assert local_answer(one, replace(one, local_areas=one.local_areas - 0.2), others, 40.0).verdict == "failed"
