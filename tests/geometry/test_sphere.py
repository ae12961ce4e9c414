"""Bins of views: their outlines, and directions sorted into them."""

from __future__ import annotations

import healpix
import numpy as np
import pytest

from cryocore.figures.views import mollweide
from cryocore.geometry.sphere import bin_counts, bin_outlines, spread_over
from cryocore.geometry.symmetry import point_group


def area(x: np.ndarray, y: np.ndarray) -> float:
    return abs(0.5 * float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)))


@pytest.mark.parametrize("nside", [1, 2, 4])
def test_outlines_hold_their_bin_and_have_its_area(nside: int) -> None:
    """A little inside of its outline every point lies in the bin; also where longitude ends, and at the poles."""
    outlines = bin_outlines(nside, per_edge=64)
    assert len(outlines) == 12 * nside**2
    for number, polygons in enumerate(outlines):
        total = 0.0
        for longitude, latitude in polygons:
            height = np.sin(latitude)
            total += area(longitude, height)
            inner, z = (v.mean() + 0.97 * (v - v.mean()) for v in (longitude, height))
            found = healpix.vec2pix(nside, np.sqrt(1 - z**2) * np.cos(inner), np.sqrt(1 - z**2) * np.sin(inner), z)
            assert np.mean(found == number) > 0.93
        assert total == pytest.approx(4 * np.pi / len(outlines), rel=1e-4)
    assert any(len(polygons) == 2 for polygons in outlines)


def test_cells_drawn_on_a_map_of_equal_area_are_equal() -> None:
    drawn = [sum(area(*mollweide(*p)) for p in polygons) for polygons in bin_outlines(2, per_edge=64)]
    np.testing.assert_allclose(drawn, 2 * np.pi / 48, rtol=2e-3)


def test_equivalent_directions_share_what_is_spread() -> None:
    directions = np.random.default_rng(0).normal(size=(50, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    group = point_group("D3")
    shares = spread_over(directions, 2, group)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    np.testing.assert_allclose(shares.sum(axis=0) * len(group), bin_counts(directions, 2, group))
