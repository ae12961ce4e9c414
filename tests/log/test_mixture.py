"""The mixture against logs whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cryocore.errors import InputError
from cryocore.log import mixture
from cryocore.log.mixture import MIXTURE_COLUMNS, fit, log_odds
from cryocore.log.rates import auc
from cryocore.statistics import posterior
from tests.select.logs import KINDS, permuted, planted_log

MIXED = dict.fromkeys(KINDS, 0.1)


@pytest.mark.parametrize(
    ("kind", "single"),
    [("misoriented", "zc"), ("junk", "z"), ("slightly_misoriented", "local"), ("miscentred", "shift")],
)
def test_ranks_as_well_as_the_best_score_of_each_kind(kind: str, single: str) -> None:
    log = planted_log(3000, {kind: 0.3}, strength=5.0)
    model = fit(log.columns, ids=log.columns["particle_id"])
    odds = log_odds(model, log.columns)
    assert auc(odds, log.correct) > auc(log.columns[single], log.correct) - 0.005
    assert model.error_rate == pytest.approx(0.3, abs=0.03)
    assert model.shares[model.classes.index(kind)] > 0.8 * model.error_rate


def test_ranks_mixed_errors_better_than_any_score() -> None:
    log = planted_log(3000, MIXED, strength=5.0)
    odds = log_odds(fit(log.columns, ids=log.columns["particle_id"]), log.columns)
    assert auc(odds, log.correct) > max(auc(log.columns[n], log.correct) for n in ("z", "zc", "local", "shift")) + 0.04


@pytest.mark.parametrize("rates", [{"misoriented": 0.3}, MIXED], ids=["misoriented", "mixed"])
def test_posterior_is_calibrated(rates: dict[str, float]) -> None:
    log = planted_log(8000, rates, strength=4.0, seed=1)
    likely = posterior(log_odds(fit(log.columns, ids=log.columns["particle_id"]), log.columns))
    for low, high in ((0.0, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 1.0)):
        inside = (likely >= low) & (likely <= high)
        assert log.correct[inside].mean() == pytest.approx(likely[inside].mean(), abs=0.1)


@pytest.mark.parametrize("strength", [2.0, 4.0])
def test_no_particle_is_wrong(strength: float) -> None:
    log = planted_log(2000, {}, strength=strength)
    model = fit(log.columns, ids=log.columns["particle_id"])
    assert model.error_rate < 0.03
    assert np.mean(posterior(log_odds(model, log.columns)) > 0.5) > 0.99


@pytest.mark.parametrize(("rate", "k"), [(0.5, 1.6), (0.8, 2.5)])
def test_map_diluted_by_wrong_particles(rate: float, k: float) -> None:
    log = planted_log(3000, {"misoriented": rate}, strength=3.0, k=k)
    model = fit(log.columns, ids=log.columns["particle_id"])
    # to 4 % over six seeds
    np.testing.assert_allclose(model.slopes, k, rtol=0.06)
    assert model.scale == pytest.approx(k, rel=0.06)
    assert model.error_rate == pytest.approx(rate, abs=0.04)


def test_scores_of_right_particles_may_spread_wider_than_the_noise() -> None:
    """Images differ from the model: standard deviation 1.5 instead of 1."""
    log = planted_log(3000, {"misoriented": 0.3}, strength=6.0)
    data = mixture.evidence(log.columns)
    more = np.where(log.correct, np.sqrt(1.5**2 - 1.0), 0.0)[:, None] * np.random.default_rng(0).normal(size=(3000, 2))
    data = replace(data, observed=data.observed + more)
    model = mixture.fit_evidence(data, ids=log.columns["particle_id"])
    # slightly misoriented ones take part of the tail of the second score
    np.testing.assert_allclose(np.diag(model.correct), 1.5**2, rtol=0.25)


def test_rare_errors_count_as_frequent_enough_to_rank() -> None:
    log = planted_log(1000, MIXED)
    data = mixture.evidence(log.columns)
    model = mixture.theory(data, 1.0)
    shares = [np.array([0.98, *[share] * 4]) for share in (1e-12, 1e-9, 0.003, 0.005)]
    found = [log_odds(replace(model, shares=s), log.columns) for s in shares]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_allclose(found[0], found[2], rtol=1e-12)
    np.testing.assert_allclose(found[2] - found[3], np.log(0.005 / 0.003), rtol=1e-9)


def test_scores_are_parted_into_independent_ones() -> None:
    """Correct particles: unit variance, no correlation, the expected means; slightly misoriented ones differ in the
    second score."""
    log = planted_log(6000, {"slightly_misoriented": 0.5}, strength=6.0)
    data = mixture.evidence(log.columns)
    left = data.observed - data.expected
    np.testing.assert_allclose(np.cov(left[log.correct].T), np.eye(2), atol=0.06)
    np.testing.assert_allclose(left[log.correct].mean(axis=0), 0.0, atol=0.06)
    rest, ldac = left[~log.correct].mean(axis=0)
    assert abs(rest) < 0.1 and ldac < -1.5


def test_near_poses_are_found_without_neighbours() -> None:
    log = planted_log(3000, {"slightly_misoriented": 0.3}, strength=6.0)
    columns = {n: v for n, v in log.columns.items() if n != "local"}
    model = fit(columns, ids=columns["particle_id"])
    assert model.shares[model.classes.index("slightly_misoriented")] == pytest.approx(0.3, abs=0.04)
    assert auc(log_odds(model, columns), log.correct) > auc(columns["zc"], log.correct) + 0.02


def test_covariances_are_drawn_to_the_theory_as_by_ten_particles() -> None:
    """40 correct particles and 40 misoriented ones, whose variances are exactly 2.4 and 1.6: a fifth of 50 is
    theory."""
    data = mixture.evidence(planted_log(80, {}).columns)
    kind, slopes = np.repeat([0, 1], 40), np.array([1.2, 0.8])
    signs = np.tile([[1, 1], [1, -1], [-1, 1], [-1, -1]], (20, 1))
    noise = np.sqrt(np.array([2.4, 1.6])[kind])[:, None] * signs
    expected = np.full((80, 2), 4.0)
    data = replace(data, observed=noise + np.where(kind == 0, 1.0, 0.0)[:, None] * slopes * expected, expected=expected)
    model = mixture.maximisation(data, np.eye(len(data.classes))[kind], mixture.theory(data, 1.0), 0.0)
    np.testing.assert_allclose(model.slopes, slopes, rtol=1e-12)
    np.testing.assert_allclose(model.correct, np.eye(2) * (0.8 * 2.4 + 0.2), atol=1e-12)
    np.testing.assert_allclose(model.misoriented, np.eye(2) * (0.8 * 1.6 + 0.2), atol=1e-12)


def test_same_whatever_the_order_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixture, "SUBSAMPLE", 500)
    log = planted_log(1000, MIXED)
    order = np.random.default_rng(3).permutation(1000)
    first = fit(log.columns, ids=log.columns["particle_id"])
    second = fit(permuted(log, order), ids=log.columns["particle_id"][order])
    assert first.n_fitted == second.n_fitted == 500
    assert first.shares.tolist() == second.shares.tolist()
    np.testing.assert_array_equal(log_odds(first, log.columns)[order], log_odds(second, permuted(log, order)))


@pytest.mark.parametrize(
    "missing",
    [("local",), ("shift",), ("local", "shift"), ("ldac", "expected_ldac"), ("zc", "expected_zc"), MIXTURE_COLUMNS[2:]],
)
def test_columns_may_be_missing_or_nan(missing: tuple[str, ...]) -> None:
    log = planted_log(2000, {"junk": 0.3}, strength=5.0)
    without = {n: v for n, v in log.columns.items() if n not in missing}
    unknown = {n: np.full(2000, np.nan) if n in missing else v for n, v in log.columns.items()}
    model = fit(without, ids=log.columns["particle_id"])
    assert model.error_rate == pytest.approx(0.3, abs=0.04)
    again = fit(unknown, ids=log.columns["particle_id"])
    assert again.classes == model.classes
    np.testing.assert_array_equal(log_odds(again, unknown), log_odds(model, without))


def test_particles_without_scores() -> None:
    log = planted_log(1000, {"misoriented": 0.3})
    columns = {n: np.array(v) for n, v in log.columns.items()}
    columns["zc"][:50] = np.nan
    columns["expected_z"][50:60] = 0.0
    columns["local"][60:70] = np.nan
    columns["ldac"][70:80] = np.nan
    columns["expected_zc"][80:90] = 0.0
    data = mixture.evidence(columns)
    np.testing.assert_array_equal(data.observed[70:80], np.stack([columns["zc"][70:80], np.zeros(10)], axis=1))
    odds = log_odds(fit(columns, ids=columns["particle_id"]), columns)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(odds)), [*range(60), *range(80, 90)])
    assert posterior(odds)[:60].tolist() == [0.0] * 60


def test_fewer_than_100_particles_are_scored_by_the_theory(caplog: pytest.LogCaptureFixture) -> None:
    log = planted_log(99, {"misoriented": 0.5}, strength=6.0)
    model = fit(log.columns, ids=log.columns["particle_id"])
    assert "only 99 particles have scores" in caplog.text
    assert model.slopes.tolist() == [1.0, 1.0]
    assert auc(log_odds(model, log.columns), log.correct) > 0.95
    log = planted_log(100, {"misoriented": 0.5}, strength=6.0)
    assert fit(log.columns, ids=log.columns["particle_id"]).error_rate == pytest.approx(0.5, abs=0.1)


def test_a_log_without_expected_scores_is_refused() -> None:
    with pytest.raises(InputError, match=r"the log lacks expected_z.*Score the particles again"):
        fit({"z": np.ones(5)}, ids=np.arange(5, dtype=np.uint64))
