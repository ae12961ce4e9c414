"""Surfaces, views, and how figures are written."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from cryocore.figures.look import STYLE, save, style
from cryocore.geometry.sphere import bin_counts, nside_for, sphere_image
from cryocore.geometry.symmetry import point_group
from cryocore.maps import soft_ball
from cryocore.validate.surfaces import crop_to, enlarge, shaded_surface, surface_level, turned


@pytest.mark.parametrize("view, where", [("front", "zx"), ("side", "zy"), ("top", "yx")])
def test_views_are_turned_the_right_way(view, where):
    """A blob off the centre appears up and right of it, and nearer or farther as the view says."""
    volume = np.zeros((21, 21, 21), dtype=np.float32)
    x, y, z = 3, 5, 7
    volume[10 + z, 10 + y, 10 + x] = 1.0
    depth, up, right = (int(i[0]) - 10 for i in np.nonzero(turned(volume, view)))
    assert (up, right) == {"zx": (z, x), "zy": (z, y), "yx": (y, x)}[where]
    assert depth == {"front": y, "side": -x, "top": -z}[view]


def test_a_ball_is_lit_from_above_left():
    ball = soft_ball(64, 18, 4)
    picture = shaded_surface(ball, 0.5, "front").mean(axis=2)
    assert picture.shape == (64, 64)
    drawn = picture < 0.99
    radius = np.sqrt(drawn.sum() / np.pi)
    assert radius == pytest.approx(20, abs=1.0)
    assert picture[42, 22] > picture[22, 42] + 0.1
    empty = shaded_surface(ball, 2.0, "front")
    assert np.all(empty == 1.0)


@pytest.mark.parametrize("n, size", [(16, 40), (17, 40), (16, 41), (17, 17)])
def test_enlarging_keeps_values_and_the_origin(n, size):
    c = np.indices((n, n, n)) - n // 2
    small = np.exp(-np.sum((c - np.array([2, -1, 1])[:, None, None, None]) ** 2, axis=0) / 6.0).astype(np.float32)
    large = enlarge(small, size)
    assert large.shape == (size,) * 3
    assert large.max() == pytest.approx(1.0, abs=0.03)
    peak = np.array(np.unravel_index(large.argmax(), large.shape))
    expected = np.array([n // 2 + 2, n // 2 - 1, n // 2 + 1]) * size / n
    assert np.all(abs(peak - expected) <= 0.51)


def test_crop_and_level():
    mask = np.zeros((40, 40, 40), dtype=np.float32)
    mask[14:30, 15:20, 15:20] = 1.0
    cut = crop_to(mask, margin=2)
    assert cut[0] == slice(20 - 11, 20 + 12) and len(set(map(str, cut))) == 1
    volume = np.random.default_rng(0).random((40, 40, 40)).astype(np.float32) * mask
    assert np.mean(volume[mask > 0] > surface_level(volume, mask)) == pytest.approx(0.22, abs=0.01)


def test_cells_count_every_mate():
    views = np.random.default_rng(0).normal(size=(500, 3))
    views /= np.linalg.norm(views, axis=1, keepdims=True)
    group = point_group("D7")
    counts = bin_counts(views, 4, group)
    assert len(counts) == 192 and counts.sum() == 500 * 14
    np.testing.assert_array_equal(counts, bin_counts(views @ group[5], 4, group))


def test_sphere_image_shows_the_poles_and_the_equator():
    views = np.array([[0, 0, 1.0]] * 3 + [[np.cos(0.2), np.sin(0.2), 0.0]] * 2)
    longitude, latitude, values = sphere_image(bin_counts(views, 4).astype(float), 4)
    assert longitude.shape == latitude.shape == (182, 363) and values.shape == (181, 362)
    assert values[-1].max() == 3 and values[0].max() == 0
    column = int((0.2 + np.pi) / (2 * np.pi) * 362)
    assert values[90, column] == 2 and values[90, 0] == 0


def test_resolution_of_cells():
    assert [nside_for(n) for n in (10, 6_000, 10**7)] == [2, 4, 16]


@pytest.mark.parametrize("dpi", [None, 80])
def test_pictures_have_the_pixels_of_the_look_unless_others_are_asked_for(dpi, tmp_path):
    with style():
        figure = Figure(figsize=(2.0, 1.0))
    save(figure, tmp_path / "a.png", dpi=dpi)
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width == 2 * (dpi or STYLE["savefig.dpi"]) != 2 * STYLE["figure.dpi"]
