"""Warnings where a selection removes a view or a micrograph or makes views less even, and silence where it does not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cryocore.errors import InputError
from cryocore.explore.orientation.diagnosis import Orientation, orientation, sampling_change
from cryocore.explore.orientation.figures import orientation_figure
from cryocore.explore.orientation.removed import removed
from cryocore.figures.look import save
from cryocore.geometry.symmetry import point_group
from cryocore.tables.io import write_table

N = 4000
C1 = np.eye(3)[None]


def views(n: int, rng: np.random.Generator, squeeze: float = 0.5) -> np.ndarray:
    """Directions, fewer of them along z."""
    directions = rng.normal(size=(n, 3)) * (1.0, 1.0, squeeze)
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


def log(folder: Path, directions: np.ndarray, kept: np.ndarray, *, symmetry: str = "C1", flags=None) -> Path:
    """A log of two rounds, all particles and those kept."""
    n = len(directions)
    for number, selected in enumerate((np.ones(n, dtype=bool), kept)):
        columns = {
            "particle_id": pa.array(np.arange(1, n + 1, dtype=np.uint64)),
            "half": pa.array((1 + np.arange(n) % 2).astype(np.int8)),
            "micrograph": pa.array([f"m{i % 50:02d}.mrc" for i in range(n)]),
            **{f"view_{c}": pa.array(directions[:, i].astype(np.float32)) for i, c in enumerate("xyz")},
            "weight": pa.array(selected.astype(np.float32)),
        }
        if flags is not None:
            columns["is_correct"] = pa.array(flags)
        write_table(folder / "log" / f"round={number}" / "log.parquet", pa.table(columns), symmetry=symmetry)
    return folder


def test_random_removal_is_silent_and_says_so(tmp_path):
    rng = np.random.default_rng(0)
    found = orientation(log(tmp_path, views(N, rng), rng.random(N) < 0.5))
    assert found.warnings == ()
    assert found.text.startswith("The selection does not worsen anisotropy.")
    assert found.cones is None
    assert found.removed_views == found.removed_micrographs == ()


def test_a_removed_view_is_named(tmp_path):
    rng = np.random.default_rng(1)
    directions = views(N, rng)
    kept = (rng.random(N) < 0.6) & (np.abs(directions[:, 2]) < np.cos(np.deg2rad(40)))
    found = orientation(log(tmp_path, directions, kept))
    assert found.removed_views
    assert any("view" in w and "removed" in w for w in found.warnings)
    assert any("less even" in w for w in found.warnings)
    assert found.sampling.p_value < 0.01
    assert "worsens anisotropy, in its views" in found.text
    assert found.removed_micrographs == ()


def test_a_removed_micrograph_is_named(tmp_path):
    rng = np.random.default_rng(2)
    kept = (rng.random(N) < 0.6) & (np.arange(N) % 50 != 7)
    found = orientation(log(tmp_path, views(N, rng), kept))
    assert [r.name for r in found.removed_micrographs] == ["m07.mrc"]
    assert len(found.warnings) == 1
    assert "m07.mrc: 0 of 80" in found.warnings[0]


def test_wrong_poses_may_go_although_they_made_views_even(tmp_path):
    """Correct particles prefer a belt, wrong poses lie anywhere: what is left is less even, and should be."""
    rng = np.random.default_rng(3)
    correct = rng.random(N) < 0.6
    directions = np.where(correct[:, None], views(N, rng, 0.1), views(N, rng, 1.0))
    blind = orientation(log(tmp_path / "blind", directions, correct))
    known = orientation(log(tmp_path / "known", directions, correct, flags=correct))
    assert known.sampling.after.factor < known.sampling.before.factor - 0.05
    assert any("less even" in w for w in blind.warnings)
    assert known.warnings == ()
    assert "leaving them out shows it" in known.text


def test_views_are_scored_modulo_the_point_group(tmp_path):
    """One symmetry equivalent of a view is removed: under the group the view is there still."""
    rng = np.random.default_rng(4)
    group = point_group("C4")
    directions = views(N, rng)
    corner = (directions[:, 0] > 0.5) & (np.abs(directions[:, 1]) < 0.5)
    found = [orientation(log(tmp_path / name, directions, ~corner, symmetry=name)) for name in ("C1", "C4")]
    assert found[0].removed_views
    assert found[1].removed_views == ()
    assert len(group) == 4


def test_false_alarms_of_evenness_are_five_in_a_hundred_or_fewer():
    rng = np.random.default_rng(5)
    p_values, alarms = [], 0
    for seed in range(20):
        kept = (rng.random(800) < 0.5).astype(np.float32)
        found = sampling_change(views(800, rng), C1, np.ones(800, np.float32), kept, seed=seed)
        p_values.append(found.p_value)
        alarms += found.p_value < 0.05 and found.after.factor < found.by_chance - 0.02
    assert np.mean(np.array(p_values) < 0.05) <= 0.15
    assert 0.3 < np.mean(p_values) < 0.7
    assert alarms <= 1


def test_false_alarms_of_removed_groups_are_rare():
    rng = np.random.default_rng(6)
    alarms = 0
    for _ in range(300):
        bin_index = rng.integers(100, size=2000)
        alarms += bool(removed(bin_index, [str(i) for i in range(100)], (rng.random(2000) < 0.4).astype(float)))
    assert alarms / 300 < 0.05


def test_soft_weights_count_as_far_as_they_go():
    rng = np.random.default_rng(7)
    bin_index = np.repeat(np.arange(40), 50)
    weights = rng.uniform(0.2, 1.0, 2000)
    assert removed(bin_index, [str(i) for i in range(40)], weights) == ()
    weights[bin_index == 3] *= 0.1
    assert [r.name for r in removed(bin_index, [str(i) for i in range(40)], weights)] == ["3"]


@pytest.fixture(scope="module")
def with_maps(make_run, tmp_path_factory) -> Orientation:
    run = make_run(tmp_path_factory.mktemp("run"), n_rounds=1)
    for r in range(2):
        run.validate(r)
    return orientation(run.folder)


def test_maps_of_a_run_are_compared(with_maps):
    assert with_maps.cones is not None
    values = json.loads(json.dumps(with_maps.as_dict()))
    directional = values["directional_fsc"]
    assert 0 < directional["after"]["fsc_area_ratio"] <= 1
    assert (
        directional["after"]["best_direction_resolution_angstrom"]
        <= (directional["after"]["worst_direction_resolution_angstrom"])
    )
    assert "Directional FSC" in with_maps.text


def test_the_same_seed_gives_the_same_answer(tmp_path):
    rng = np.random.default_rng(8)
    folder = log(tmp_path, views(N, rng), rng.random(N) < 0.5)
    assert orientation(folder, seed=3).as_dict() == orientation(folder, seed=3).as_dict()


def test_the_figure_has_its_panels(with_maps, tmp_path):
    figure = orientation_figure(with_maps)
    assert sum(axes.name == "mollweide" for axes in figure.axes) == 4
    save(figure, tmp_path / "orientation.png")
    assert (tmp_path / "orientation.png").stat().st_size > 20_000


def test_a_log_without_views_is_refused(tmp_path):
    table = pa.table({"particle_id": pa.array([1, 2], pa.uint64()), "half": pa.array([1, 2], pa.int8())})
    write_table(tmp_path / "log.parquet", table)
    with pytest.raises(InputError, match="no viewing directions"):
        orientation(tmp_path / "log.parquet")
