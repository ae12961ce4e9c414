"""Particles in a second state: who is in it, what it is like, and that nothing else of the data depends on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from cryocore.backend import get_backend
from cryocore.config.plant import PlantedErrors
from cryocore.config.simulate import Simulate
from cryocore.formats.stacks import read_images
from cryocore.geometry.symmetry import point_group
from cryocore.maps.mrc import read_map
from cryocore.simulate.molecules import SYMMETRY, molecule_atoms, second_state_atoms
from cryocore.simulate.stage import simulate

N = 40


def simulated(folder: Path, **changes: object) -> Path:
    settings = {"molecule": "small", "n_particles": N, "box": 32, "pixel_size_angstrom": 4.0, **changes}
    plant = PlantedErrors(wrong_pose=0.2)
    given = {"symmetry": "C1", "seed": 1, "out_dir": folder, "backend": get_backend("cpu")}
    simulate(Simulate.model_validate(settings), plant, **given)
    return folder


def test_images_of_the_first_state_are_the_same_with_and_without_a_second(tmp_path: Path) -> None:
    alone, both = simulated(tmp_path / "alone"), simulated(tmp_path / "both", second_share=0.3)
    for name in ("particles.star", "true_map.mrc"):
        assert (alone / name).read_bytes() == (both / name).read_bytes()
    assert "state" not in pq.read_schema(alone / "truth.parquet").names and not (alone / "second_map.mrc").exists()
    state = pq.read_table(both / "truth.parquet")["state"].to_numpy()
    assert np.count_nonzero(state) == round(0.3 * N) and set(state) == {0, 1}
    images = [read_images(folder / "particles.mrcs") for folder in (alone, both)]
    differ = np.any(images[0] != images[1], axis=(1, 2))
    assert np.array_equal(differ, state == 1)
    density = [read_map(both / f"{name}.mrc")[0].sum() for name in ("true_map", "second_map")]
    assert abs(density[1] / density[0] - 0.8) < 0.01


@pytest.mark.parametrize("name", SYMMETRY)
def test_a_fifth_of_each_asymmetric_unit_is_missing_or_turned(name: str) -> None:
    whole, group = molecule_atoms(name), point_group(SYMMETRY[name])
    missing, turned, broken = (second_state_atoms(name, kind) for kind in ("missing", "turned", "broken"))
    assert abs(len(missing) / len(whole) - 0.8) < 1e-3
    assert abs(len(broken) / len(whole) - (1 - 0.2 / len(group))) < 1e-3
    unit = len(whole) // len(group)
    moved = np.linalg.norm(turned - whole, axis=1)
    assert abs(np.mean(moved > 0) - 0.2) < 1e-3 and moved.max() > 8
    # as a rigid body
    at = np.flatnonzero(moved[:unit] > 0)[:50]
    apart = [np.linalg.norm(atoms[at, None] - atoms[None, at], axis=2) for atoms in (whole, turned)]
    np.testing.assert_allclose(*apart, atol=1e-9)
    for g in group:
        assert (
            np.abs((missing[: len(missing) // len(group)] @ g.T)[:, None] - missing[None, ::97]).sum(axis=2).min()
            < 1e-6
        )


def test_a_volume_has_no_second_state() -> None:
    with pytest.raises(ValidationError, match="second_share"):
        Simulate(volume="map.mrc", second_share=0.1)
