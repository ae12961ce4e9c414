"""Half maps, symmetry and selected STAR files against RELION, where it is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cryocore.backend import get_backend
from cryocore.config.plant import PlantedErrors
from cryocore.config.reconstruct import Reconstruct
from cryocore.config.simulate import Simulate
from cryocore.formats.source import Source
from cryocore.formats.star import filter_star
from cryocore.ingest.particles import ingest
from cryocore.log.rounds import open_round
from cryocore.maps.fsc import fsc
from cryocore.maps.mrc import read_map
from cryocore.reconstruct import reconstruct
from cryocore.select.stage import write_kept
from cryocore.simulate.stage import simulate
from cryocore.tables.io import read_table, write_table

pytestmark = [
    pytest.mark.skipif(shutil.which("relion_reconstruct") is None, reason="no relion_reconstruct on the PATH"),
    pytest.mark.usefixtures("undamped"),
]

BOX = 64
SIMULATIONS = {
    "C1": Simulate(
        molecule="small", pixel_size_angstrom=2.4, n_particles=300, box=BOX, snr=50.0, bfactor_angstrom2=80.0
    ),
    "D7": Simulate(
        molecule="proteasome", pixel_size_angstrom=3.4, n_particles=150, box=BOX, snr=50.0, bfactor_angstrom2=160.0
    ),
}


def relion_half_map(folder: Path, star: str, half: int, symmetry: str, *more: str) -> np.ndarray:
    command = ["relion_reconstruct", "--i", star, "--o", "relion.mrc", "--ctf", "--skip_gridding", "--pad", "2"]
    done = subprocess.run(
        [*command, "--subset", str(half), "--sym", symmetry, *more], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return read_map(folder / "relion.mrc")[0]


@pytest.mark.parametrize("symmetry", list(SIMULATIONS))
def test_half_maps_are_those_of_relion(tmp_path: Path, symmetry: str) -> None:
    settings, backend, table = SIMULATIONS[symmetry], get_backend("cpu"), tmp_path / "particles.parquet"
    settings = settings.model_copy(update={"orientations": "uniform"})
    simulate(settings, PlantedErrors(), symmetry=symmetry, seed=1, out_dir=tmp_path, backend=backend)
    ingest(tmp_path / "particles.star", root=None, pixel_size_angstrom=None, seed=0).write(table)
    reconstruct(table, None, None, settings=Reconstruct(), symmetry=symmetry, backend=backend, out_dir=tmp_path)

    ball = np.linalg.norm(np.mgrid[0:BOX, 0:BOX, 0:BOX] - BOX // 2, axis=0) < BOX // 2
    truth = read_map(tmp_path / "true_map.mrc")[0] * ball
    for half in (1, 2):
        ours = read_map(tmp_path / f"half{half}.mrc")[0] * ball
        theirs = relion_half_map(tmp_path, "particles.star", half, symmetry) * ball
        assert fsc(ours, theirs)[1 : int(0.45 * BOX) + 1].min() > 0.99
        assert (fsc(ours, truth) - fsc(theirs, truth))[1 : int(0.475 * BOX)].min() > -0.01


def test_relion_reads_a_selection(tmp_path: Path) -> None:
    settings = Simulate(molecule="small", pixel_size_angstrom=4.8, n_particles=60, box=32, snr=50.0)
    simulate(settings, PlantedErrors(), symmetry="C1", seed=1, out_dir=tmp_path, backend=get_backend("cpu"))
    keep = np.arange(60) % 3 > 0
    filter_star(tmp_path / "particles.star", keep, {"cryocoreDual": np.arange(40.0)}, tmp_path / "subset.star")
    assert "_cryocoreDual" in (tmp_path / "subset.star").read_text()
    whole, part = (relion_half_map(tmp_path, name, 1, "C1") for name in ("particles.star", "subset.star"))
    # the rows that are left out are missing from the map, and no other
    text = (tmp_path / "particles.star").read_text().splitlines()
    rows = [i for i, line in enumerate(text) if "@" in line]
    dropped = {row for row, kept in zip(rows, keep, strict=True) if not kept}
    plain = "\n".join(line for i, line in enumerate(text) if i not in dropped)
    (tmp_path / "plain.star").write_text(plain + "\n")
    assert np.array_equal(part, relion_half_map(tmp_path, "plain.star", 1, "C1"))
    assert not np.array_equal(part, whole)


def test_relion_makes_the_weighted_map_of_a_soft_selection(tmp_path: Path) -> None:
    """Most weight on some particles with noise of their own: without the weights the map is another one."""
    settings = SIMULATIONS["C1"].model_copy(update={"n_particles": 200, "snr": 0.5, "orientations": "uniform"})
    backend, table = get_backend("cpu"), tmp_path / "particles.parquet"
    simulate(settings, PlantedErrors(), symmetry="C1", seed=1, out_dir=tmp_path, backend=backend)
    data = ingest(tmp_path / "particles.star", root=None, pixel_size_angstrom=None, seed=0)
    data.write(table)
    weights = np.random.default_rng(0).choice([0.0, 0.05, 1.0], len(data)).astype(np.float32)
    write_table(tmp_path / "subset.parquet", pa.table({"particle_id": data.ids, "weight": weights}))
    write_table(tmp_path / "log.parquet", pa.table({"particle_id": data.ids, "half": data.column("half")}))
    log = open_round(tmp_path / "log.parquet")
    write_kept(Source.of(data), log, weights, weights > 0, tmp_path / "subset.star")
    how = {"settings": Reconstruct(), "symmetry": "C1", "backend": backend}
    reconstruct(table, tmp_path / "subset.parquet", None, **how, out_dir=tmp_path)

    ball = np.linalg.norm(np.mgrid[0:BOX, 0:BOX, 0:BOX] - BOX // 2, axis=0) < BOX // 2
    ours = read_map(tmp_path / "half1.mrc")[0] * ball
    weighted, plain = (
        relion_half_map(tmp_path, "subset.star", 1, "C1", *more) * ball for more in (("--fom_weighting",), ())
    )
    shells = slice(1, int(0.45 * BOX) + 1)
    assert fsc(ours, weighted)[shells].min() > 0.99
    assert fsc(ours, plain)[shells].min() < 0.9


def test_relion_makes_the_map_of_particles_of_unequal_quality(tmp_path: Path) -> None:
    """From the list alone, which joins the envelopes of the file with those of the subset: without, it is another
    map."""
    settings = SIMULATIONS["C1"].model_copy(
        update={"n_particles": 300, "snr": 0.5, "orientations": "uniform", "particle_bfactor_sd_angstrom2": 300.0}
    )
    backend, table = get_backend("cpu"), tmp_path / "particles.parquet"
    simulate(settings, PlantedErrors(), symmetry="C1", seed=1, out_dir=tmp_path, backend=backend)
    own = {"rlnCtfBfactor": np.linspace(0.0, 60.0, 300), "rlnCtfScalefactor": np.linspace(0.9, 1.1, 300)}
    filter_star(tmp_path / "particles.star", np.ones(300, dtype=bool), own, tmp_path / "own.star")
    data = ingest(tmp_path / "own.star", root=None, pixel_size_angstrom=None, seed=0)
    data.write(table)
    bfactor = read_table(tmp_path / "truth.parquet", ["bfactor_angstrom2"]).column(0).to_numpy().astype(np.float32)
    weights = np.ones(300, dtype=np.float32)
    scale = np.random.default_rng(4).uniform(0.7, 1.4, 300).astype(np.float32)
    columns = {"particle_id": data.ids, "weight": weights, "bfactor_angstrom2": bfactor, "scale": scale}
    write_table(tmp_path / "subset.parquet", pa.table(columns))
    write_table(tmp_path / "log.parquet", pa.table({"particle_id": data.ids, "half": data.column("half")}))
    log, total = open_round(tmp_path / "log.parquet"), data.total_envelopes(columns)
    write_kept(Source.of(data), log, weights, weights > 0, tmp_path / "subset.star", total)
    how = {"settings": Reconstruct(), "symmetry": "C1", "backend": backend}
    reconstruct(table, tmp_path / "subset.parquet", None, **how, out_dir=tmp_path)

    ball = np.linalg.norm(np.mgrid[0:BOX, 0:BOX, 0:BOX] - BOX // 2, axis=0) < BOX // 2
    ours = read_map(tmp_path / "half1.mrc")[0] * ball
    listed, plain = (relion_half_map(tmp_path, name, 1, "C1") * ball for name in ("subset.star", "own.star"))
    shells = slice(1, int(0.45 * BOX) + 1)
    assert fsc(ours, listed)[shells].min() > 0.99
    assert fsc(ours, plain)[shells].min() < 0.9
