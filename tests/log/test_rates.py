"""AUC and rates against direct definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryocore.log.names import lower_is_better
from cryocore.log.rates import auc, rates_by_kind, selection_rates


def pairwise(score, correct):
    """The definition, over all pairs."""
    gaps = score[correct][:, None] - score[~correct][None, :]
    return float(np.mean((gaps > 0) + 0.5 * (gaps == 0)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=2, max_size=40))
def test_auc_is_the_share_of_pairs_in_order(rows):
    score = np.array([r[0] for r in rows], dtype=float)
    correct = np.array([r[1] for r in rows])
    if correct.all() or not correct.any():
        assert auc(score, correct) is None
    else:
        assert auc(score, correct) == pytest.approx(pairwise(score, correct))
        assert auc(-score, correct, lower_is_better=True) == pytest.approx(pairwise(score, correct))


def test_auc_leaves_out_what_has_no_score():
    score = np.array([np.nan, 3.0, 1.0, np.inf, 2.0])
    correct = np.array([False, True, False, False, True])
    assert auc(score, correct) == 1.0
    assert auc(np.full(4, np.nan), np.array([True, True, False, False])) is None


def test_names_tell_the_direction():
    assert lower_is_better("l2_loss") and not lower_is_better("dual")


def test_selection_rates():
    selected = np.array([1, 1, 1, 0, 0, 0], dtype=bool)
    correct = np.array([1, 1, 0, 1, 1, 0], dtype=bool)
    assert selection_rates(selected, correct) == {"correct_rate": 2 / 3, "precision": 2 / 3, "recall": 0.5}
    nothing = np.zeros(6, dtype=bool)
    assert selection_rates(nothing, correct) == {"correct_rate": None, "precision": None, "recall": 0.0}


def test_rates_by_kind():
    kinds = np.array(["none", "none", "junk", "junk", "local_pose"], dtype=object)
    correct = kinds == "none"
    score = np.array([3.0, 2.0, 2.5, 0.0, 9.0])
    table = rates_by_kind(kinds, score, np.array([1, 1, 1, 0, 1], dtype=bool), correct, lower_is_better=False)
    assert list(table) == ["junk", "local_pose"]
    assert table["junk"] == {"n": 2, "n_kept": 1, "kept_share": 0.5, "auc": 0.75}
    assert table["local_pose"]["auc"] == 0.0
