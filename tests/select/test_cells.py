"""Cells: what their particles are compared with."""

from __future__ import annotations

import numpy as np

from cryocore.select.cells import normalised, shrunk_means

CELL = np.repeat([0, 1, 2], [5, 20, 175])


def test_means_are_drawn_to_that_of_all_as_by_twenty_particles() -> None:
    values = np.where(CELL < 2, 1.0, 0.0)  # 25 of 200: an eighth
    found = shrunk_means(values, CELL)
    np.testing.assert_allclose(found[CELL == 0], 0.2 * 1.0 + 0.8 / 8, rtol=1e-12)
    np.testing.assert_allclose(found[CELL == 1], 0.5 * 1.0 + 0.5 / 8, rtol=1e-12)
    np.testing.assert_allclose(found[CELL == 2], (20 / 195) / 8, rtol=1e-12)


def test_scores_are_compared_with_a_cell_of_twenty_and_with_all_alike() -> None:
    """Cells about 0, but that of twenty about 8 and three times as wide."""
    rng = np.random.default_rng(0)
    scores = np.where(CELL == 1, 8.0, 0.0) + np.where(CELL == 1, 3.0, 1.0) * rng.normal(size=200)

    def centre_and_spread(values: np.ndarray) -> tuple[float, float]:
        return float(np.median(values)), 1.4826 * float(np.median(np.abs(values - np.median(values))))

    (own, own_spread), (middle, spread) = centre_and_spread(scores[CELL == 1]), centre_and_spread(scores)
    expected = (scores - 0.5 * (own + middle)) / np.sqrt(0.5 * (own_spread**2 + spread**2))
    np.testing.assert_allclose(normalised(scores, CELL)[CELL == 1], expected[CELL == 1], rtol=1e-12)
