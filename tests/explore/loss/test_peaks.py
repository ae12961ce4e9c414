"""Peaks are counted as they are, whatever their shape."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, skewnorm
from sklearn.mixture import GaussianMixture

from cryocore.explore.loss.peaks import dip, dip_p_value, find_peaks

rng = np.random.default_rng(4)
NORMAL = rng.normal(size=3000)


def test_dip_of_two_clumps_and_of_even_steps() -> None:
    assert dip(np.append(np.linspace(0, 1e-6, 500), np.linspace(1, 1 + 1e-6, 500))) == pytest.approx(0.25, abs=2e-3)
    assert dip(np.arange(400.0)) == pytest.approx(0.5 / 400)


def test_dip_reaches_its_levels_as_often_as_it_should() -> None:
    p_values = [dip_p_value(dip(np.sort(rng.random(300))), 300) for _ in range(400)]
    assert 0.02 < np.mean(np.array(p_values) <= 0.05) < 0.09
    assert 0.42 < np.mean(np.array(p_values) <= 0.5) < 0.58


@pytest.mark.parametrize(
    ("sample", "count"),
    [
        (NORMAL, 1),
        (skewnorm.rvs(8, size=3000, random_state=1), 1),
        (rng.exponential(size=3000), 1),
        (rng.standard_t(3, size=3000), 1),
        (np.append(NORMAL, rng.normal(4, 1, 1500)), 2),
        (np.append(NORMAL, rng.normal(6, 1, 250)), 2),
        (np.concatenate([NORMAL, rng.normal(5, 1, 2000), rng.normal(12, 2, 2000)]), 3),
        (NORMAL[:150], 0),
    ],
    ids=["normal", "skewed", "exponential", "heavy tails", "two", "two, one small", "three", "too few"],
)
def test_peaks_of_known_densities(sample: np.ndarray, count: int) -> None:
    assert find_peaks(sample).count == count


def test_mixture_is_that_of_scikit_learn() -> None:
    sample = np.append(NORMAL, rng.normal(3, 0.7, 2000))
    ours, theirs = (
        find_peaks(sample).two,
        GaussianMixture(2, tol=1e-8, max_iter=3000, random_state=0).fit(sample[:, None]),
    )
    order = np.argsort(theirs.means_[:, 0])
    assert np.allclose(ours.mean, theirs.means_[order, 0], atol=0.05)
    assert np.allclose(ours.sd, np.sqrt(theirs.covariances_[order, 0, 0]), atol=0.05)
    assert np.allclose(ours.share, theirs.weights_[order], atol=0.02)
    x = np.linspace(-3, 5, 50)
    shares = ours.share[:, None] * norm.pdf(x, ours.mean[:, None], ours.sd[:, None])
    assert np.allclose(ours.density(x), shares)
