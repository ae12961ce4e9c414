"""The stop rule: its standard deviations by Monte Carlo, and the round that it picks."""

from __future__ import annotations

import numpy as np
import pytest

from cryocore.maps.fsc import fsc, resolution_at
from cryocore.statistics import effective_number
from cryocore.validate.stopping import (
    Samples,
    difference_sd,
    fsc_variance,
    independent_samples,
    noise_overlap,
    recommended_round,
    resolution_range,
)

N = 32


def ball(n: int = N) -> np.ndarray:
    grid = np.indices((n, n, n)) - n // 2
    radius = np.sqrt((grid**2).sum(axis=0))
    return np.clip((11.5 - radius) / 3.0, 0.0, 1.0).astype(np.float32)


def curve_pair(rng: np.random.Generator, mask: np.ndarray, signal: np.ndarray, n_all: float, n_kept: float):
    """FSCs of maps of ``n_all`` particles and of ``n_kept`` of them."""
    pairs = []
    for _ in range(2):
        kept = rng.normal(size=(N, N, N)) * np.sqrt(n_kept)
        rest = rng.normal(size=(N, N, N)) * np.sqrt(n_all - n_kept)
        pairs.append(((signal + (kept + rest) / n_all) * mask, (signal + kept / n_kept) * mask))
    return [fsc(pairs[0][i], pairs[1][i]) for i in range(2)]


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_standard_deviation_of_a_difference(share: float) -> None:
    rng, mask = np.random.default_rng(0), ball()
    signal = 0.03 * rng.normal(size=mask.shape)
    curves = np.array([curve_pair(rng, mask, signal, 1000.0, 1000.0 * share) for _ in range(80)])
    found = (curves[:, 1] - curves[:, 0]).std(axis=0)
    mean = curves.mean(axis=0)
    weights = np.arange(1000) < 1000 * share
    overlap = noise_overlap(np.ones(1000, np.float32), weights.astype(np.float32))
    samples = independent_samples(mask, 1)
    expected = difference_sd(mean[0], mean[1], overlap, samples.per_shell)
    ratio = found[4:] / expected[4:]
    assert 0.85 < np.median(ratio) < 1.15
    of_area = np.sqrt(samples.shells_coupled * np.mean(expected[4:] ** 2) / len(expected[4:]))
    assert 0.75 < (curves[:, 1] - curves[:, 0])[:, 4:].mean(axis=1).std() / of_area < 1.25
    assert 0.3 < mean[0, 8] < 0.95


def test_the_smallest_of_equals_and_not_the_worse() -> None:
    shells = np.arange(17)
    samples = Samples(np.maximum(4 * np.pi * shells**2, 1.0), 1.0)
    fine = 1.0 / (1.0 + np.exp((shells - 10.0) / 1.5))
    worse = 1.0 / (1.0 + np.exp((shells - 8.0) / 1.5))
    stop = recommended_round([fine - 1e-4, fine, fine - 2e-4, worse], [1000, 900, 800, 500], lambda a, b: 0.9, samples)
    assert (stop.best, stop.recommended) == (1, 2)
    assert [c.is_lower for c in stop.comparisons] == [False, False, False, True]
    assert stop.comparisons[3].area < 0 < stop.comparisons[3].area_sd


def test_what_is_certain_and_negligible_counts_for_nothing() -> None:
    fine = 1.0 / (1.0 + np.exp((np.arange(17) - 10.0) / 1.5))
    stop = recommended_round(
        [fine, fine - 5e-4, fine - 2e-3], [9, 9, 9], lambda a, b: 1.0, Samples(np.full(17, 1e6), 1.0)
    )
    assert stop.recommended == 1
    assert [c.is_lower for c in stop.comparisons] == [False, False, True]


def test_one_bad_shell_is_enough() -> None:
    shells = np.arange(17)
    samples = Samples(np.full(17, 2000.0), 1.0)
    fine = 1.0 / (1.0 + np.exp((shells - 10.0) / 1.5))
    dented = fine + 0.004
    dented[6] -= 0.2
    stop = recommended_round([fine + 0.005, dented], [1000, 500], lambda a, b: 0.7, samples)
    assert stop.recommended == 0
    assert stop.comparisons[1].worst_sd < -3


def test_symmetry_and_mask_leave_fewer_samples() -> None:
    everything = independent_samples(np.ones((N, N, N), np.float32), 1).per_shell
    assert everything[10] == pytest.approx(4 * np.pi * 100)
    masked = independent_samples(ball(), 1).per_shell
    assert masked[10] < 0.5 * everything[10]
    assert independent_samples(ball(), 14).per_shell[10] == pytest.approx(masked[10] / 14)


def test_weights() -> None:
    weights = np.array([1, 1, 0, 0], np.float32)
    assert effective_number(weights) == 2
    assert effective_number(np.array([1, 0.5, 0.5, 0], np.float32)) == pytest.approx(4 / 1.5)
    assert effective_number(np.zeros(3, np.float32)) == 0
    assert noise_overlap(weights, np.ones(4, np.float32)) == pytest.approx(np.sqrt(0.5))
    assert noise_overlap(weights, weights[::-1].copy()) == 0


def test_the_range_of_a_resolution_is_wide_where_the_fsc_runs_flat() -> None:
    """Noisy copies of a curve read a resolution within the range as often as a standard deviation promises."""
    shells, rng = np.arange(41), np.random.default_rng(0)
    with np.errstate(divide="ignore"):
        resolution = 200.0 / shells
    samples = Samples(np.full(41, 800.0), 1.0)
    steep = np.clip(0.9 - 0.12 * np.maximum(shells - 20, 0), 0.0, 1.0)
    flat = np.where(shells < 22, 0.6, np.where(shells < 36, 0.17, 0.0))
    for curve, widest in ((steep, 1.04), (flat, 1.8)):
        low, high = resolution_range(curve, resolution, samples)
        assert high < low < widest * high
        noisy = curve + rng.normal(size=(400, 41)) * np.sqrt(fsc_variance(curve, samples.per_shell).sum(axis=0))
        found = np.array([resolution_at(c, resolution) for c in noisy])
        assert np.mean((found <= low) & (found >= high)) > 0.6
    assert low > 1.5 * high
