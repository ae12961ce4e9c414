"""The mixture against logs whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cryocore.errors import InputError
from cryocore.log import mixture
from cryocore.log.complete import assessed
from cryocore.log.evidence import MIXTURE_COLUMNS, Odds, evidence
from cryocore.log.mixture import evidence_log_odds, fit, log_odds
from cryocore.log.prior import Prior, group_effects
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
    data = evidence(log.columns)
    more = np.where(log.correct, np.sqrt(1.5**2 - 1.0), 0.0)[:, None] * np.random.default_rng(0).normal(size=(3000, 2))
    data = replace(data, observed=data.observed + more)
    model = mixture.fit_evidence(data, ids=log.columns["particle_id"])
    variances = np.diag(model.correct) + model.spread**2 * np.mean(model.means(data)[log.correct] ** 2, axis=0)
    # slightly misoriented ones take part of the tail of the second score
    np.testing.assert_allclose(variances, 1.5**2, rtol=0.25)


def test_rare_errors_count_as_frequent_enough_to_rank() -> None:
    log = planted_log(1000, MIXED)
    data = evidence(log.columns)
    model = mixture.theory(data, 1.0)
    shares, none = (1e-12, 1e-9, 0.003, 0.005), data.covariates[:, :0]
    models = [
        replace(model, shares=np.array([1 - 4 * s, *[s] * 4]), prior=Prior.constant(1 - 4 * s, none)) for s in shares
    ]
    found = [evidence_log_odds(m, replace(data, covariates=none)) for m in models]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_allclose(found[0] - found[2], -np.log(1 - 4 * 0.003), atol=1e-5)
    np.testing.assert_allclose(found[2] - found[3], np.log(0.005 / 0.003) + np.log(0.988 / 0.98), rtol=1e-9)


def test_scores_are_parted_into_independent_ones() -> None:
    """Correct particles: unit variance, no correlation, the expected means; slightly misoriented ones differ in the
    second score."""
    log = planted_log(6000, {"slightly_misoriented": 0.5}, strength=6.0)
    data = evidence(log.columns)
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
    data = evidence(planted_log(80, {}).columns)
    kind, slopes = np.repeat([0, 1], 40), np.array([1.2, 0.8])
    signs = np.tile([[1, 1], [1, -1], [-1, 1], [-1, -1]], (20, 1))
    noise = np.sqrt(np.array([2.4, 1.6])[kind])[:, None] * signs
    expected = np.full((80, 2), 4.0)
    data = replace(data, observed=noise + np.where(kind == 0, 1.0, 0.0)[:, None] * slopes * expected, expected=expected)
    alike = mixture.Strength(np.ones(80), np.ones(80), np.zeros(80), np.zeros(80))
    model = mixture.maximisation(data, np.eye(len(data.classes))[kind], alike, mixture.theory(data, 1.0), 0.0)
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
    data = evidence(columns)
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


def test_the_prior_learns_where_incorrect_particles_are() -> None:
    """Incorrect ones have low expected scores: the share of correct ones rises from 0.2 to 1 with it."""
    rng = np.random.default_rng(4)
    rank = rng.random(4000)
    log = planted_log(4000, {"misoriented": 0.4}, strength=3.0)
    order = np.argsort(np.where(log.correct, rank**0.4, rank), kind="stable")
    columns = {n: v for n, v in log.columns.items() if n in MIXTURE_COLUMNS}
    # particles keep their scores relative to what is expected, which is as the order says
    wanted = np.empty(4000)
    wanted[order] = np.sort(columns["expected_zc"])
    shift = np.where(log.correct, wanted - columns["expected_zc"], 0.0)
    for name in ("z", "zc"):
        columns[name] = columns[name] + shift
        columns[f"expected_{name}"] = columns[f"expected_{name}"] + wanted - log.columns["expected_zc"]
    columns = {n: v for n, v in columns.items() if n not in ("ldac", "expected_ldac", "local", "shift")}
    model = fit(columns, ids=log.columns["particle_id"])
    low, high = (
        float(np.mean(1 / (1 + np.exp(-model.prior.log_odds(model.prior.design(wanted[rows, None]))))))
        for rows in (np.argsort(wanted)[:800], np.argsort(wanted)[-800:])
    )
    truth = [float(log.correct[np.argsort(wanted)[rows]].mean()) for rows in (slice(800), slice(-800, None))]
    np.testing.assert_allclose([low, high], truth, atol=0.08)
    assert truth[1] - truth[0] > 0.2 and model.error_rate == pytest.approx(0.4, abs=0.04)


def test_the_prior_is_the_same_for_all_where_there_is_nothing_to_learn() -> None:
    log = planted_log(4000, {"misoriented": 0.3}, strength=4.0)
    model = fit(log.columns, ids=log.columns["particle_id"], symmetry="C1")
    odds = model.prior.log_odds(model.prior.design(evidence(log.columns, "C1").covariates))
    assert odds.std() < 0.25
    assert odds.mean() == pytest.approx(np.log(0.7 / 0.3), abs=0.15)


def test_weak_and_strong_particles_are_correct_as_well() -> None:
    """k spreads by 0.3 about 1, and so nothing is called wrong."""
    log = planted_log(3000, {}, strength=5.0)
    data = evidence(log.columns)
    k = np.random.default_rng(1).normal(1.0, 0.3, 3000)
    data = replace(data, observed=data.observed + (k - 1.0)[:, None] * data.expected)
    data = replace(data, ratios={}, classes=data.classes[:4])
    model = mixture.fit_evidence(data, ids=log.columns["particle_id"])
    assert model.spread == pytest.approx(0.3, abs=0.05)
    assert model.error_rate < 0.02


def test_weak_particles_are_not_wrong_ones() -> None:
    """A third of the correct ones shows 0.3 of what is expected of them; 20 % are of another view."""
    weak, rates = [], []
    for seed in range(6):
        log = planted_log(3000, {"misoriented": 0.2}, strength=5.0, seed=seed)
        data = evidence(log.columns)
        rng = np.random.default_rng([seed, 1])
        lost = np.where(log.correct & (rng.random(3000) < 1 / 3), 0.7, 0.0)
        data = replace(data, observed=data.observed - lost[:, None] * data.expected, z=data.z - lost * data.expected_z)
        data = replace(data, ratios={}, classes=data.classes[:4])
        model = mixture.fit_evidence(data, ids=log.columns["particle_id"])
        weak.append(model.weak)
        rates.append(model.error_rate)
    # some weak ones are called slightly misoriented; if all counted as wrong, the rate would be 0.47
    assert np.mean(weak) == pytest.approx(1 / 3, abs=0.06)
    assert np.mean(rates) == pytest.approx(0.2, abs=0.07)


def test_none_is_weak_where_all_are_alike() -> None:
    for rates in ({}, {"misoriented": 0.3}, MIXED):
        log = planted_log(3000, rates, strength=4.0)
        assert fit(log.columns, ids=log.columns["particle_id"]).weak < 0.03


def test_spoilt_images_tell_what_they_can() -> None:
    """Something in a tenth of the images makes their scores spread four times as wide, and their noise 1.5 times."""
    log = planted_log(3000, {"misoriented": 0.2}, strength=5.0)
    rng = np.random.default_rng(5)
    spoilt = rng.random(3000) < 0.1
    columns = dict(log.columns)
    for name in ("z", "zc", "ldac", "local", "shift"):
        more = np.sqrt(15.0) * (log.columns["expected_z"] if name in ("local", "shift") else 1.0)
        columns[name] = columns[name] + np.where(spoilt, more * rng.normal(size=3000), 0.0)
    unaware = fit(columns, ids=columns["particle_id"])
    factor = np.exp(rng.normal(0.0, 0.03, 3000)) * np.where(spoilt, 1.5, 1.0)
    columns["noise_factor"] = factor
    model = fit(columns, ids=columns["particle_id"])
    assert model.error_rate == pytest.approx(0.2, abs=0.02) and unaware.error_rate > 0.22
    odds, before = log_odds(model, columns), log_odds(unaware, columns)
    assert auc(odds, log.correct) > auc(before, log.correct) + 0.01
    # what they say is little: hardly any is sure
    assert np.abs(odds[spoilt]).mean() < 0.5 * np.abs(odds[~spoilt]).mean()
    found = assessed(columns, seed=0)
    np.testing.assert_array_equal(found.kind == found.kinds.index("spoilt"), spoilt)
    few = columns | {"noise_factor": np.where(np.cumsum(spoilt) <= 15, factor, np.minimum(factor, 1.05))}
    assert not evidence(few).spoilt.any()


def test_images_scaled_as_a_whole_score_by_their_brightness() -> None:
    log = planted_log(3000, {"misoriented": 0.2}, strength=5.0)
    factor = np.exp(np.random.default_rng(2).normal(0.0, 0.6, 3000))
    columns = dict(log.columns)
    for name in ("expected_z", "expected_zc", "expected_ldac"):
        columns[name] = columns[name] / np.sqrt(factor)
    for name in ("local", "shift"):
        columns[name] = columns[name] / np.sqrt(factor)
    model = fit(columns | {"noise_factor": factor}, ids=log.columns["particle_id"])
    assert model.exponent == pytest.approx(1.0, abs=0.05)
    assert model.error_rate == pytest.approx(0.2, abs=0.02)


def test_bad_groups_are_found_and_equal_ones_left_alone() -> None:
    rng = np.random.default_rng(3)
    group = np.repeat(np.arange(40), 50)
    correct = rng.random(2000) < np.where(group < 4, 0.2, 0.9)
    ratio = 2.0 * rng.normal(size=2000) + np.where(correct, 2.0, -2.0)
    prior = np.full(2000, np.log(0.83 / 0.17))
    effect = group_effects(ratio, prior, group)
    assert effect[group < 4].max() < -1.0 and effect[group >= 4].min() > -1.0
    even = rng.random(2000) < 0.83
    same = group_effects(2.0 * rng.normal(size=2000) + np.where(even, 2.0, -2.0), prior, group)
    assert np.abs(same).max() < 0.6


def test_particles_without_a_micrograph_get_nothing_from_one() -> None:
    """Nor do those of no micrograph count as those of one."""
    columns = dict(planted_log(2000, {"misoriented": 0.3}, strength=2.0).columns)
    columns.pop("micrograph", None)
    plain = assessed(columns, seed=0)
    wrong = plain.odds < 0
    named = np.where(np.arange(2000) % 2 == 0, np.where(wrong, "bad.mrc", "good.mrc").astype(object), None)
    found = assessed(columns | {"micrograph": named}, seed=0)
    change = found.odds - plain.odds
    assert np.abs(change[1::2]).max() < 0.3  # by how rare incorrect ones are in all
    assert change[::2][wrong[::2]].max() < -3.0 and change[::2][~wrong[::2]].min() > 3.0
    nobody = assessed(columns | {"micrograph": np.full(2000, None)}, seed=0)
    np.testing.assert_array_equal(nobody.odds, plain.odds)


def test_particles_are_told_what_they_most_probably_are() -> None:
    log = planted_log(4000, MIXED, strength=6.0)
    found = assessed(log.columns, seed=0)
    named = np.array(found.kinds)[found.kind]
    assert np.array_equal(named == "correct", found.odds > 0)
    for kind, row in zip(("misoriented", "junk", "slightly_misoriented", "miscentred"), (1, 2, 3, 4), strict=True):
        of_kind = named[(log.kind == row) & (named != "correct")]
        assert np.mean(of_kind == kind) > 0.6


def test_particles_without_a_score_are_unknown() -> None:
    columns = planted_log(500, {"misoriented": 0.3}).columns
    gone = {n: np.where(np.arange(500) < 5, np.nan, v) if n == "zc" else v for n, v in columns.items()}
    found = assessed(gone, seed=0)
    assert [found.kinds[k] for k in found.kind[:5]] == ["unknown"] * 5 and np.isnan(found.odds[:5]).all()


def test_odds_of_faint_images_begin_with_the_mean_gain() -> None:
    """The logarithm of a mean of exponentials, of gains that shrink with the image."""
    gains = np.random.default_rng(3).normal(-0.5, 1.0, size=(4000, 6))
    exact = {s: -np.log(np.mean(np.exp(s * gains), axis=1)) for s in (0.1, 0.3, 0.5, 0.7, 1.0)}
    odds = Odds(exact[1.0], -gains.mean(axis=1))
    for s, ratio in exact.items():
        assert abs(np.mean(odds.at(np.full(len(gains), s)) - ratio)) < 0.04
    # in proportion, images of half the strength look worse than they are
    assert np.mean(0.5 * exact[1.0] - exact[0.5]) < -0.08


def test_dim_images_are_not_slightly_misoriented() -> None:
    """All are correct, and a part is scaled down as a whole, so that predictions are too strong for it."""
    log = planted_log(3000, {}, strength=2.0, spread=0.35)
    without = {name: v for name, v in log.columns.items() if name not in ("mean_pose_gain", "mean_shift_gain")}
    rates = [fit(columns, ids=columns["particle_id"]).error_rate for columns in (log.columns, without)]
    assert rates[0] < 0.01 < 0.02 < rates[1]


def test_misoriented_particles_score_by_their_views() -> None:
    log = planted_log(3000, {"misoriented": 0.8}, strength=3.0)
    data = evidence(log.columns)
    rank = np.random.default_rng(1).uniform(-1.0, 1.0, 3000)
    moved = data.observed + np.where(log.correct, 0.0, 0.3 * rank)[:, None]
    model = mixture.fit_evidence(replace(data, observed=moved, view_rank=rank), ids=log.columns["particle_id"])
    np.testing.assert_allclose(model.astray, 0.3, atol=0.1)
