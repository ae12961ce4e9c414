"""Surfaces, views and the words of the verdict."""

from __future__ import annotations

import numpy as np
import pytest

from cryocore.geometry.symmetry import point_group
from cryocore.maps import soft_ball
from cryocore.validate.surfaces import crop_to, enlarge, shaded_surface, surface_level, turned
from cryocore.validate.verdict import verdict, warnings
from cryocore.validate.views import cell_counts, lost, nside_for, sphere_image


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
    counts = cell_counts(views, 4, group)
    assert len(counts) == 192 and counts.sum() == 500 * 14
    np.testing.assert_array_equal(counts, cell_counts(views @ group[5], 4, group))


def test_lost_views():
    everything = np.array([100, 100, 100, 4, 0])
    kept = np.array([80, 75, 10, 0, 0])
    assert lost(everything, kept).tolist() == [False, False, True, False, False]
    assert not lost(everything, np.zeros(5, dtype=int)).any()


def test_sphere_image_shows_the_poles_and_the_equator():
    views = np.array([[0, 0, 1.0]] * 3 + [[np.cos(0.2), np.sin(0.2), 0.0]] * 2)
    longitude, latitude, values = sphere_image(cell_counts(views, 4).astype(float), 4)
    assert longitude.shape == latitude.shape == (182, 363) and values.shape == (181, 362)
    assert values[-1].max() == 3 and values[0].max() == 0
    column = int((0.2 + np.pi) / (2 * np.pi) * 362)
    assert values[90, column] == 2 and values[90, 0] == 0


def test_resolution_of_cells():
    assert [nside_for(n) for n in (10, 6_000, 10**7)] == [2, 4, 16]


BASE = {
    "round": 0, "n_kept": 1000, "n_particles": 1000, "n_kept_half1": 500, "n_kept_half2": 500, "score": "dual",
    "n_unscored": 0, "resolution_angstrom": 8.0, "nyquist_angstrom": 4.0, "box": 64, "pixel_size_angstrom": 2.0,
    "correct_rate": 0.7, "auc": 0.9, "fsc_truth_area": 0.6, "fsc_area": 0.5, "error_rate": None,
}  # fmt: skip


def sentences(last, *, n_rounds=1, views=0, micrographs=0):
    return warnings(
        [BASE, {**BASE, "round": 1, **last}], n_rounds=n_rounds, lost_views=views, lost_micrographs=micrographs
    )


@pytest.mark.parametrize(
    "last, others, expected",
    [
        ({}, {}, None),
        ({"resolution_angstrom": 7.0, "correct_rate": 0.95}, {}, None),
        ({"resolution_angstrom": 9.0}, {}, "Resolution got worse: 8.00 Å in round 0, 9.00 Å in round 1"),
        ({"resolution_angstrom": 4.05}, {}, "Nyquist"),
        ({"correct_rate": 0.6}, {}, "right less often"),
        ({"auc": 0.55}, {}, "hardly tells"),
        ({"fsc_truth_area": 0.5}, {}, "moved away from the true one: FSC area 0.600 → 0.500"),
        ({"n_kept_half1": 800, "n_kept_half2": 200}, {}, "uneven: 800 and 200"),
        ({"n_unscored": 3}, {}, "3 particles have no dual score"),
        ({}, {"n_rounds": 4}, "asks for 4 rounds"),
        ({}, {"views": 2}, "2 of the viewing directions lost"),
        ({}, {"micrographs": 5}, "5 micrographs lost"),
        ({"correct_rate": None, "auc": None, "fsc_truth_area": None}, {}, None),
    ],
)
def test_warnings(last, others, expected):
    found = sentences(last, **others)
    if expected is None:
        assert found == []
    else:
        assert len(found) == 1 and expected in found[0]


RATE = {"value": 0.1, "low": 0.08, "high": 0.12, "second_opinion": 0.1, "method": "mixture", "note": ""}


@pytest.mark.parametrize(
    "kept, rate, expected",
    [
        (900, RATE, None),
        (700, RATE, "drops 30 % of the particles, where 10 % (8 to 12) are estimated to be wrong"),
        (900, {**RATE, "note": "the model does not fit"}, "The error rate is doubtful: the model does not fit."),
    ],
)
def test_more_is_dropped_than_is_wrong(kept, rate, expected):
    rounds = [{**BASE, "error_rate": rate}, {**BASE, "round": 1, "n_kept": kept}]
    found = warnings(rounds, n_rounds=1, lost_views=0, lost_micrographs=0)
    assert (found == []) if expected is None else (len(found) == 1 and expected in found[0])


def test_an_earlier_round_was_better():
    best = {**BASE, "round": 1, "resolution_angstrom": 6.0, "fsc_area": 0.52}
    rounds = [BASE, best, {**BASE, "round": 2, "resolution_angstrom": 7.9}]
    found = warnings(rounds, n_rounds=2, lost_views=0, lost_micrographs=0)
    assert len(found) == 1 and "Round 1 reached 6.00 Å" in found[0]
    rounds[1]["fsc_area"] = 0.49
    assert warnings(rounds, n_rounds=2, lost_views=0, lost_micrographs=0) == [], "one shell by chance"


def test_verdict():
    last = {**BASE, "n_kept": 680, "resolution_angstrom": 7.25, "correct_rate": 0.985, "auc": 0.97}
    sentence = "Kept 680 of 1,000 particles (68 %); resolution 8.00 → 7.25 Å; correct rate 70.0 → 98.5 %; AUC 0.970."
    assert verdict(BASE, last).replace("\xa0", " ") == sentence
    blind = {**last, "correct_rate": None, "auc": None}
    assert verdict(BASE, blind).replace("\xa0", " ") == "Kept 680 of 1,000 particles (68 %); resolution 8.00 → 7.25 Å."
