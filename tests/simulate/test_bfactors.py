"""B-factors and scales of single images: what they do to them, and that nothing else depends on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from cryocore.backend import get_backend
from cryocore.config.plant import PlantedErrors
from cryocore.config.simulate import Simulate
from cryocore.formats.stacks import read_images
from cryocore.formats.star import read_star
from cryocore.simulate.stage import own_bfactors, simulate

BOX, PIXEL = 32, 4.0


def simulated(folder: Path, **changes: float) -> Path:
    """Images of next to no noise."""
    settings = Simulate(molecule="small", n_particles=40, box=BOX, pixel_size_angstrom=PIXEL, snr=1e8, **changes)
    simulate(settings, PlantedErrors(), symmetry="C1", seed=1, out_dir=folder, backend=get_backend("cpu"))
    return folder


def test_images_fall_off_by_their_own_bfactor(tmp_path: Path) -> None:
    sharp = simulated(tmp_path / "sharp")
    both = {"micrograph_bfactor_sd_angstrom2": 60.0, "particle_bfactor_sd_angstrom2": 30.0}
    dull = simulated(tmp_path / "dull", **both)
    assert (sharp / "particles.star").read_bytes() == (dull / "particles.star").read_bytes()
    assert "bfactor_angstrom2" not in pq.read_schema(sharp / "truth.parquet").names
    bfactor = pq.read_table(dull / "truth.parquet")["bfactor_angstrom2"].to_numpy()
    power = [np.abs(np.fft.rfft2(read_images(f / "particles.mrcs"))) ** 2 for f in (sharp, dull)]
    s = np.hypot(*np.meshgrid(np.fft.rfftfreq(BOX, PIXEL), np.fft.fftfreq(BOX, PIXEL)))
    inside = (s > 0.3 / BOX) & (s < 10 / (BOX * PIXEL))
    for i in range(40):
        ratio = (power[1][i] / power[0][i])[inside]
        expected = np.exp(-0.5 * bfactor[i] * s[inside] ** 2)
        assert abs(np.median(ratio / expected) - 1) < 0.02


def test_the_signal_of_micrographs_is_scaled(tmp_path: Path) -> None:
    even, faint = simulated(tmp_path / "even"), simulated(tmp_path / "faint", micrograph_scale_spread=0.4)
    assert (even / "particles.star").read_bytes() == (faint / "particles.star").read_bytes()
    assert "scale" not in pq.read_schema(even / "truth.parquet").names
    scale = pq.read_table(faint / "truth.parquet")["scale"].to_numpy()
    images = [read_images(f / "particles.mrcs").reshape(40, -1) for f in (even, faint)]
    ratio = np.sum(images[0] * images[1], axis=1) / np.sum(images[0] ** 2, axis=1)
    np.testing.assert_allclose(ratio, scale, rtol=1e-3)
    micrograph = read_star(faint / "particles.star").particles["rlnMicrographName"]
    assert all(len(set(scale[micrograph == name])) == 1 for name in set(micrograph)) and len(set(scale)) > 10


@pytest.mark.parametrize("law", ["normal", "uniform", "two_valued"])
def test_spreads_are_as_wanted(law: Any) -> None:
    spreads = {"micrograph_bfactor_sd_angstrom2": 80.0, "particle_bfactor_sd_angstrom2": 30.0}
    settings = Simulate(**spreads, n_micrographs=2000, bfactor_law=law)
    micrograph = np.repeat(np.arange(2000), 10)
    bfactor = own_bfactors(settings, micrograph, seed=2)
    of_micrograph = bfactor.reshape(2000, 10)
    assert abs(of_micrograph.std(axis=1, ddof=1).mean() / 30.0 - 1) < 0.06
    assert abs(of_micrograph.mean(axis=1).std() / np.hypot(80.0, 30.0 / np.sqrt(10)) - 1) < 0.06


@pytest.mark.parametrize(("law", "least", "most"), [("uniform", 0.0, 173.2), ("two_valued", 0.0, 100.0)])
def test_laws_have_their_ranges(law: Any, least: float, most: float) -> None:
    settings = Simulate(particle_bfactor_sd_angstrom2=50.0, bfactor_law=law)
    bfactor = own_bfactors(settings, np.zeros(20000, dtype=np.int64), seed=3)
    assert bfactor.min() == pytest.approx(least, abs=0.1) and bfactor.max() == pytest.approx(most, abs=0.1)
    assert bfactor.mean() == pytest.approx(most / 2, abs=1.5)
    assert (len(np.unique(bfactor)) == 2) == (law == "two_valued")
