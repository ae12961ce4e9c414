"""Rules: what they keep, whatever the scores; ties, half sets, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cryocore.config.rules import RULES
from cryocore.config.select import Select
from cryocore.errors import InputError
from cryocore.log.complete import assessed
from cryocore.log.names import MIXTURE
from cryocore.select.choose import choose, columns_needed
from cryocore.select.rules import Candidates, rising
from cryocore.select.stage import subset_table
from tests.select.logs import permuted, planted_log

LOG = planted_log(1000, {"misoriented": 0.2, "junk": 0.1}, strength=5.0)
ASSESSED = assessed(LOG.columns, seed=0)
ODDS, RATE = ASSESSED.odds, ASSESSED.error_rate
COLUMNS = LOG.columns
COLUMNS[MIXTURE] = ODDS
HALF = COLUMNS["half"]
VALUES = {
    "fraction": 0.6,
    "count": 500,
    "threshold": 1.0,
    "trimmed": 1.0,
    "balanced": 0.6,
    "micrograph": 0.69,
    "simplex": 0.5,
}
KEEP_ALL = ("softmax", "absolute", "huber", "student")
"""Rules that give every particle a weight, however small."""

MANY = planted_log(4000, {"misoriented": 0.3}, strength=5.0).columns
MANY[MIXTURE] = assessed(MANY, seed=0).odds


def select(rule: str, score: str = "zc", **changes: Any) -> Select:
    return Select(score=RULES[rule].score or score, rule=rule, minimum=1, **{"value": VALUES.get(rule), **changes})


def weights(settings: Select, columns: dict[str, NDArray[Any]] = COLUMNS, round_number: int = 1) -> NDArray[np.float32]:
    return choose(columns, settings, round_number, symmetry="C4", rate=RATE).weights


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_reads_what_it_declares_in_any_order_of_rows(rule: str) -> None:
    chosen = select(rule)
    names = columns_needed(chosen, list(COLUMNS))
    first = weights(chosen, {n: COLUMNS[n] for n in names})
    order = np.random.default_rng(1).permutation(1000)
    np.testing.assert_array_equal(first[order], weights(chosen, permuted(LOG, order)))
    assert first.dtype == np.float32
    assert 0 < np.count_nonzero(first) < 1000 or (rule in KEEP_ALL and len(np.unique(first)) > 100)
    assert first.min() >= 0 and first.max() <= 1


@pytest.mark.parametrize("rule", RULES)
def test_half_sets_do_not_see_each_other(rule: str) -> None:
    if RULES[rule].score == MIXTURE:
        pytest.skip("the law of the scores is that of both")
    changed = {n: np.array(v) for n, v in COLUMNS.items()}
    changed["zc"][HALF == 2] += np.random.default_rng(0).normal(size=int((HALF == 2).sum()))
    np.testing.assert_array_equal(weights(select(rule))[HALF == 1], weights(select(rule), changed)[HALF == 1])


@given(
    scores=st.lists(st.one_of(st.integers(-5, 5).map(float), st.just(np.nan)), min_size=1, max_size=60),
    value=st.floats(0.05, 1.0),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_rules_for_any_scores(scores: list[float], value: float, seed: int) -> None:
    n, rng = len(scores), np.random.default_rng(seed)
    values = np.array(scores)
    likely = np.where(np.isnan(values), 0.0, rng.uniform(size=n))
    candidates = Candidates(
        values, rng.permutation(n).astype(np.uint64), likely, rng.integers(0, 4, n), 0.3, np.ones(n)
    )
    finite = np.isfinite(values)
    for rule in RULES.values():
        given_weights = rule.weigh(candidates, value)
        assert given_weights.shape == (n,)
        assert not given_weights[~finite].any()
    kept = {name: RULES[name].weigh(candidates, value) > 0 for name in RULES}
    for name, wanted in (("fraction", round(value * n)), ("mixture", round((1 - 0.3 * value) * n))):
        assert kept[name].sum() == min(wanted, finite.sum())
    for name in ("fraction", "threshold", "trimmed", "mixture"):
        if kept[name].any() and (dropped := finite & ~kept[name]).any():
            assert values[kept[name]].min() >= values[dropped].max()
    assert kept["balanced"].sum() <= round(value * n)


def test_fraction_keeps_the_best_of_each_half() -> None:
    kept = weights(select("fraction", value=[0.7])) > 0
    for h in (1, 2):
        own, scores = kept[h == HALF], COLUMNS["zc"][h == HALF]
        assert own.sum() == round(0.7 * len(own))
        assert scores[own].min() > scores[~own].max()


def test_losses_are_better_when_lower() -> None:
    high = weights(select("fraction", score="z"))
    np.testing.assert_array_equal(high, weights(select("fraction", score="l2_loss")))
    kept = weights(select("threshold", score="l2_loss", value=[-2.0]))
    np.testing.assert_array_equal(kept > 0, COLUMNS["l2_loss"] <= -2.0)


def test_each_round_has_its_value_and_the_last_one_stays() -> None:
    chosen = select("count", value=[800, 600])
    assert [int(weights(chosen, round_number=r).sum()) for r in (1, 2, 3)] == [800, 600, 600]


def test_ties_are_broken_by_id_not_by_row() -> None:
    columns = {**COLUMNS, "zc": np.round(COLUMNS["zc"] / 4)}
    order = np.random.default_rng(2).permutation(1000)
    first, again = (weights(select("fraction"), c) for c in (columns, {n: v[order] for n, v in columns.items()}))
    np.testing.assert_array_equal(first[order], again)
    assert first.sum() == 600


def test_rules_of_the_posterior() -> None:
    selection = choose(COLUMNS, select("soft", value=[0.1]), 1, rate=RATE)
    likely, rate = selection.posterior, selection.error_rate
    assert likely is not None and rate is not None
    np.testing.assert_allclose(selection.weights, np.where(likely >= 0.1, likely, 0), atol=1 / 64 + 1e-6)
    np.testing.assert_array_equal(selection.weights * 32 % 1, 0)
    np.testing.assert_array_equal(weights(select("posterior", value=[0.8])) > 0, likely > 0.8)
    kept = weights(select("mixture")) > 0
    assert kept.sum() == pytest.approx((1 - rate.value) * 1000, abs=1)
    assert LOG.correct[kept].mean() > 0.96
    assert weights(select("mixture", value=[0.0])).sum() == 1000


def test_spoilt_images_are_left_out_by_rules_of_the_mixture_alone() -> None:
    spoilt = np.arange(1000) % 10 == 0
    kinds = np.where(spoilt, "spoilt", "correct").astype(object)
    for rule in ("soft", "mixture", "posterior"):
        settings, names = select(rule), columns_needed(select(rule), [*COLUMNS, "likely_kind"], described=False)
        assert "likely_kind" in names
        found = choose({**COLUMNS, "likely_kind": kinds}, settings, 1, rate=RATE)
        assert not found.weights[spoilt].any() and not found.selected[spoilt].any()
        reason = subset_table(COLUMNS["particle_id"], found)["reason"].to_pylist()
        assert {reason[i] for i in np.flatnonzero(spoilt)} == {"spoilt"}
    by_rank = select("fraction", value=[0.6])
    assert "likely_kind" not in columns_needed(by_rank, [*COLUMNS, "likely_kind"], described=False)
    np.testing.assert_array_equal(weights(by_rank, {**COLUMNS, "likely_kind": kinds}), weights(by_rank))


def test_those_that_count_at_least_half_are_the_list() -> None:
    selection = choose(COLUMNS, select("soft"), 1, rate=RATE)
    table = subset_table(COLUMNS["particle_id"], selection)
    selected, found = (table.column(name).to_numpy() for name in ("selected", "weight"))
    np.testing.assert_array_equal(selected, found >= 0.5)
    assert 0 < np.count_nonzero((found > 0) & ~selected) < np.count_nonzero(selected)
    assert LOG.correct[selected].mean() > LOG.correct[found > 0].mean()


def test_mixture_is_a_score_for_other_rules() -> None:
    kept = weights(select("fraction", score="mixture", value=[0.7])) > 0
    assert LOG.correct[kept].mean() > LOG.correct[weights(select("fraction", score="local", value=[0.7])) > 0].mean()


def test_trimmed_drops_only_what_lies_far_below() -> None:
    columns = {**COLUMNS, "zc": np.random.default_rng(4).normal(size=1000)}
    columns["zc"][:40] -= 30.0
    dropped = weights(select("trimmed", value=[5.0]), columns) == 0
    np.testing.assert_array_equal(np.flatnonzero(dropped), np.arange(40))


def test_balanced_keeps_the_same_share_of_every_view() -> None:
    columns = {**MANY, "zc": MANY["zc"] + 20 * np.abs(MANY["view_z"])}
    poles = np.abs(MANY["view_z"]) > 0.7
    plain, fair = (weights(select(rule), columns) > 0 for rule in ("fraction", "balanced"))
    assert plain[poles].mean() > 0.95 > 0.8 > plain[~poles].mean() + 0.2
    plain_gap, fair_gap = (kept[poles].mean() - kept[~poles].mean() for kept in (plain, fair))
    assert abs(fair_gap) < 0.4 * plain_gap
    assert fair.sum() == 2400


def test_balanced_keeps_the_same_share_of_small_cells_and_of_those_with_unknown_scores() -> None:
    bin_index = np.repeat([0, 1, 2], [2, 20, 20])
    scores = np.arange(42.0)
    scores[32:] = np.nan
    candidates = Candidates(scores, np.arange(42, dtype=np.uint64), np.ones(42), bin_index, 0.0, np.ones(42))
    kept = RULES["balanced"].weigh(candidates, 0.5)
    np.testing.assert_array_equal(np.flatnonzero(kept), [1, *range(12, 22), *range(22, 32)])


def test_whole_micrographs_are_dropped() -> None:
    log = planted_log(2000, {"misoriented": 0.3}, strength=5.0)
    columns = {**log.columns, MIXTURE: assessed(log.columns, seed=0).odds}
    micrographs = columns["micrograph"].copy()
    incorrect = np.flatnonzero(~log.correct)
    micrographs[incorrect[:500]] = np.where(np.arange(500) % 2 < 1, "m3", "m4")
    bad = np.isin(micrographs, ["m3", "m4"])
    kept = weights(select("micrograph", value=[0.5]), {**columns, "micrograph": micrographs}) > 0
    np.testing.assert_array_equal(kept, ~bad)


@pytest.mark.parametrize("kind", ["view", "micrograph", "defocus"])
def test_normalised_scores_do_not_depend_on_the_group(kind: str) -> None:
    offsets = {
        "view": np.abs(MANY["view_z"]),
        "micrograph": (MANY["micrograph"] < "m15").astype(float),
        "defocus": 5e-5 * (MANY["defocus_u_angstrom"] + MANY["defocus_v_angstrom"]),
    }
    columns = {**MANY, "zc": MANY["zc"] + 5 * offsets[kind]}
    high = offsets[kind] > np.median(offsets[kind])

    def gap(normalise: str) -> float:
        kept = weights(select("fraction", normalise=normalise), columns) > 0
        return float(kept[high].mean() - kept[~high].mean())

    assert gap("none") > 0.2
    assert abs(gap(kind)) < 0.4 * gap("none")


def test_probabilities_are_not_normalised() -> None:
    with pytest.raises(ValueError, match="soft decides by probabilities"):
        Select(rule="soft", normalise="view")


def test_nan_is_never_kept() -> None:
    columns = {**COLUMNS, "zc": np.array(COLUMNS["zc"])}
    columns["zc"][:300] = np.nan
    kept = weights(select("fraction", value=[0.9]), columns)
    assert kept[:300].sum() == 0
    assert kept.sum() == 700


def test_too_small_a_subset_says_what_to_change() -> None:
    with pytest.raises(InputError, match=r"threshold 99 keeps 0 of the .* half set 1 in round 2.*Loosen select\.value"):
        weights(select("threshold", value=[0.0, 99.0]), round_number=2)


def test_scores_that_say_nothing_are_refused() -> None:
    with pytest.raises(InputError, match=r"setting select\.score: in half set 1 all .* scores are equal"):
        weights(select("fraction"), {**COLUMNS, "zc": np.zeros(1000)})
    with pytest.raises(InputError, match="no score is a number"):
        weights(select("fraction"), {**COLUMNS, "zc": np.full(1000, np.nan)})


def test_missing_columns_are_named() -> None:
    with pytest.raises(InputError, match=r"column mixture.*the selection by soft"):
        columns_needed(select("soft"), ["particle_id", "half", "z"])
    assert columns_needed(select("fraction"), ["zc", "half", "particle_id", "x"]) == ["particle_id", "half", "zc"]


def test_too_few_particles_to_judge_are_all_kept() -> None:
    few = {name: values[:80] for name, values in COLUMNS.items()}
    found = assessed(few, seed=0)
    few[MIXTURE], rate = found.odds, found.error_rate
    selection = choose(few, select("mixture"), 1, symmetry="C4", rate=rate)
    assert selection.error_rate is not None and selection.error_rate.method == "none"
    assert np.all(selection.weights == 1)


def test_a_selection_that_leaves_too_few_says_what_was_estimated() -> None:
    incorrect = planted_log(600, {"misoriented": 0.9}, strength=5.0).columns
    found = assessed(incorrect, seed=0)
    incorrect[MIXTURE], rate = found.odds, found.error_rate
    with pytest.raises(
        InputError, match=r"at least 200 are wanted\. (8|9)\d % of all particles are estimated to be incorrect"
    ):
        choose(incorrect, Select(rule="mixture", minimum=200), 1, symmetry="C4", rate=rate)


def test_a_half_set_of_fewer_than_the_minimum_asks_for_more() -> None:
    few = {name: values[:80] for name, values in COLUMNS.items()}
    found = assessed(few, seed=0)
    few[MIXTURE] = found.odds
    with pytest.raises(InputError, match=r"keeps 40 of the 40 .* Bring more particles, or lower select.minimum"):
        choose(few, Select(rule="mixture", minimum=50), 1, symmetry="C4", rate=found.error_rate)


def test_the_rule_mixture_needs_an_error_rate() -> None:
    """A log of another program, or an older one, may state none."""
    columns = planted_log(300, {"misoriented": 0.3}).columns | {"mixture": np.zeros(300)}
    with pytest.raises(InputError, match=r"setting select\.rule.*no error rate"):
        choose(columns, Select(rule="mixture"), 1, symmetry="C4")


def test_the_order_of_rising_values_is_that_of_a_full_sort() -> None:
    rng = np.random.default_rng(0)
    values, ids = rng.integers(0, 200, 2000).astype(np.float64), rng.permutation(2000).astype(np.uint64)
    values[:1000] += rng.random(1000)
    values[::7] = np.inf
    np.testing.assert_array_equal(rising(values, ids), np.lexsort((ids, values)))
