"""Planted errors: as many and as large as asked for, in the right rows, and nothing else touched."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from cryocore.config.plant import PlantedErrors
from cryocore.errors import InputError
from cryocore.formats.stacks import StackReader
from cryocore.formats.star import read_star
from cryocore.geometry.rotations import angular_distance_deg, random_rotations
from cryocore.ingest.particles import ingest
from cryocore.simulate.plant import assign_errors, perturb_poses, phase_randomised, plant, truth_table
from cryocore.tables.particles import Particles
from tests.ingest.samples import N, noise_images, old_columns, table, write_data_set

MIXED = PlantedErrors(wrong_pose=0.25, local_pose=0.125, wrong_shift=0.125, junk=0.25)


def load(star: Path) -> Particles:
    return ingest(star, root=None, pixel_size_angstrom=None, seed=0)


def test_counts_are_exact_and_places_random() -> None:
    settings = PlantedErrors(wrong_pose=0.3, local_pose=0.101, junk=0.2)
    kinds = assign_errors(1000, settings, np.random.default_rng(0))
    assert Counter(kinds.tolist()) == {"wrong_pose": 300, "local_pose": 101, "junk": 200, "none": 399}
    assert abs(np.flatnonzero(kinds == "junk").mean() - 500) < 60
    again = assign_errors(1000, settings, np.random.default_rng(0))
    np.testing.assert_array_equal(kinds, again)
    assert not np.array_equal(kinds, assign_errors(1000, settings, np.random.default_rng(1)))
    everything = assign_errors(7, PlantedErrors(wrong_pose=0.5, junk=0.5), np.random.default_rng(0))
    assert "none" not in everything or (everything == "none").sum() <= 1


def test_errors_are_as_large_as_asked_for() -> None:
    rng = np.random.default_rng(3)
    settings = PlantedErrors(
        wrong_pose=0.25, local_pose=0.25, wrong_shift=0.25, local_angle_deg=(5, 20), wrong_shift_angstrom=(10, 30)
    )
    kinds = assign_errors(8000, settings, rng)
    rotations, shifts = random_rotations(8000, rng), rng.normal(0, 3, (8000, 2))
    new_rotations, new_shifts = perturb_poses(kinds, rotations, shifts, settings, rng)
    angle = angular_distance_deg(rotations, new_rotations)
    moved = new_shifts - shifts
    distance = np.hypot(*moved.T)

    local, incorrect, shifted = kinds == "local_pose", kinds == "wrong_pose", kinds == "wrong_shift"
    assert 5 <= angle[local].min() < 5.2
    assert 19.8 < angle[local].max() <= 20.000001
    assert angle[local].mean() == pytest.approx(12.5, abs=0.3)
    # the angle of a uniform rotation has mean pi/2 + 2/pi
    assert angle[incorrect].mean() == pytest.approx(np.rad2deg(np.pi / 2 + 2 / np.pi), abs=2.5)
    assert np.abs(new_rotations[incorrect].mean(axis=0)).max() < 0.05
    assert angle[~local & ~incorrect].max() < 1e-4
    assert (distance[shifted].min() >= 10, distance[shifted].max() <= 30) == (True, True)
    assert distance[shifted].mean() == pytest.approx(20, abs=0.6)
    assert np.abs((moved[shifted] / distance[shifted, None]).mean(axis=0)).max() < 0.06
    assert not distance[~shifted].any()


def test_phase_randomised_images_keep_their_power() -> None:
    images = 3.0 + noise_images(5, 32)
    junk = phase_randomised(images, np.random.default_rng(9))
    np.testing.assert_allclose(np.abs(np.fft.fft2(junk)), np.abs(np.fft.fft2(images)), rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(junk.mean(axis=(1, 2)), images.mean(axis=(1, 2)), rtol=1e-5)
    correlation = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(images, junk, strict=True)]
    assert np.abs(correlation).max() < 0.12


def test_planting_into_a_star_file(tmp_path: Path) -> None:
    star, out = write_data_set(tmp_path / "data"), tmp_path / "results/run/planted"
    plant(star, MIXED, root=None, pixel_size_angstrom=None, seed=4, out_dir=out)
    before, after = load(star), load(out / "particles.star")
    truth = pq.read_table(out / "truth.parquet").to_pandas()
    kind = truth["error_kind"].to_numpy()
    assert Counter(kind) == {"none": 2, "wrong_pose": 2, "local_pose": 1, "wrong_shift": 1, "junk": 2}
    assert truth["is_correct"].tolist() == (kind == "none").tolist()
    np.testing.assert_array_equal(truth["particle_id"], after.ids)
    np.testing.assert_allclose(truth[[f"quat_{c}" for c in "wxyz"]], before.quaternions, atol=1e-12)
    np.testing.assert_array_equal(truth[["shift_x_angstrom", "shift_y_angstrom"]], before.shifts_angstrom)

    angle = angular_distance_deg(before.rotations, after.rotations)
    distance = np.hypot(*(after.shifts_angstrom - before.shifts_angstrom).T)
    assert angle[kind == "wrong_pose"].min() > 3
    assert 5 <= angle[kind == "local_pose"][0] <= 20
    assert 10 <= distance[kind == "wrong_shift"][0] <= 30
    assert angle[(kind != "wrong_pose") & (kind != "local_pose")].max() < 1e-5
    assert distance[kind != "wrong_shift"].max() == 0

    images, rows = noise_images(), np.flatnonzero(kind == "junk")
    with StackReader(after) as reader:
        found = reader.read(np.arange(N))
    np.testing.assert_array_equal(found[kind != "junk"], images[kind != "junk"])
    np.testing.assert_allclose(
        np.abs(np.fft.fft2(found[rows])), np.abs(np.fft.fft2(images[rows])), rtol=1e-3, atol=1e-3
    )
    assert np.abs(found[rows] - images[rows]).max() > 0.5
    assert_only_the_right_values_change(star, out / "particles.star", kind)


def assert_only_the_right_values_change(star: Path, planted: Path, kind: np.ndarray) -> None:
    old, new = star.read_text().splitlines(), planted.read_text().splitlines()
    assert all(line.startswith("# image paths start from ") for line in new[:2])
    new = [line for line in new if not line.startswith("_cryocoreParticleId")]  # a further column, beside junk
    labels = read_star(star).particles.columns.tolist()
    touched = {
        "none": set(),
        "wrong_pose": {"rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"},
        "local_pose": {"rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"},
        "wrong_shift": {"rlnOriginXAngst", "rlnOriginYAngst"},
        "junk": {"rlnImageName"},
    }
    rows = {line - 1: i for i, line in enumerate(read_star(star).lines)}
    for number, (a, b) in enumerate(zip(old, new[2:], strict=True)):
        first, second = a.split(" "), b.split(" ")
        if number in rows:
            assert second.pop().isdecimal()
        changed = {labels[i] for i, (x, y) in enumerate(zip(first, second, strict=True)) if x != y}
        assert changed == (touched[kind[rows[number]]] if number in rows else set())


def test_planting_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    star, out = write_data_set(tmp_path), tmp_path / "planted"
    found = []
    for seed in (1, 1, 2):
        plant(star, MIXED, root=None, pixel_size_angstrom=None, seed=seed, out_dir=out)
        found.append([(out / n).read_bytes() for n in ("particles.star", "truth.parquet", "junk.mrcs")])
    assert found[0] == found[1]
    assert all(a != b for a, b in zip(found[0], found[2], strict=True))


def test_where_junk_is_written_decides_nothing(tmp_path: Path) -> None:
    """Ids, and what is drawn by them, are those of the particles, not of the folder of the run."""
    star = write_data_set(tmp_path)
    found = []
    for run in ("a", "another name"):
        plant(star, MIXED, root=None, pixel_size_angstrom=None, seed=1, out_dir=tmp_path / run)
        found.append(load(tmp_path / run / "particles.star"))
        assert (read_ids(tmp_path / run / "truth.parquet") == found[-1].ids).all()
    assert (found[0].ids == found[1].ids).all()
    assert (found[0].column("half") == found[1].column("half")).all()
    kept = load(star).ids == found[0].ids
    assert kept.sum() == N - 2  # a quarter is junk: other images, other ids


def read_ids(truth: Path) -> np.ndarray:
    return pq.read_table(truth)["particle_id"].to_numpy()


def test_origins_in_pixels_and_without_columns(tmp_path: Path) -> None:
    star, out = write_data_set(tmp_path), tmp_path / "planted"
    settings = PlantedErrors(wrong_shift=0.5)
    none = old_columns()
    del none["rlnOriginX"], none["rlnOriginY"]
    for columns in (old_columns(), none):
        star.write_text(table("images", columns))
        plant(star, settings, root=None, pixel_size_angstrom=2.5, seed=0, out_dir=out)
        read = {"root": None, "pixel_size_angstrom": 2.5, "seed": 0}
        distance = np.hypot(
            *(
                ingest(out / "particles.star", **read).shifts_angstrom - ingest(star, **read).shifts_angstrom  # type: ignore[arg-type]
            ).T
        )
        assert (distance > 9.99).sum() == 4
        assert (distance < 1e-6).sum() == 4
        assert distance.max() < 30.01


def test_a_rate_that_makes_nothing_is_refused(tmp_path: Path) -> None:
    star = write_data_set(tmp_path)
    with pytest.raises(InputError, match=r"a rate of 0\.01 makes none of its 8 particles junk"):
        plant(star, PlantedErrors(junk=0.01), root=None, pixel_size_angstrom=None, seed=0, out_dir=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name",
    [
        "aspire17/sample_particles_relion30.star",
        "aspire17/sample_particles_relion31.star",
        "ribosome_tilts219/sta_testing_bin8.star",
    ],
)
def test_planting_into_real_data(shared_data: Path, tmp_path: Path, name: str) -> None:
    star = shared_data / "particles" / name
    settings = PlantedErrors(wrong_pose=0.3, junk=0.1)
    plant(star, settings, root=None, pixel_size_angstrom=None, seed=0, out_dir=tmp_path)
    before, after = load(star), load(tmp_path / "particles.star")
    truth = pq.read_table(tmp_path / "truth.parquet")
    np.testing.assert_array_equal(truth["particle_id"].to_numpy(), after.ids)
    n = len(before)
    kind = truth["error_kind"].to_numpy()
    assert Counter(kind)["wrong_pose"] == round(0.3 * n)
    same = angular_distance_deg(before.rotations, after.rotations) < 1e-4
    np.testing.assert_array_equal(same, kind != "wrong_pose")
    np.testing.assert_array_equal(before.ids == after.ids, kind != "junk")
    np.testing.assert_array_equal(before.shifts_angstrom, after.shifts_angstrom)


def test_truth_table() -> None:
    ids = np.array([3, 2**64 - 1], dtype=np.uint64)
    rotations = random_rotations(2, np.random.default_rng(0))
    truth = truth_table(ids, np.array(["none", "junk"]), rotations, np.array([[1.0, 2.0], [3.0, 4.0]]))
    assert truth.column_names == [
        "particle_id",
        "is_correct",
        "error_kind",
        *(f"quat_{c}" for c in "wxyz"),
        "shift_x_angstrom",
        "shift_y_angstrom",
    ]
    assert truth["particle_id"].to_pylist() == [3, 2**64 - 1]
    assert truth["is_correct"].to_pylist() == [True, False]
    assert truth["shift_y_angstrom"].to_pylist() == [2.0, 4.0]
    assert min(truth["quat_w"].to_pylist()) >= 0
