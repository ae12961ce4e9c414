"""Weights on the simplex: against a general solver, their limits, and what keeps them from collapsing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from cryocore.config.select import Select
from cryocore.errors import InputError
from cryocore.select import weights as w
from cryocore.select.choose import choose
from cryocore.statistics import effective_number

RNG = np.random.default_rng(3)
SCORES = np.concatenate([RNG.normal(0.0, 1.0, 150), RNG.normal(5.0, 1.0, 350)])
LOSS = w.standard_loss(SCORES)

finite = st.floats(-20, 20, allow_nan=False)


@given(st.lists(finite, min_size=1, max_size=40), st.floats(0.1, 5.0), st.one_of(st.just(np.inf), st.floats(0.3, 3.0)))
@settings(max_examples=200, deadline=None)
def test_projection_is_the_nearest_point(values: list[float], total: float, cap: float) -> None:
    v = np.array(values)
    if cap * len(v) < total:
        with pytest.raises(ValueError, match="cannot sum up"):
            w.project_to_simplex(v, total=total, cap=cap)
        return
    found = w.project_to_simplex(v, total=total, cap=cap)
    assert found.sum() == pytest.approx(total, rel=1e-9)
    assert found.min() >= 0 and found.max() <= cap
    # Karush, Kuhn and Tucker: v - w is one level wherever w is free, above it at the cap, below it at 0
    free = (found > 1e-12) & (found < cap - 1e-12)
    gap = v - found
    low, high = gap[found <= 1e-12], gap[found >= cap - 1e-12]
    levels = gap[free]
    assert np.ptp(levels) < 1e-9 if len(levels) else True
    bound = np.concatenate([low, levels])
    assert not len(bound) or not len(high) or high.min() >= bound.max() - 1e-9
    assert not len(levels) or not len(low) or low.max() <= levels.min() + 1e-9


def test_projection_agrees_with_a_general_solver() -> None:
    v = RNG.normal(size=8)
    found = w.project_to_simplex(v, total=2.0, cap=0.6)
    constraint = {"type": "eq", "fun": lambda x: x.sum() - 2.0}
    start, bounds = np.full(8, 0.25), [(0.0, 0.6)] * 8
    solved = minimize(lambda x: np.sum((x - v) ** 2), start, bounds=bounds, constraints=constraint, tol=1e-12)
    np.testing.assert_allclose(found, solved.x, atol=1e-5)


def test_unknown_particles_weigh_nothing() -> None:
    loss = w.standard_loss(np.append(SCORES, np.nan))
    before = np.ones(len(loss))
    for given_weights in (
        w.softmax(loss, 1.0),
        w.simplex(loss, 1.0),
        w.capped(loss, 0.5),
        w.absolute(loss, 0.1, before),
        w.huber(loss, 1.0),
        w.student(loss, 2.0),
    ):
        assert given_weights[-1] == 0 and given_weights.max() == 1.0 and np.isfinite(given_weights).all()


def test_simplex_minimises_its_objective() -> None:
    def objective(weights: np.ndarray) -> float:
        return float(weights @ LOSS + 0.5 * 0.7 * np.sum((weights - 1) ** 2))

    scaled = w.simplex(LOSS, 0.7)
    best = scaled * len(LOSS) / scaled.sum()
    for _ in range(50):
        other = np.maximum(best + RNG.normal(0, 0.05, len(LOSS)), 0)
        assert objective(other * len(LOSS) / other.sum()) > objective(best)


def test_capped_without_a_quadratic_term_is_the_trimmed_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(w, "CAP_QUADRATIC", 1e-9)
    kept = w.capped(LOSS, 0.4)
    np.testing.assert_array_equal(kept, np.sort(SCORES)[-200] <= SCORES)


@pytest.mark.parametrize(
    "weigh", [lambda strength: w.softmax(LOSS, strength), lambda strength: w.simplex(LOSS, 1.0 / strength)]
)
def test_weights_collapse_on_the_best_particle(weigh: object) -> None:
    counts = [effective_number(weigh(s)) for s in (1e-6, 0.5, 2.0, 10.0, 1e4)]  # type: ignore[operator]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == pytest.approx(500, rel=1e-3)
    assert counts[-1] == pytest.approx(1.0)
    assert np.argmax(weigh(1e4)) == np.argmax(SCORES)  # type: ignore[operator]


def test_a_cap_prevents_the_collapse() -> None:
    for share in (0.2, 0.5, 0.9):
        assert effective_number(w.capped(1e3 * LOSS, share)) >= share * 500 * (1 - 1e-9)


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_capped_weights_fall_over_a_quarter_of_a_deviation_per_share(share: float) -> None:
    loss = np.linspace(-3.0, 3.0, 6001)
    found = w.capped(loss, share)
    partial = (found > 0) & (found < 1)
    assert np.ptp(loss[partial]) == pytest.approx(0.25 / share, abs=0.003)
    assert found.sum() == pytest.approx(share * len(loss))


def test_what_weighs_less_than_a_millionth_of_the_best_is_dropped() -> None:
    found = w.softmax(np.array([0.0, 13.0, 14.0]), 1.0)
    assert found.tolist() == pytest.approx([1.0, 2.2603e-6, 0.0], rel=1e-4)


def test_absolute_weights_pile_up_round_by_round() -> None:
    weights, counts = np.ones(500), []
    for _ in range(60):
        weights = w.absolute(LOSS, 0.3, weights)
        counts.append(effective_number(weights))
    assert counts[0] > 400 > 200 > counts[-1]


def test_a_collapsed_selection_is_refused() -> None:
    n = 1000
    columns = {
        "particle_id": np.arange(n, dtype=np.uint64),
        "half": np.tile([1, 2], n // 2).astype(np.int8),
        "zc": np.tile(SCORES, 2),
    }
    with pytest.raises(InputError, match=r"keeps \d of the 500 .* whose weights are worth [12]\.\d equal ones"):
        choose(columns, Select(score="zc", rule="softmax", value=[50.0]), 1)
    mild = choose(columns, Select(score="zc", rule="softmax", value=[1.0]), 1)
    assert effective_number(mild.weights) > 200


def test_robust_weights_fall_beyond_the_median_only() -> None:
    better = LOSS <= 0
    assert (w.huber(LOSS, 0.5)[better] == 1).all() and (w.student(LOSS, 2.0)[better] == 1).all()
    worst = np.argmax(LOSS)
    assert w.huber(LOSS, 0.5)[worst] == pytest.approx(0.5 / LOSS[worst])
    assert w.student(LOSS, 2.0)[worst] == pytest.approx(1 / (1 + LOSS[worst] ** 2 / 2))
