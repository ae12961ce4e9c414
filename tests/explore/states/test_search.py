"""Products of residuals with templates: noise, two states, and what is told of them."""

from __future__ import annotations

import numpy as np
import pytest

from cryocore.explore.states.search import Mixture, excess, held_out_excess


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


def test_noise_exceeds_itself_by_no_more_than_chance() -> None:
    rng = np.random.default_rng(0)
    g = rng.uniform(1.0, 4.0, (2000, 400))
    y = np.sqrt(g) * rng.normal(size=g.shape)
    found = excess(y, g, np.ones(2000))
    assert abs(found.mean()) < 0.2 and abs(found.std() - 1) < 0.1
    assert found.max() < 4.0
    weight = np.zeros(2000)
    weight[:500] = 1.0
    np.testing.assert_allclose(excess(y, g, weight), excess(y[:500], g[:500], np.ones(500)))


def test_a_second_state_exceeds_noise_as_its_variance_says() -> None:
    y, g, _ = drawn(0.1, 1.0)
    z = np.where(np.random.default_rng(4).random(10**6) < 0.1, 0.9, -0.1)
    power = np.random.default_rng(5).uniform(2.0, 6.0, 10**6)
    more = (z * power + np.sqrt(power) * np.random.default_rng(6).normal(size=10**6)) ** 2 - power
    expected = np.sqrt(len(y)) * more.mean() / np.sqrt(np.mean(more**2))
    found = excess(y[:, None], g[:, None], np.ones(len(y)))[0]
    assert abs(found - expected) < 4.0 and expected > 8.0


def test_what_is_held_out_is_free_of_the_choice() -> None:
    """Among many templates one always stands out; on other particles it does not, unless there is a second state."""
    rng = np.random.default_rng(7)
    ids = rng.integers(1, 2**62, 2000).astype(np.uint64)
    found, most = [], []
    for _ in range(12):
        g = rng.uniform(1.0, 4.0, (2000, 100))
        y = np.sqrt(g) * rng.normal(size=g.shape)
        most.append(excess(y, g, np.ones(2000)).max())
        found.append(held_out_excess(y, g, np.ones(2000), ids, 0))
    assert np.mean(most) > 2.0 and max(found) < 2.33 and np.mean(found) < 0.5
    planted = drawn(0.1, 1.0, 2000)
    y[:, 40], g[:, 40] = planted[0], planted[1]
    expected = excess(y, g, np.ones(2000))[40]
    assert abs(held_out_excess(y, g, np.ones(2000), ids, 0) - expected) < 1.0 and expected > 4.0
