"""Lists that leave no direction of Fourier space empty."""

from __future__ import annotations

import numpy as np
import pytest

from cryocore.config.select import Select
from cryocore.geometry.coverage import Coverage, uncovered
from cryocore.geometry.symmetry import point_group
from cryocore.log.error_rate import ErrorRate
from cryocore.log.names import LIKELY_KIND, MIXTURE
from cryocore.select.choose import choose, columns_needed
from cryocore.select.stage import subset_table
from cryocore.select.view_guard import SHARE, guarded

C1 = point_group("C1")


def views(n: int, seed: int) -> np.ndarray:
    found = np.random.default_rng(seed).normal(size=(n, 3))
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def one_view(n_dense: int, n_rare: int) -> np.ndarray:
    """Most views along z, some from everywhere."""
    return np.concatenate([np.tile([0.0, 0.0, 1.0], (n_dense, 1)), views(n_rare, 1)])


def test_even_views_leave_the_list_as_it_is() -> None:
    likely = np.random.default_rng(0).random(3000)
    listed = likely > 0.5
    np.testing.assert_array_equal(guarded(likely, listed, likely > 0.05, views(3000, 2), C1), listed)


@pytest.mark.parametrize("symmetry", ["C1", "D7"])
def test_rare_views_are_listed_by_the_odds_beside_them(symmetry: str) -> None:
    directions = one_view(1900, 100)
    rng = np.random.default_rng(3)
    likely = np.concatenate([rng.uniform(0.8, 1.0, 1900), rng.uniform(0.02, 0.45, 100)])
    listed, group = likely > 0.5, point_group(symmetry)
    kept = guarded(likely, listed, likely >= 0.05, directions, group)
    added = np.flatnonzero(kept & ~listed)
    assert listed[:1900].all() and len(added) > 40 and (added >= 1900).all()
    assert likely[added].min() >= max(0.05, 0.5 * SHARE * likely[added].mean())
    assert uncovered(likely, listed, directions, group) > uncovered(likely, kept, directions, group)


def test_nothing_is_listed_without_a_weight() -> None:
    likely = np.concatenate([np.full(1900, 0.9), np.full(100, 0.04)])
    kept = guarded(likely, likely > 0.5, likely >= 0.05, one_view(1900, 100), C1)
    assert not kept[1900:].any()


def test_what_particles_say_of_a_direction() -> None:
    """Of n particles with the same p a list of all says n p² where weighted ones say n p²; half of them, half."""
    directions = views(20_000, 5)
    coverage = Coverage.of(np.full(20_000, 0.3), directions, C1)
    said, mean = coverage.of_list(np.ones(20_000, dtype=bool))
    np.testing.assert_allclose(said, coverage.available)
    np.testing.assert_allclose(mean, 0.3)
    half = np.arange(20_000) % 2 == 0
    assert np.median(coverage.of_list(half)[0] / coverage.available) == pytest.approx(0.5, abs=0.02)
    assert uncovered(np.full(20_000, 0.3), np.zeros(20_000, dtype=bool), directions, C1) == 1.0


def a_log() -> dict[str, np.ndarray]:
    directions = one_view(1900, 100)
    odds = np.concatenate([np.full(1900, 3.0), np.full(100, -1.0)])
    kinds = np.where(odds > 0, "correct", "misoriented").astype(object)
    kinds[:10] = "junk"
    odds[:10] = -5.0
    columns = {"particle_id": np.arange(2000, dtype=np.uint64), "half": np.arange(2000) % 2 + 1, MIXTURE: odds}
    return columns | {LIKELY_KIND: kinds} | {f"view_{c}": directions[:, i] for i, c in enumerate("xyz")}


def test_the_list_tells_why() -> None:
    log, rate = a_log(), ErrorRate(0.05, 0.04, 0.06, "mixture", 0.05, "")
    selection = choose(log, Select(), 1, rate=rate)
    table = subset_table(log["particle_id"], selection)
    said = table.column("reason").to_pylist()
    assert said[:10] == ["no_particle"] * 10 and said[10:1900] == [None] * 1890
    listed = selection.selected[1900:]
    assert listed.mean() > 0.9
    assert [reason == "view_guard" for reason in said[1900:]] == listed.tolist()
    np.testing.assert_array_equal(table.column("selected").to_numpy(), selection.selected)

    without = choose(log, Select(guard_rare_views=False), 1, rate=rate)
    np.testing.assert_array_equal(without.weights, selection.weights)
    assert not without.selected[1900:].any()
    assert set(subset_table(log["particle_id"], without).column("reason").to_pylist()[1900:]) == {"orientation"}


def test_only_lists_made_of_weights_are_guarded() -> None:
    available = list(a_log())
    assert "view_x" in columns_needed(Select(), available)
    assert "view_x" not in columns_needed(Select(guard_rare_views=False), available)
    assert "view_x" not in columns_needed(Select(rule="posterior"), available)
    log = {name: values for name, values in a_log().items() if not name.startswith("view")}
    assert not choose(log, Select(), 1).guarded.any()
