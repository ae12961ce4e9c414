"""Rankings: intervals hold their level, planted groups are found, and few particles do not lead."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import beta

from cryocore.errors import InputError
from cryocore.explore.replay.figures import groups_figure
from cryocore.explore.replay.groups import (
    KINDS,
    Ranking,
    combined_table,
    drawn_to_mean,
    group_codes,
    incorrectness,
    rank_all,
    rank_groups,
)
from cryocore.log.rounds import find_rounds


def ranked(shares: np.ndarray, sizes: np.ndarray, rng: np.random.Generator) -> tuple[Ranking, np.ndarray]:
    """A ranking of groups of these true shares, and the shares in its order."""
    codes = np.repeat(np.arange(len(sizes)), sizes)
    incorrect = rng.random(len(codes)) < shares[codes]
    found = rank_groups(incorrect, codes, [str(i) for i in range(len(sizes))])
    return found, shares[[int(name) for name in found.name]]


@pytest.mark.parametrize("spread", [0.0, 0.03, 0.07])
def test_intervals_cover_the_truth(spread: float) -> None:
    rng = np.random.default_rng(3)
    covered, error, raw = [], [], []
    for _ in range(40):
        shares = np.clip(rng.normal(0.3, spread, 40), 0.01, 0.99)
        found, true = ranked(shares, rng.integers(40, 140, 40), rng)
        covered.append(np.mean((found.low <= true) & (true <= found.high)))
        error.append(np.mean((found.shrunk - true) ** 2))
        raw.append(np.mean((found.share - true) ** 2))
    assert np.mean(covered) > 0.92
    assert np.mean(error) < np.mean(raw)


def integrated(share: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Posterior means and variances by integration over the mean and over how far shares of typical size are drawn."""
    node, weight = np.polynomial.legendre.leggauss(200)
    drawn = 0.5 * (node + 1.0)[:, None, None]
    between = (1.0 - drawn) / drawn / np.mean(1.0 / variance)
    width = np.sqrt((variance.mean() + between) / len(share))
    mean = share.mean() + width * np.linspace(-12, 12, 401)[:, None]
    law = np.exp(-0.5 * (share - mean) ** 2 / (variance + between)) / np.sqrt(variance + between)
    likely = (law.prod(axis=2, keepdims=True) * width)[..., 0] * weight[:, None]
    likely /= likely.sum()
    each = (between * share + variance * mean) / (between + variance)
    squared = each**2 + between * variance / (between + variance)
    first, second = (np.einsum("bm,bmg->g", likely, values) for values in (each, squared))
    return first, second - first**2


@pytest.mark.parametrize("spread", [0.02, 0.2])
def test_shares_are_drawn_to_their_mean_as_bayes_says(spread: float) -> None:
    """The sum over 64 variances between groups is within 0.1 % of the integral; one over 32 is off by 0.5 %."""
    share = 0.3 + spread * np.array([-0.5, 0.2, 0.0, 1.5, -1.0])
    variance = 0.2 / np.array([50, 100, 20, 80, 400])
    shrunk, found = drawn_to_mean(share, variance)
    mean, expected = integrated(share, variance)
    np.testing.assert_allclose((shrunk - mean) / np.sqrt(variance), 0.0, atol=2e-3)
    np.testing.assert_allclose(found, expected, rtol=2e-3)


def test_the_interval_of_a_single_group_is_the_beta_distribution_of_its_share_and_standard_error() -> None:
    found = rank_groups(np.arange(10) < 3, np.zeros(10, dtype=np.int64), ["all"])
    law = beta(0.3 * 8, 0.7 * 8)
    assert law.std() == pytest.approx(np.sqrt(0.3 * 0.7 / 9))
    assert [found.low[0], found.high[0]] == pytest.approx(law.ppf([0.025, 0.975]))


def test_chance_calls_few_sets_worse_and_a_bad_group_is_called() -> None:
    rng = np.random.default_rng(4)
    sizes = np.full(50, 100)
    null = [ranked(np.full(50, 0.3), sizes, rng)[0].worse.any() for _ in range(60)]
    assert np.mean(null) <= 0.09
    shares = np.where(np.arange(50) == 7, 0.7, 0.3)
    for _ in range(5):
        found, _ = ranked(shares, sizes, rng)
        assert found.name[0] == "7" and found.worse[0] and found.low[0] > found.overall


