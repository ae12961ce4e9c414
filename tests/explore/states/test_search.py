"""Products of residuals with templates: noise, two states, and what is told of them."""

from __future__ import annotations

import numpy as np
import pytest

from cryocore.explore.states.measure import THRESHOLD
from cryocore.explore.states.search import Mixture, excess, gains, held_out_excess


def drawn(share: float, amplitude: float, n: int = 6000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Products with a template, their variances, and who is in the second state."""
    rng = np.random.default_rng(3)
    g = rng.uniform(2.0, 6.0, n)
    second = rng.random(n) < share
    z = np.where(second, 1.0 - share, -share)
    return z * amplitude * g + np.sqrt(g) * rng.normal(size=n), g, second


@pytest.mark.parametrize(("share", "amplitude"), [(0.1, 1.0), (0.3, 0.7), (0.1, -1.0)])
def test_two_states_are_taken_apart(share: float, amplitude: float) -> None:
    y, g, second = drawn(share, amplitude)
    found = Mixture.of(y, g, np.ones(len(y)))
    assert abs(found.share / share - 1) < 0.51 and abs(found.amplitude / amplitude - 1) < 0.31
    odds = found.log_odds(y, g)
    # log odds are what they say: of particles at even odds half are in the second state
    even = np.abs(odds) < 1.0
    assert even.sum() > 100 and abs(second[even].mean() - 0.5) < 0.15
    assert odds[second].mean() > odds[~second].mean() + 1.0


def noise(rng: np.random.Generator, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Products of 2,000 particles with k templates, and their variances."""
    g = rng.uniform(1.0, 4.0, (2000, k)).astype(np.float32)
    return (np.sqrt(g) * rng.normal(size=g.shape)).astype(np.float32), g


def test_noise_exceeds_itself_by_no_more_than_chance() -> None:
    y, g = noise(np.random.default_rng(0), 400)
    found = excess(y, g, np.ones(2000))
    assert abs(found.mean()) < 0.2 and abs(found.std() - 1) < 0.1
    assert found.max() < 4.0
    weight = np.zeros(2000)
    weight[:500] = 1.0
    np.testing.assert_allclose(excess(y, g, weight), excess(y[:500], g[:500], np.ones(500)), atol=0.01)


@pytest.mark.parametrize("size", [0.1, 1.0, 10.0])
def test_noise_gains_nothing_at_any_variance(size: float) -> None:
    rng = np.random.default_rng(1)
    g = np.full((200_000, 1), size, dtype=np.float32)
    found = gains((np.sqrt(g) * rng.normal(size=g.shape)).astype(np.float32), g, np.ones(len(g)))
    assert abs(found.mean()) < 4.0 * found.std() / np.sqrt(len(g))


def test_a_few_on_one_side_exceed_noise_by_more_than_the_variance_does() -> None:
    y, g, _ = drawn(0.1, 1.0)
    more = y**2 - g
    of_variance = more.sum() / np.sqrt(np.sum(more**2))
    found = excess(y[:, None].astype(np.float32), g[:, None].astype(np.float32), np.ones(len(y)))[0]
    other = excess(-y[:, None].astype(np.float32), g[:, None].astype(np.float32), np.ones(len(y)))[0]
    assert found > of_variance + 0.5 and of_variance > 8.0 and other > 4.0


def test_what_is_held_out_is_free_of_the_choice() -> None:
    """Among many templates one always stands out; on other particles it does not, unless there is a second state."""
    rng = np.random.default_rng(7)
    ids = rng.integers(1, 2**62, 2000).astype(np.uint64)
    found, most = [], []
    for _ in range(30):
        y, g = noise(rng, 100)
        most.append(excess(y, g, np.ones(2000)).max())
        found.append(held_out_excess(y, g, np.ones(2000), ids, 0))
    assert np.mean(most) > 2.0 and -0.6 < np.mean(found) < 0.2 and np.std(found) < 1.2
    assert np.sum(np.array(found) > THRESHOLD) <= 2
    planted = drawn(0.1, 1.0, 2000)
    y[:, 40], g[:, 40] = planted[0], planted[1]
    expected = excess(y, g, np.ones(2000))[40] / np.sqrt(2.0)
    assert abs(held_out_excess(y, g, np.ones(2000), ids, 0) - expected) < 1.0 and expected > 4.0


def test_templates_that_share_a_difference_are_tried_together() -> None:
    """Each has too little of it; which of them stands out most is chance, all of them are not."""
    rng = np.random.default_rng(2)
    ids = rng.integers(1, 2**62, 2000).astype(np.uint64)
    y, g = noise(rng, 100)
    z = np.where(rng.random(2000) < 0.1, 0.9, -0.1)[:, None]
    y[:, :8] += 0.7 * z * g[:, :8]
    alone = [
        held_out_excess(y[:, [i, *range(8, 100)]], g[:, [i, *range(8, 100)]], np.ones(2000), ids, 0) for i in range(8)
    ]
    assert held_out_excess(y, g, np.ones(2000), ids, 0) > max(np.median(alone) + 1.0, THRESHOLD)
