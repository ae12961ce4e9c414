"""Rules as pure functions: counts, ties, half sets, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from cryocore.config import Select
from cryocore.errors import InputError
from cryocore.select.rules import apply_rule

RNG = np.random.default_rng(0)
IDS = RNG.permutation(1000).astype(np.uint64)
HALF = (RNG.permutation(1000) % 2 + 1).astype(np.int8)
SCORES = RNG.normal(size=1000)


def test_fraction_keeps_the_best_of_each_half() -> None:
    weights = apply_rule(SCORES, IDS, HALF, Select(score="z", fraction=[0.7]), 1)
    for h in (1, 2):
        members = h == HALF
        kept, dropped = SCORES[members][weights[members] > 0], SCORES[members][weights[members] == 0]
        assert len(kept) == round(0.7 * members.sum())
        assert kept.min() > dropped.max()


def test_losses_are_better_when_lower() -> None:
    high = apply_rule(SCORES, IDS, HALF, Select(score="z", fraction=[0.6]), 1)
    low = apply_rule(-SCORES, IDS, HALF, Select(score="l2_loss", fraction=[0.6]), 1)
    np.testing.assert_array_equal(high, low)
    kept = apply_rule(SCORES, IDS, HALF, Select(score="l2_loss", rule="threshold", threshold=[0.25]), 1)
    np.testing.assert_array_equal(kept > 0, SCORES <= 0.25)


def test_each_round_has_its_value_and_the_last_one_stays() -> None:
    settings = Select(score="z", rule="count", count=[800, 600])
    assert [int(apply_rule(SCORES, IDS, HALF, settings, r).sum()) for r in (1, 2, 3)] == [800, 600, 600]


def test_ties_are_broken_by_id_not_by_row() -> None:
    scores = np.round(SCORES)
    weights = apply_rule(scores, IDS, HALF, Select(score="z", fraction=[0.5]), 1)
    order = RNG.permutation(1000)
    again = apply_rule(scores[order], IDS[order], HALF[order], Select(score="z", fraction=[0.5]), 1)
    np.testing.assert_array_equal(weights[order], again)
    assert weights.sum() == sum(round(0.5 * (h == HALF).sum()) for h in (1, 2))


def test_nan_is_never_kept() -> None:
    scores = SCORES.copy()
    scores[:300] = np.nan
    weights = apply_rule(scores, IDS, HALF, Select(score="z", fraction=[0.9]), 1)
    assert weights[:300].sum() == 0
    assert weights.sum() == 700


def test_too_small_a_subset_says_what_to_change() -> None:
    with pytest.raises(
        InputError, match=r"threshold 9 keeps 0 of the .* half set 1 in round 2.*Loosen select\.threshold"
    ):
        apply_rule(SCORES, IDS, HALF, Select(score="z", rule="threshold", threshold=[0.0, 9.0]), 2)


def test_scores_that_say_nothing_are_refused() -> None:
    with pytest.raises(InputError, match=r"setting select\.score: in half set 1 all .* scores are equal"):
        apply_rule(np.zeros(1000), IDS, HALF, Select(score="z", fraction=[0.5]), 1)
    with pytest.raises(InputError, match="no score is a number"):
        apply_rule(np.full(1000, np.nan), IDS, HALF, Select(score="z", fraction=[0.5]), 1)
