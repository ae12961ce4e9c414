"""The same seed, the same data, and results that do not tell processors apart: as another one would compute them."""

from __future__ import annotations

import sys
from pathlib import Path

import mrcfile
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from benchmarks.configurations import configurations, run
from cryocore.formats.roots import without_record
from cryocore.formats.star import read_star

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.slow

SETTINGS = {
    "run": "made",
    "symmetry": "C4",
    "seed": 5,
    "select": {"minimum": 10},
    "input": {
        "simulate": {
            "molecule": "channel",
            "n_particles": 200,
            "box": 48,
            "pixel_size_angstrom": 3.3,
            "snr": 0.05,
            "noise": "coloured",
            "scale_spread": 0.2,
            "background": 0.5,
        },
        "plant": {"wrong_pose": 0.2, "local_pose": 0.1, "wrong_shift": 0.1, "junk": 0.1},
    },
}


ROUND = """
from cryocore.commands.app import app
for line in (
    "simulate made",
    "ingest made/particles.star particles.parquet",
    "reconstruct particles.parquet round",
    "score particles.parquet round scores.parquet",
    "select particles.parquet scores.parquet subset.parquet subset.star",
):
    app([*line.split(), "--config", "my.yaml"], standalone_mode=False)
"""


def made(folder: Path, configuration: str) -> Path:
    """A data set, its maps and scores under a configuration of ``benchmarks.configurations``."""
    folder.mkdir()
    (folder / "my.yaml").write_text(yaml.safe_dump(SETTINGS))
    run(configuration, [sys.executable, "-c", ROUND], check=True, capture_output=True, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("data") / "here", "this processor")


@pytest.mark.parametrize("configuration", ["BLAS Haswell", "plain"])
def test_processors_differ_by_no_more_than_is_promised(here: Path, tmp_path: Path, configuration: str) -> None:
    """The bounds of docs/measurements/reproducibility.md."""
    there = made(tmp_path / "there", configuration)
    require_one_data_set(here / "made", there / "made")
    logs = [pq.read_table(folder / "scores.parquet") for folder in (here, there)]
    for name in ("zc", "dual", "llr", "ncc", "l2_loss", "contrast", "local"):
        first, second = (log[name].to_numpy() for log in logs)
        assert np.abs(first - second).max() < 1e-4 * first.std()
    curves = [pq.read_table(folder / "round" / "fsc.parquet")["corrected"].to_numpy() for folder in (here, there)]
    assert np.abs(curves[0] - curves[1]).max() < 1e-4
    weights, selected = (
        [pq.read_table(folder / "subset.parquet")[name].to_numpy() for folder in (here, there)]
        for name in ("weight", "selected")
    )
    other = np.abs(weights[0] - weights[1])
    assert np.count_nonzero(other) <= 0.01 * len(other) and other.max() <= 1 / 32
    assert np.count_nonzero(selected[0] != selected[1]) <= 1


def require_one_data_set(here: Path, there: Path) -> None:
    """Decisions are the same, numbers but for their rounding: images to 1e-5 of their standard deviation."""
    with mrcfile.open(here / "particles.mrcs") as first, mrcfile.open(there / "particles.mrcs") as second:
        assert np.abs(first.data - second.data).max() < 1e-5 * first.data.std()
    truths = [pq.read_table(folder / "truth.parquet") for folder in (here, there)]
    for name in ("particle_id", "is_correct", "error_kind"):
        assert truths[0][name].equals(truths[1][name])
    tables = [read_star(folder / "particles.star").particles for folder in (here, there)]
    assert list(tables[0]) == list(tables[1])
    for name in tables[0]:
        if name.startswith(("rlnAngle", "rlnOrigin", "rlnDefocus")):
            first, second = (table[name].astype(float).to_numpy() for table in tables)
            assert np.abs(first - second).max() < 2e-6
        else:
            assert list(tables[0][name]) == list(tables[1][name])


def test_kernels_give_the_same_bits_for_every_instruction_set(here: Path, tmp_path: Path) -> None:
    there = made(tmp_path / "there", "kernels x86-64-v2")
    files = [path.relative_to(here) for path in sorted(here.rglob("*")) if path.is_file()]
    assert {"scores.parquet", "half1.mrc", "particles.mrcs"} <= {file.name for file in files}

    def content(folder: Path, file: Path) -> bytes:
        found = (folder / file).read_bytes()
        return without_record(found) if file.name == "subset.star" else found  # it says where it lies

    assert [str(file) for file in files if content(here, file) != content(there, file)] == []


WHAT_RUNS = """
import numpy, threadpoolctl
from numpy._core._multiarray_umath import __cpu_features__ as features
from cryocore.backend.cpu import compiler_flags
blas = [pool["architecture"] for pool in threadpoolctl.threadpool_info() if pool["internal_api"] == "openblas"]
print(compiler_flags()[-1], blas[0], [name for name in ("X86_V3", "X86_V4") if features.get(name)])
"""


def test_configurations_differ_from_this_processor() -> None:
    """Were a variable ignored, nothing would be compared."""
    assert len(configurations()) >= 6
    printed = run("plain", [sys.executable, "-c", WHAT_RUNS], check=True, capture_output=True, cwd=ROOT).stdout
    flag, blas, features = printed.split(maxsplit=2)
    assert flag == "-march=x86-64-v2"
    assert blas in ("Prescott", "Katmai")  # the same kernels, by the name of their family
    assert features.strip() == "[]"
