"""Data sets of the benchmarks: as many particles as wanted, each image standing for several."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.performance.repeated import SPREAD_DEG, repeat, simulated
from cryocore.formats.stacks import StackReader
from cryocore.tables.particles import Particles

pytestmark = pytest.mark.slow


def test_repeated_particles_have_images_and_halves_of_the_first_ones(tmp_path: Path) -> None:
    base = simulated(tmp_path, 16, 6)
    repeat(base, 20).write(tmp_path / "many.parquet")
    many, rows = Particles.read(tmp_path / "many.parquet"), np.arange(20) % 6
    assert len(set(many.ids.tolist())) == 20
    assert np.array_equal(many.column("half"), base.column("half")[rows])
    with StackReader(base) as few, StackReader(many) as all_of_them:
        assert np.array_equal(all_of_them.read(np.arange(20)), few.read(rows))
    cosines = (np.einsum("nij,nij->n", many.rotations, base.rotations[rows]) - 1) / 2
    turned = np.rad2deg(np.arccos(np.clip(cosines, -1, 1)))
    assert turned.min() > 0 and turned.max() < 6 * SPREAD_DEG
