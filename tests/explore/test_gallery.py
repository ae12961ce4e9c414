"""Particles to look at: which are drawn, and what is drawn of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from typer.testing import CliRunner

from cryocore.backend import get_backend
from cryocore.commands.app import app
from cryocore.config.plant import PlantedErrors
from cryocore.explore.gallery import Seen, captions, groups, low_passed, pictures, strips, write_gallery
from cryocore.explore.left_out import TITLES
from cryocore.log.rounds import open_round
from cryocore.statistics import posterior
from cryocore.tables.io import read_table
from tests.score.simulated import logged, simulated

IDS = np.random.default_rng(0).permutation(1000).astype(np.uint64)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    folder = tmp_path_factory.mktemp("gallery")
    simulated(folder, PlantedErrors(wrong_pose=0.2, junk=0.1), box=32, n_particles=300, snr=2.0, n_micrographs=20)
    logged(folder)
    log = open_round(folder / "scores.parquet")
    return Seen.of(log, folder / "particles.parquet", folder / "round", None, get_backend("cpu"), seed=0)


def log_of(reason: list[str | None], odds: np.ndarray) -> pa.Table:
    selected = [r is None or r == "view_guard" for r in reason]
    return pa.table(
        {"selected": selected, "reason": pa.array(reason).dictionary_encode(), "mixture": odds.astype(np.float32)}
    )


def test_every_group_has_its_own_particles() -> None:
    kinds = [None, "orientation", "junk of a later version", "view_guard", "spoilt"]
    reason = [kinds[i % 5] for i in range(1000)]
    odds = np.linspace(-6.0, 6.0, 1000)
    found = {name: (n, rows) for name, n, rows in groups(log_of(reason, odds), IDS, 8, seed=3)}
    assert [*found] == ["selected", "borderline", "orientation", "spoilt", "view_guard", "unknown"]
    for name, at in (("selected", 0), ("orientation", 1), ("unknown", 2), ("view_guard", 3), ("spoilt", 4)):
        n, rows = found[name]
        assert n == 200 and len(rows) == 8 and np.all(rows % 5 == at)
    n, rows = found["borderline"]
    assert np.abs(odds[rows]).max() < 0.06 and n == np.count_nonzero(np.abs(odds) < np.log(3.0))


def test_any_order_of_rows_draws_the_same_particles() -> None:
    reason = [None if i % 3 else "orientation" for i in range(1000)]
    odds = np.random.default_rng(1).normal(size=1000)
    order = np.random.default_rng(2).permutation(1000)
    one = groups(log_of(reason, odds), IDS, 8, seed=3)
    other = groups(log_of([reason[i] for i in order], odds[order]), IDS[order], 8, seed=3)
    for (name, n, rows), (name_2, n_2, rows_2) in zip(one, other, strict=True):
        assert (name, n) == (name_2, n_2) and {*IDS[rows]} == {*IDS[order][rows_2]}


def test_selected_images_look_like_their_predictions_and_wrong_ones_do_not(seen: Seen) -> None:
    """At an SNR of 2, correlation of low-passed image and prediction."""
    panels = pictures(seen, np.arange(300))
    likely = posterior(seen.log.values("mixture").astype(np.float64))
    assert all(values.shape == (300, 32, 32) for values in panels.values())
    image, predicted = (panels[name].reshape(300, -1) for name in ("low-passed", "prediction"))
    match = np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(image, predicted, strict=True)])
    assert np.median(match[likely > 0.5]) > 0.7
    assert np.median(match[likely < 0.5]) < 0.5
    np.testing.assert_allclose(panels["residual"], panels["low-passed"] - panels["prediction"], atol=1e-5)


def test_pictures_of_some_rows_are_those_of_all(seen: Seen) -> None:
    rows = np.array([3, 50, 299])
    whole, some = pictures(seen, np.arange(300)), pictures(seen, rows)
    for name, values in some.items():
        np.testing.assert_allclose(values, whole[name][rows], atol=1e-4)


def test_low_passed_images_keep_half_at_a_seventh_of_their_side() -> None:
    x = np.arange(56)
    wave = np.cos(2 * np.pi * 7 * x / 56)[None, None, :] * np.ones((1, 56, 1))
    np.testing.assert_allclose(low_passed(wave.astype(np.float32)), 0.5 * wave, atol=1e-5)


def test_what_is_written(seen: Seen, tmp_path: Path) -> None:
    """Pictures of groups that are not there any more go."""
    (tmp_path / "spoilt.png").write_bytes(b"old")
    found = strips(seen, 5)
    files = write_gallery(found, seen, tmp_path)
    assert {file.name for file in files} == {file.name for file in tmp_path.iterdir()}
    assert {s.name for s in found} <= {*TITLES} and found[0].name == "selected"
    table = read_table(tmp_path / "particles.parquet", ["particle_id", "group"])
    assert len(table) == sum(len(s.rows) for s in found)
    with Image.open(tmp_path / "selected.png") as picture:
        assert picture.width > picture.height > 400
    again = tmp_path / "again"
    write_gallery(strips(seen, 5), seen, again)
    assert (again / "selected.png").read_bytes() == (tmp_path / "selected.png").read_bytes()


def test_logs_that_say_little(seen: Seen) -> None:
    table = pa.table({"selected": [True, False]})
    found = groups(table, np.arange(2, dtype=np.uint64), 4, seed=0)
    assert [(name, n) for name, n, _ in found] == [("selected", 1), ("unknown", 1)]
    assert captions(table) == ["", ""]
    assert len(strips(replace(seen, seed=1), 1)) >= 2


def test_captions() -> None:
    table = pa.table(
        {
            "mixture": np.array([-8.0, 0.0, 9.0], dtype=np.float32),
            "defocus_u_angstrom": [10000.0] * 3,
            "defocus_v_angstrom": [11000.0] * 3,
            "micrograph": pa.array(["m/one.mrc", "a_very_long_name_of_a_micrograph.mrc", None]).dictionary_encode(),
        }
    )
    assert captions(table) == [
        "p < 0.01\n1.05 µm\none",
        "p = 0.50\n1.05 µm\n…ame_of_a_micrograph",
        "p > 0.99\n1.05 µm\n",
    ]


def test_as_many_as_a_picture_holds(tmp_path: Path) -> None:
    for each in ("0", "101"):
        refused = CliRunner().invoke(app, ["gallery", str(tmp_path), "--out", str(tmp_path / "out"), "--each", each])
        assert refused.exit_code == 2 and "--each" in refused.output
