"""What jobs ask for: enough, not much more, and what the data need."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cryocore.config.run import Config, parse_config
from cryocore.tables.io import write_table
from cryocore.workflow.resources import (
    NEEDS,
    SNAKEMAKE_MB,
    Size,
    is_short,
    memory_mb,
    request_mb,
    request_min,
    size_of_data,
)
from cryocore.workflow.settings import STAGES
from tests.workflow.conftest import Workflow

PEAKS = """
import atexit, pathlib, sys

def write(file=pathlib.Path("peaks.txt").absolute()):
    if "scripts" in sys.argv[0]:
        lines = pathlib.Path("/proc/self/status").read_text().splitlines()
        kib = next(line.split()[1] for line in lines if line.startswith("VmHWM"))
        with file.open("a") as stream:
            stream.write(f"{pathlib.Path(sys.argv[0]).stem} {int(kib) / 1024}\\n")

atexit.register(write)
"""
"""A sitecustomize.py that writes down the highest memory of each stage."""
EVERY_RUN = {"simulate", "ingest", "reconstruct", "score", "examine", "look", "report"}
ITERATIVE = {"reconstruct": {"method": "iterative", "iterative": {"n_epochs": 2}}}


def config(**values: Any) -> Config:
    return parse_config({"run": "x", **values})


def test_every_stage_has_needs() -> None:
    assert set(NEEDS) == {*STAGES, "solve"}


@pytest.mark.parametrize("stage", ["reconstruct", "score", "simulate", "sum"])
def test_memory_grows_with_the_padded_grid(stage: str) -> None:
    plain, finer = config(reconstruct={"padding": 1.5}), config(reconstruct={"padding": 2.0})
    at = [memory_mb(stage, Size(1000, box), c) for box in (64, 128, 256) for c in (plain, finer)]
    assert at == sorted(at) and at[-1] > 4 * at[0]


def test_a_shard_needs_its_own_particles_alone() -> None:
    whole, parts = config(), config(n_shards=100)
    for stage in ("sum", "score", "cache"):
        assert request_min(stage, Size(10**7, 128), parts) < request_min(stage, Size(10**7, 128), whole) / 20
        assert memory_mb(stage, Size(10**7, 128), parts) == memory_mb(stage, Size(10**5, 128), whole)
    assert memory_mb("gather", Size(10**7, 128), parts) > 8_000


def test_requests_grow_with_the_attempt_up_to_the_limit() -> None:
    asked = [request_mb("score", Size(1000, 256), config(), attempt, 6000) for attempt in (1, 2, 3)]
    assert asked[0] < 3000 and asked[1] == 2 * asked[0] and asked[2] == 6000
    assert [request_min("select", Size(1000, 64), config(), 1, attempt, 14) for attempt in (1, 2, 3)] == [6, 12, 14]


def test_short_runs_are_told_by_all_their_rounds(tmp_path: Path) -> None:
    def simulated(**values: Any) -> Config:
        return config(input={"simulate": values["simulate"]}, n_rounds=values.get("n_rounds", 4))

    assert is_short(simulated(simulate={"n_particles": 4000, "box": 64}))
    assert not is_short(simulated(simulate={"n_particles": 8000, "box": 64}, n_rounds=99))
    assert not is_short(simulated(simulate={"n_particles": 100_000, "box": 128}))
    assert not is_short(config(n_shards=2))
    assert not is_short(config(reconstruct={"method": "iterative"}, input={"simulate": {"n_particles": 10_000}}))
    (tmp_path / "a.star").write_text("x" * 150_000)
    assert is_short(config(symmetry="C1", input={"star": str(tmp_path / "a.star")}))
    (tmp_path / "a.star").write_text("x" * 3_000_000)
    assert not is_short(config(symmetry="C1", input={"star": str(tmp_path / "a.star")}))


def test_the_size_of_the_data(tmp_path: Path) -> None:
    simulated = config(input={"simulate": {"n_particles": 70, "box": 48}})
    assert size_of_data(simulated, tmp_path / "particles.parquet") == Size(70, 48)
    (tmp_path / "a.star").write_text("x" * 3000)
    real = config(symmetry="C1", input={"star": str(tmp_path / "a.star")})
    assert size_of_data(real, "", (str(tmp_path / "a.star"),)).n == 20
    with pytest.raises(FileNotFoundError) as absent:
        size_of_data(real, tmp_path / "particles.parquet")
    assert absent.value.filename == str(tmp_path / "particles.parquet")
    for n in (5, 7):
        table = pa.table({"particle_id": pa.array(range(n), pa.uint64())})
        write_table(tmp_path / "particles.parquet", table, optics=[{"box": 64}, {"box": 96}])
        os.utime(tmp_path / "particles.parquet", (n, n))
        assert size_of_data(real, tmp_path / "particles.parquet") == Size(n, 96)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "box", "more", "measured"),
    [
        (300, 32, {"audit": True}, EVERY_RUN | {"audit"}),
        (1500, 96, {"audit": True, "symmetry": "D7"}, EVERY_RUN | {"audit"}),
        (300, 32, {"n_shards": 2}, EVERY_RUN | {"sum", "noise", "gather"}),
        (
            300,
            32,
            {"classify": {"model": "logistic"}, **ITERATIVE},
            EVERY_RUN - {"reconstruct"} | {"solve", "classify"},
        ),
    ],
)
def test_peaks_are_below_requests_and_above_half_of_them(
    workflow: Workflow, n: int, box: int, more: dict[str, Any], measured: set[str]
) -> None:
    values: dict[str, Any] = {
        "run": "x",
        "n_rounds": 1,
        "symmetry": "C1",
        "backend": "cpu",
        "input": {
            "simulate": {"n_particles": n, "box": box, "pixel_size_angstrom": 192 / box, "snr": 0.1},
            "plant": {"wrong_pose": 0.3},
        },
        "select": {"rule": "fraction", "value": [0.8], "minimum": 20},
        **more,
    }
    (workflow.code / "sitecustomize.py").write_text(PEAKS)
    workflow.snakemake("--configfile", workflow.configure(**values))
    lines = (workflow.work / "peaks.txt").read_text().splitlines()
    assert {line.split()[0] for line in lines} >= measured
    for line in lines:
        stage, peak = line.split()[0], float(line.split()[1]) + SNAKEMAKE_MB
        asked = request_mb(stage, Size(n, box), config(**values))
        assert asked / 2 <= peak <= asked, (stage, peak, asked)
