"""Viewing directions and noise that come from real data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cryocore.config.simulate import Simulate
from cryocore.errors import InputError
from cryocore.formats.star_out import write_star
from cryocore.geometry.rotations import matrix_to_euler, random_rotations, viewing_direction
from cryocore.maps.mrc import write_stack
from cryocore.simulate.stage import drawn_micrographs, noise_source, true_rotations


def settings(**changes: object) -> Simulate:
    return Simulate(**{"n_particles": 2000, "box": 32, **changes})


def test_poses_are_drawn_from_those_of_a_file(tmp_path: Path) -> None:
    """Within some degrees of a view of the file, any way round in the plane."""
    import pandas as pd

    rng = np.random.default_rng(0)
    known = random_rotations(5, rng)
    angles = matrix_to_euler(known)
    names = [f"{i + 1:06d}@a.mrcs" for i in range(5)]
    columns = dict(zip(("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"), angles.T, strict=True))
    write_star(pd.DataFrame({"rlnImageName": names, **columns}), None, tmp_path / "views.star")
    found = true_rotations(settings(poses=str(tmp_path / "views.star")), "C1", rng)
    nearest = np.rad2deg(np.arccos(np.clip(viewing_direction(found) @ viewing_direction(known).T, -1, 1)))
    assert nearest.min(axis=1).max() < 15.0
    assert np.bincount(nearest.argmin(axis=1), minlength=5).min() > 300
    in_plane = matrix_to_euler(found)[:, 2]
    assert np.histogram(in_plane, bins=6, range=(-180, 180))[0].min() > 250


def test_a_single_view() -> None:
    view = viewing_direction(true_rotations(settings(orientations="single"), "C1", np.random.default_rng(1)))
    assert np.mean(view[:, 2] > np.cos(np.deg2rad(40.0))) == pytest.approx(0.95 + 0.05 * 0.117, abs=0.02)


def test_noise_is_cropped_from_images_without_particles(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    x = np.arange(64)
    stripes = np.sin(2 * np.pi * x / 8)[None, None, :] * np.ones((3, 64, 1))
    write_stack(tmp_path / "background.mrcs", [(5.0 + 2.0 * stripes).astype(np.float32)], 1.0)
    images = noise_source(settings(background_images=str(tmp_path / "background.mrcs")), 32)(40, 32, rng)
    assert images.shape == (40, 32, 32) and images.dtype == np.float32
    np.testing.assert_allclose(images.std(axis=(1, 2)), 1.0, atol=1e-3)
    power = np.abs(np.fft.fft2(images)) ** 2
    along_x, along_y = power[:, 0, 4] > 1e4, power[:, 4, 0] > 1e4
    assert along_x.sum() > 8 and along_y.sum() > 8 and np.all(along_x ^ along_y)


def test_no_crop_is_drawn_twice(tmp_path: Path) -> None:
    """288 crops of 8 x 8 are in an image of 13 x 13, 250 are drawn; then hardly any are left, and it goes on."""
    rng = np.random.default_rng(4)
    write_stack(tmp_path / "background.mrcs", [rng.normal(size=(1, 13, 13)).astype(np.float32)], 1.0)
    draw = noise_source(settings(background_images=str(tmp_path / "background.mrcs")), 8)
    images = np.concatenate([draw(m, 8, rng) for m in (100, 150)])
    assert len(np.unique(images.reshape(250, -1), axis=0)) == 250
    assert len(draw(100, 8, rng)) == 100


def test_too_small_images_of_background_are_refused(tmp_path: Path) -> None:
    write_stack(tmp_path / "small.mrcs", [np.random.default_rng(3).normal(size=(2, 24, 24)).astype(np.float32)], 1.0)
    with pytest.raises(InputError, match="24 x 24 pixels, the box, with its planted duplicates, is 32"):
        noise_source(settings(background_images=str(tmp_path / "small.mrcs")), 32)


def test_micrographs_are_those_of_a_file(tmp_path: Path) -> None:
    """Three micrographs with 1, 2 and 7 particles: as large a share of the images, each with a defocus of its own."""
    import pandas as pd

    on = np.repeat([0, 1, 2], [1, 2, 7])
    u = 10_000.0 * (1 + on) + np.arange(10)
    columns = {
        "rlnImageName": [f"{i + 1:06d}@a.mrcs" for i in range(10)],
        "rlnMicrographName": [f"m{m}.mrc" for m in on],
        "rlnDefocusU": u,
        "rlnDefocusV": u - 300.0,
        "rlnDefocusAngle": 20.0 * on,
    }
    file = tmp_path / "real.star"
    write_star(pd.DataFrame(columns), None, file)
    micrograph, defocus = drawn_micrographs(file, 4000, 3, np.random.default_rng(5))
    assert set(map(tuple, defocus)) == {(v, v - 300.0, 20.0 * m) for v, m in zip(u, on, strict=True)}
    level = np.rint(defocus[:, 0] / 10_000.0)
    assert all(len(np.unique(level[micrograph == m])) == 1 for m in range(3))
    np.testing.assert_allclose(np.bincount(level.astype(int))[1:] / 4000, [0.1, 0.2, 0.7], atol=0.03)
    more, _ = drawn_micrographs(file, 4000, 60, np.random.default_rng(5))
    assert len(np.unique(more)) == 60


def test_a_file_without_micrographs_is_refused(tmp_path: Path) -> None:
    import pandas as pd

    write_star(pd.DataFrame({"rlnImageName": ["000001@a.mrcs"], "rlnDefocusU": [1e4]}), None, tmp_path / "bare.star")
    with pytest.raises(InputError, match="rlnMicrographName"):
        drawn_micrographs(tmp_path / "bare.star", 10, 2, np.random.default_rng(0))
