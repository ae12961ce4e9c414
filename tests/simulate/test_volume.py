"""A map to simulate from: its voxel size has to be that of the simulation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cryocore.config.simulate import Simulate
from cryocore.errors import InputError
from cryocore.maps import write_map
from cryocore.simulate.stage import true_map

VOLUME = np.random.default_rng(0).normal(size=(16,) * 3).astype(np.float32)


@pytest.mark.parametrize("stated", [0.0, 1.0, 2.2, 2.21])
def test_the_same_voxel_or_none(tmp_path: Path, stated: float) -> None:
    write_map(tmp_path / "a.mrc", VOLUME, stated)
    made = true_map(Simulate(volume=str(tmp_path / "a.mrc"), box=16, pixel_size_angstrom=2.2))
    np.testing.assert_array_equal(made, VOLUME)


def test_another_voxel(tmp_path: Path) -> None:
    write_map(tmp_path / "a.mrc", VOLUME, 1.34)
    says = r"its voxels are 1.34 Å wide, those of the simulation 2.2 Å. Set input.simulate.pixel_size_angstrom"
    with pytest.raises(InputError, match=says):
        true_map(Simulate(volume=str(tmp_path / "a.mrc"), box=16, pixel_size_angstrom=2.2))


def test_a_model_is_no_map(tmp_path: Path) -> None:
    (tmp_path / "a.pdb").write_text("HEADER    HYDROLASE\nATOM      1  N   MET A   1      27.3  24.4   2.6\n" * 30)
    with pytest.raises(InputError, match=r"not an MRC map: it is an atomic model .PDB.. Make a map of it"):
        true_map(Simulate(volume=str(tmp_path / "a.pdb"), box=16))
