"""Nuisances of simulated particles: what is asked for is there, and nothing else changes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from scipy.stats import t as student

from cryocore.backend import get_backend
from cryocore.config.plant import PlantedErrors
from cryocore.config.simulate import Simulate
from cryocore.formats.stacks import read_images
from cryocore.formats.star import read_star
from cryocore.geometry.rotations import angular_distance_deg, random_rotations
from cryocore.simulate.nuisances import JITTER_FREEDOM, at_the_edge, beads, with_jitter
from cryocore.simulate.stage import simulate
from cryocore.types import Bools, Floats

N, BOX = 150, 32
PLANT = PlantedErrors(wrong_pose=0.2, junk=0.1)


@dataclass(frozen=True)
class Made:
    """A simulated data set: its images ``(n, d, d)``, the STAR file's rows and text, the kinds of error ``(n,)``."""

    images: Floats
    rows: pd.DataFrame
    text: str
    kinds: Any

    def changed(self, other: Made) -> Bools:
        """Which images differ from those of another data set, ``(n,)``."""
        return np.any(self.images != other.images, axis=(1, 2))


def make(folder: Path, **settings: Any) -> Made:
    shape = {"molecule": "small", "n_particles": N, "box": BOX, "pixel_size_angstrom": 5.0, "n_micrographs": 10}
    made = Simulate.model_validate({**shape, "snr": 0.5, **settings})
    simulate(made, PLANT, symmetry="C1", seed=4, out_dir=folder, backend=get_backend("cpu"))
    star = folder / "particles.star"
    truth = pq.read_table(folder / "truth.parquet")
    kinds = truth["error_kind"].to_numpy()
    assert (truth["is_correct"].to_numpy() == (kinds == "none")).all()
    images = np.asarray(read_images(folder / "particles.mrcs"), dtype=np.float64)
    return Made(images, read_star(star).particles, star.read_text(), kinds)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A data set without nuisances."""
    return make(tmp_path_factory.mktemp("plain"))


def test_without_nuisances_nothing_is_drawn(plain: Made, tmp_path: Path) -> None:
    zero = dict.fromkeys(("weak", "neighbours", "beads", "pose_jitter_deg", "wrong_defocus"), 0.0)
    again = make(tmp_path, **zero, bead_contrast=3.0)
    assert again.text == plain.text and not again.changed(plain).any()


def test_weak_particles_are_correct_ones_with_less_signal(plain: Made, tmp_path: Path) -> None:
    found = make(tmp_path, weak=0.4)
    weak = found.changed(plain)
    assert weak.sum() == round(0.4 * (found.kinds == "none").sum())
    assert (found.kinds[weak] == "none").all() and (found.kinds == plain.kinds).all()
    assert found.text == plain.text
    # what is taken away is the signal alone: 0.7 of it, of which the rest is 3/7
    lost = plain.images[weak] - found.images[weak]
    share = (found.images[weak] * lost).sum() / (lost**2).sum()
    assert share == pytest.approx(3 / 7, abs=0.1)


def test_neighbours_stand_at_the_edge_of_their_share(plain: Made, tmp_path: Path) -> None:
    found = make(tmp_path, neighbours=0.3)
    there = found.changed(plain)
    assert there.sum() == round(0.3 * N)
    assert found.text == plain.text and (found.kinds == plain.kinds).all()
    extra = (found.images - plain.images)[there]
    y, x = np.mgrid[:BOX, :BOX] - BOX // 2
    far = np.hypot(y, x) > 0.3 * BOX
    power = (extra**2).mean(axis=0)
    assert power[far].mean() > 5 * power[np.hypot(y, x) < 0.15 * BOX].mean()


def test_an_image_moves_without_coming_back_on_the_other_side() -> None:
    images = np.zeros((200, BOX, BOX), dtype=np.float32)
    images[:, BOX // 2, BOX // 2] = 1.0
    images[:, 3, 3] = 5.0
    moved = at_the_edge(images, np.random.default_rng(0))
    at = np.argwhere(moved == 1.0)
    distance = np.hypot(*(at[:, 1:] - BOX // 2).T) / BOX
    assert 0.33 < distance.min() < distance.max() < 0.5 * np.sqrt(2)
    # a centre further than half a box along an axis lies outside
    assert 0.6 * len(images) < len(at) < len(images)
    corner = np.argwhere(moved == 5.0)
    assert (corner[:, 1:].max(axis=1) >= 3).all() and len(corner) < 0.5 * len(images)


def test_beads_are_discs_of_the_wanted_size_anywhere(plain: Made, tmp_path: Path) -> None:
    found = make(tmp_path, beads=0.2, bead_angstrom=40.0, bead_contrast=-6.0)
    there = found.changed(plain)
    assert there.sum() == round(0.2 * N) and found.text == plain.text
    extra = (found.images - plain.images)[there]
    assert extra.min() == pytest.approx(-6.0, abs=1e-5) and extra.max() < 1e-5
    drawn = beads(500, Simulate(box=BOX, pixel_size_angstrom=5.0, bead_angstrom=40.0), np.random.default_rng(1))
    whole = drawn[(drawn[:, [0, -1]].max(axis=(1, 2)) == 0) & (drawn[:, :, [0, -1]].max(axis=(1, 2)) == 0)]
    area = whole.sum(axis=(1, 2)) / 10.0
    assert area.mean() == pytest.approx(np.pi * 4.0**2, rel=0.03)
    centre = (drawn * np.arange(BOX)).sum(axis=(1, 2)) / drawn.sum(axis=(1, 2))
    assert np.histogram(centre, bins=4, range=(0, BOX))[0].min() > 80


def test_poses_are_inexact_with_a_heavy_tail(plain: Made, tmp_path: Path) -> None:
    found = make(tmp_path, pose_jitter_deg=2.0)
    assert not found.changed(plain).any()
    turned = np.any(found.rows.filter(like="rlnAngle") != plain.rows.filter(like="rlnAngle"), axis=1).to_numpy()
    assert (turned == (plain.kinds == "none")).all()
    assert set(found.kinds[turned]) == {"none", "local_pose"}

    rng = np.random.default_rng(2)
    kinds, rotations = np.full(20_000, "none", dtype="<U11"), random_rotations(20_000, rng)
    kinds[:5000] = "wrong_pose"
    new_kinds, jittered = with_jitter(kinds, rotations, Simulate(pose_jitter_deg=1.5), PLANT, rng)
    angle = angular_distance_deg(rotations, jittered)
    assert angle[:5000].max() < 1e-4
    quantiles = np.quantile(angle[5000:], [0.5, 0.9, 0.99])
    np.testing.assert_allclose(quantiles, 1.5 * student.ppf([0.75, 0.95, 0.995], JITTER_FREEDOM), rtol=0.1)
    np.testing.assert_array_equal(new_kinds[5000:] == "local_pose", angle[5000:] > PLANT.local_angle_deg[0])
    assert (new_kinds[:5000] == "wrong_pose").all()


def test_whole_micrographs_have_a_wrong_defocus(plain: Made, tmp_path: Path) -> None:
    found = make(tmp_path, wrong_defocus=0.3)
    assert not found.changed(plain).any()
    error = (found.rows["rlnDefocusU"].astype(float) - plain.rows["rlnDefocusU"].astype(float)).to_numpy()
    by_micrograph = pd.Series(error).groupby(plain.rows["rlnMicrographName"].to_numpy())
    assert by_micrograph.std().max() < 1e-3
    off = by_micrograph.mean()
    assert (off > 1.0).sum() == 3 and off[off > 1.0].between(3000.0, 8000.0).all()
    wrong = error > 1.0
    assert (found.kinds[wrong & (plain.kinds == "none")] == "wrong_defocus").all()
    assert (found.kinds[~wrong] == plain.kinds[~wrong]).all()
    assert (found.kinds[plain.kinds != "none"] == plain.kinds[plain.kinds != "none"]).all()


def test_what_is_recorded_wrongly_changes_no_image(tmp_path: Path) -> None:
    """Nor which particles are weak, though fewer are correct."""
    images = {"weak": 0.4, "neighbours": 0.2, "beads": 0.1}
    one = make(tmp_path / "a", **images)
    two = make(tmp_path / "b", **images, pose_jitter_deg=3.0, wrong_defocus=0.3)
    assert (two.kinds != one.kinds).any() and not two.changed(one).any()


def test_the_same_seed_plants_the_same(tmp_path: Path) -> None:
    every = {"weak": 0.2, "neighbours": 0.2, "beads": 0.2, "pose_jitter_deg": 1.0, "wrong_defocus": 0.2}
    one, two = (make(tmp_path / name, **every) for name in "ab")
    assert one.text == two.text and not one.changed(two).any()