def test_a_group_of_two_does_not_lead() -> None:
    codes = np.repeat([0, 1, 2], [2, 300, 3000])
    incorrect = np.concatenate([np.ones(2), np.arange(300) % 2, np.arange(3000) % 5 == 0])
    found = rank_groups(incorrect, codes, ["two", "half", "rest"])
    assert not found.worse[list(found.name).index("two")]
    assert found.worse[list(found.name).index("half")]
    assert found.share[list(found.name).index("two")] == 1.0
    assert found.shrunk[list(found.name).index("two")] < 0.9


def test_unknown_particles_and_empty_groups_are_left_out() -> None:
    found = rank_groups(np.array([0.2, np.nan, 0.4, np.nan]), np.array([0, 0, 2, 3]), ["a", "b", "c", "d"])
    assert sorted(zip(found.name, found.n.tolist(), strict=True)) == [("a", 1), ("c", 1)]
    with pytest.raises(InputError, match="no particle"):
        rank_groups(np.array([np.nan]), np.array([0]), ["a"])
    alike = rank_groups(np.ones(10), np.repeat([0, 1], 5), ["a", "b"])
    assert alike.shrunk.tolist() == alike.high.tolist() == [1.0, 1.0] and not alike.worse.any()
    sure = rank_groups(np.full(10, 0.25), np.repeat([0, 1], 5), ["a", "b"])
    assert sure.low.tolist() == sure.high.tolist() == [0.25, 0.25], "without a variance there is no interval"


def test_flags_of_right_particles_alone_are_flags_and_unknown_ones_are_none() -> None:
    flags = np.array([1, 1, -1], dtype=np.int8)
    log_round = SimpleNamespace(posterior=lambda: None, flags=lambda: flags, path=Path("log.parquet"))
    found = incorrectness(log_round)  # type: ignore[arg-type]
    assert found.source == "flags"
    np.testing.assert_array_equal(found.values, [0.0, 0.0, np.nan])
    flags[:] = -1
    with pytest.raises(InputError, match="holds no posterior or flags"):
        incorrectness(log_round)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [None, np.nan, np.inf])
@pytest.mark.parametrize("side", ["u", "v"])
def test_particles_of_unknown_defocus_have_no_groups_by_it(side: str, value: float | None) -> None:
    columns = {f"defocus_{s}_angstrom": np.linspace(8e3, 2e4, 200) for s in "uv"}
    log_round = SimpleNamespace(column=columns.get)
    codes, names = group_codes(log_round, "defocus")  # type: ignore[misc, arg-type]
    assert names == ["8000 to 10955 Å", "11015 to 13970 Å", "14030 to 16985 Å", "17045 to 20000 Å"]
    assert np.bincount(codes).tolist() == [50] * 4
    columns[f"defocus_{side}_angstrom"] = None if value is None else np.append(np.full(199, 9e3), value)  # type: ignore[assignment]
    assert group_codes(log_round, "defocus") is None  # type: ignore[arg-type]


def test_groups_of_a_run(small_run: Path) -> None:
    log_round = find_rounds(small_run)[1]
    by_posterior, by_flags = (rank_all(log_round, by=by) for by in ("auto", "flags"))
    assert tuple(by_posterior) == KINDS
    assert by_flags["micrograph"].overall == pytest.approx(0.3)
    assert by_posterior["micrograph"].overall == pytest.approx(0.3, abs=0.06)
    assert by_flags["defocus"].n.sum() == by_flags["optics_group"].n.sum() == 800
    both = dict(zip(by_flags["micrograph"].name, by_flags["micrograph"].share, strict=True))
    shares = [both[name] for name in by_posterior["micrograph"].name]
    assert np.corrcoef(shares, by_posterior["micrograph"].share)[0, 1] > 0.4
    assert len(combined_table(by_flags)) == sum(map(len, by_flags.values()))
    assert len(groups_figure(by_posterior).axes) == 3
    with pytest.raises(InputError, match="no groups by 'grid'"):
        rank_all(log_round, ["grid"])
