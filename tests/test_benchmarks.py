"""Data sets of the benchmarks, as many particles as wanted from few images; the check of a GPU."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks import gpu
from benchmarks.performance import kernels, vectors
from benchmarks.performance.repeated import SPREAD_DEG, repeat, simulated
from cryocore.backend import get_backend
from cryocore.formats.stacks import StackReader
from cryocore.tables.particles import Particles
from tests.phantoms import BACKENDS

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


@pytest.mark.parametrize("name", BACKENDS)
def test_steps_are_timed_on_any_machine(name: str) -> None:
    rates = kernels.measure(16, get_backend(name), 4, seconds=0.0)
    assert list(rates) == ["transform", "prepare", "insert", "score", "score_poses"]
    assert all(rate["per_second"] > 0 for rate in rates.values())


def test_a_check_keeps_to_its_time_and_what_is_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    half = "print('half', flush=True); import time; time.sleep(60)"
    programs = {"fine": "print('right')", "broken": "1 / 0", "slow": half}
    commands = {name: ([sys.executable, "-c", program], 20.0) for name, program in programs.items()}
    began = time.monotonic()
    assert not gpu.check(commands | {"late": commands["fine"]}, tmp_path, 5.0)
    assert time.monotonic() - began < 15
    results = {line[:13].strip(): line[14:25].strip() for line in capsys.readouterr().out.splitlines()}
    assert results == {"fine": "done", "broken": "FAILED", "slow": "out of time", "late": "out of time"}
    assert (tmp_path / "fine.txt").read_text() == "right\n"
    assert "ZeroDivisionError" in (tmp_path / "broken.txt").read_text()
    assert (tmp_path / "slow.txt").read_text() == "half\n"
    assert gpu.check({"fine": commands["fine"]}, tmp_path, 60.0)


@pytest.mark.slow
def test_stages_are_timed_as_processes(capfd: pytest.CaptureFixture[str]) -> None:
    gpu.time_stages(32, 60, "cpu")
    found = re.findall(r"(\w+): 60 particles of box 32 in [\d.]+ s, [\d,]+/s", capfd.readouterr().out)
    assert found == ["reconstruct", "score"]


@pytest.mark.gpu
def test_sums_in_fours_are_sums_in_pairs() -> None:
    found = vectors.measure(24, get_backend("cuda"), 12, seconds=0.0)
    assert found["difference"] < 1e-5
