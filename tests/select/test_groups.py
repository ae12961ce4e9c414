"""Bins: what their particles are compared with."""

from __future__ import annotations

import numpy as np
import pytest

from cryocore.geometry.symmetry import point_group
from cryocore.select.groups import defocus_bins, normalised, shrunk_means, view_bins, view_nside

CELL = np.repeat([0, 1, 2], [5, 20, 175])


def test_means_are_drawn_to_that_of_all_as_by_twenty_particles() -> None:
    values = np.where(CELL < 2, 1.0, 0.0)  # 25 of 200: an eighth
    found = shrunk_means(values, CELL)
    np.testing.assert_allclose(found[CELL == 0], 0.2 * 1.0 + 0.8 / 8, rtol=1e-12)
    np.testing.assert_allclose(found[CELL == 1], 0.5 * 1.0 + 0.5 / 8, rtol=1e-12)
    np.testing.assert_allclose(found[CELL == 2], (20 / 195) / 8, rtol=1e-12)


def test_scores_are_compared_with_a_cell_of_twenty_and_with_all_alike() -> None:
    """Bins about 0, but that of twenty about 8 and three times as wide."""
    rng = np.random.default_rng(0)
    scores = np.where(CELL == 1, 8.0, 0.0) + np.where(CELL == 1, 3.0, 1.0) * rng.normal(size=200)

    def centre_and_spread(values: np.ndarray) -> tuple[float, float]:
        return float(np.median(values)), 1.4826 * float(np.median(np.abs(values - np.median(values))))

    (own, own_spread), (middle, spread) = centre_and_spread(scores[CELL == 1]), centre_and_spread(scores)
    expected = (scores - 0.5 * (own + middle)) / np.sqrt(0.5 * (own_spread**2 + spread**2))
    np.testing.assert_allclose(normalised(scores, CELL)[CELL == 1], expected[CELL == 1], rtol=1e-12)
    np.testing.assert_allclose(normalised(1e-3 * scores, CELL), normalised(scores, CELL), rtol=1e-9)
    np.testing.assert_allclose(normalised(np.full(200, 3.0), CELL), 0.0, atol=1e-12)


@pytest.mark.parametrize(("n", "ranges"), [(49, 1), (99, 1), (100, 2), (249, 4), (1000, 20), (5000, 20)])
def test_ranges_of_defocus_hold_fifty_particles_or_more(n: int, ranges: int) -> None:
    bin_index = defocus_bins(np.random.default_rng(n).normal(15000.0, 3000.0, n))
    count = np.bincount(bin_index)
    assert len(count) == ranges
    assert np.ptp(count) <= 1


@pytest.mark.parametrize("symmetry", ["C1", "D7"])
def test_cells_of_views_hold_fifty_particles_and_symmetry_equivalents_or_more(symmetry: str) -> None:
    group = point_group(symmetry)
    for side, finer in ((1, 2), (2, 4), (4, 8), (8, 16)):
        most = int(np.ceil(12 * finer**2 * 50 / len(group))) - 1
        assert (view_nside(most, group), view_nside(most + 1, group)) == (side, finer)
    assert view_nside(10**7, group) == 16


@pytest.mark.parametrize("symmetry", ["C1", "D2"])
def test_a_last_bit_does_not_decide_on_the_cell_of_a_view(symmetry: str) -> None:
    """Views on the borders of bins: meridians 45 degrees apart, at the equator and where the caps begin."""
    height, turn = (v.ravel() for v in np.meshgrid([-2 / 3, 0.0, 2 / 3], np.arange(8) * np.pi / 4))
    across = np.sqrt(1.0 - height**2)
    views = np.stack([across * np.cos(turn), across * np.sin(turn), height], axis=1)
    moved = views + 1e-14 * np.random.default_rng(0).normal(size=views.shape)
    group = point_group(symmetry)
    np.testing.assert_array_equal(view_bins(moved, group).bin_index, view_bins(views, group).bin_index)
