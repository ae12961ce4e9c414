"""Planted duplicates: two images of one picture, each with a shift that says where it was cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from cryocore.backend import get_backend
from cryocore.config.input import Input
from cryocore.config.plant import PlantedErrors
from cryocore.config.simulate import Simulate
from cryocore.errors import InputError
from cryocore.formats.stacks import StackReader
from cryocore.geometry.rotations import angular_distance_deg
from cryocore.ingest.particles import ingest
from cryocore.simulate.stage import simulate
from cryocore.tables.particles import Particles
from cryocore.types import Floats32, Ints

BOX, PIXEL = 32, 2.0
DATA = {"n_particles": 240, "box": BOX, "pixel_size_angstrom": PIXEL, "n_micrographs": 6, "snr": 0.05}


def made(folder: Path, plant: PlantedErrors, **changes: object) -> tuple[Particles, Floats32]:
    settings = Simulate.model_validate({**DATA, **changes})
    simulate(settings, plant, symmetry="C1", seed=3, out_dir=folder, backend=get_backend("cpu"))
    particles = ingest(folder / "particles.star", root=None, pixel_size_angstrom=None, seed=0)
    with StackReader(particles) as reader:
        return particles, reader.read(np.arange(len(particles)))


def pairs(folder: Path, particles: Particles) -> tuple[Ints, Ints]:
    """Rows of the duplicates and of their originals."""
    of = pq.read_table(folder / "truth.parquet").column("duplicate_of")
    row = np.flatnonzero(of.is_valid().to_numpy())
    place = {int(i): n for n, i in enumerate(particles.ids)}
    return row, np.array([place[i] for i in of.drop_null().to_pylist()])


def overlap(image: Floats32, x: int, y: int) -> Floats32:
    """The part of an image that a box moved by (x, y) shares with it."""
    return image[max(y, 0) : BOX + min(y, 0), max(x, 0) : BOX + min(x, 0)]


@pytest.mark.parametrize("noise", ["white", "coloured"])
def test_a_duplicate_is_the_same_picture_some_pixels_beside(tmp_path: Path, noise: str) -> None:
    plant = PlantedErrors(wrong_pose=0.3, duplicate=0.15, duplicate_angstrom=(8.0, 14.0))
    particles, images = made(tmp_path, plant, noise=noise, scale_spread=0.2, background=1.0)
    row, original = pairs(tmp_path, particles)
    truth = pq.read_table(tmp_path / "truth.parquet").to_pandas()
    assert len(row) == 36 and len({*row, *original}) == 72
    assert truth["is_correct"].to_numpy()[[*row, *original]].all()
    assert (truth["error_kind"] == "wrong_pose").sum() == 72
    assert (particles.column("micrograph")[row] == particles.column("micrograph")[original]).all()
    assert angular_distance_deg(particles.rotations[row], particles.rotations[original]).max() < 1e-3
    moved = (particles.shifts_angstrom[row] - particles.shifts_angstrom[original]) / PIXEL
    assert np.abs(moved - np.rint(moved)).max() < 1e-3
    assert 3.2 < np.hypot(*moved.T).min() < np.hypot(*moved.T).max() < 7.8  # 4 to 7 pixels, rounded along both axes
    for a, b, (x, y) in zip(row, original, np.rint(moved).astype(int), strict=True):
        shared = np.stack([overlap(images[a], -x, -y), overlap(images[b], x, y)])
        # the signal is periodic in its box, and the picture is not: it may differ at the edges
        assert np.corrcoef(shared.reshape(2, -1))[0, 1] > 0.98


def test_all_else_stays_as_it_is_without_duplicates(tmp_path: Path) -> None:
    errors = PlantedErrors(wrong_pose=0.3, junk=0.1)
    before, images = made(tmp_path / "none", errors)
    after, changed = made(tmp_path / "some", errors.model_copy(update={"duplicate": 0.15}))
    row, original = pairs(tmp_path / "some", after)
    rest = np.setdiff1d(np.arange(len(before)), [*row, *original])
    # the scale of the signal is found on the images, which differ
    np.testing.assert_allclose(changed[rest], images[rest], atol=0.02)
    np.testing.assert_array_equal(before.column("half"), after.column("half"))
    np.testing.assert_allclose(before.quaternions[rest], after.quaternions[rest], atol=1e-9)
    assert "duplicate_of" not in pq.read_table(tmp_path / "none/truth.parquet").column_names


def test_what_cannot_be_planted_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="120 duplicates are wanted, and 0 pairs"):
        made(tmp_path, PlantedErrors(duplicate=0.5, wrong_pose=1.0))
    with pytest.raises(ValidationError, match="images of a file cannot be cut anew"):
        Input(star="a.star", plant=PlantedErrors(duplicate=0.1))
