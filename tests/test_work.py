"""What a round costs, counted and not timed: images read, lines transformed, samples compared, memory, modules."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cryocore.backend import CpuBackend, get_backend
from cryocore.config.reconstruct import Reconstruct
from cryocore.config.score import Score
from cryocore.formats.stacks import StackReader
from cryocore.reconstruct import reconstruct
from cryocore.score import score
from cryocore.score.noise import SAMPLE
from tests.phantoms import Blobs
from tests.reconstruct.test_reconstruct import data_set

BOX, N = 32, 200
RIVALS = Score(n_random_poses=3, n_perturbed_poses=2, n_perturbed_shifts=8)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many items each kernel was launched with, and images read."""
    count: Counter[str] = Counter()

    def around(place: type, name: str, tell: Callable[..., dict[str, int]]) -> None:
        real = getattr(place, name)

        def counts(self: Any, *args: Any, **kwargs: Any) -> Any:
            count.update(tell(*args, **kwargs))
            return real(self, *args, **kwargs)

        monkeypatch.setattr(place, name, counts)

    around(CpuBackend, "launch", lambda kernel, args, items: {kernel.name: items})
    around(CpuBackend, "rfft2", lambda images, width=None: {"transformed": len(images)})
    around(StackReader, "_images", lambda rows, dtype, memory: {"read": len(rows)})
    return count


def one_round(folder: Path, n: int = N) -> None:
    if not (folder / "particles.parquet").exists():
        data_set(folder, Blobs.random(15, spread=3.0, width=1.2), n, BOX, noise=1.0)
    given: dict[str, Any] = {"symmetry": "C1", "backend": get_backend("cpu")}
    reconstruct(folder / "particles.parquet", None, None, settings=Reconstruct(), **given, out_dir=folder / "round")


def test_a_reconstruction_reads_each_image_once_and_solves_three_maps(tmp_path: Path, counted: Counter[str]) -> None:
    one_round(tmp_path)
    assert counted["read"] == counted["transformed"] == N
    planes = BOX  # of each map that is transformed back: lines of one y
    # two half maps, their merged map, and the low-passed map of the mask, a few times at most
    assert 3 * planes < counted["columns_to_map"] <= 12 * planes
    # FSC: both maps, both under the mask, and four times with random phases
    assert counted["transform_z"] == (2 + 2 + 4 * 2 * 2) * BOX
    assert counted["smooth_density"] == 2 * (BOX // 2 + 1)


def test_scores_compare_each_image_once_with_each_pose(tmp_path: Path, counted: Counter[str]) -> None:
    one_round(tmp_path)
    counted.clear()
    given: dict[str, Any] = {"symmetry": "C1", "round_number": 0, "seed": 0, "backend": get_backend("cpu")}
    out = tmp_path / "log.parquet"
    score(tmp_path / "particles.parquet", tmp_path / "round", None, settings=RIVALS, **given, out=out)
    sample = min(N, SAMPLE)
    assert counted["read"] == counted["transformed"] == N + sample  # the noise first
    assert counted["score_slices"] == N + sample
    assert counted["score_poses"] == N * (3 + 2)
    assert counted["score_shifts"] == N  # eight shifts of one reading of the slice
    assert counted["pack_voxels"] > 0
    assert counted["map_to_columns"] == 3 * BOX  # both half maps and their mask


def test_memory_does_not_grow_with_the_particles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From where a batch is full on: what a particle takes is its row of the table."""
    monkeypatch.setattr("cryocore.formats.stacks.BATCH_BYTES", 16 * 4 * BOX * BOX)
    peaks = {}
    for n in (100, 500):
        folder = tmp_path / str(n)
        folder.mkdir()
        data_set(folder, Blobs.random(15, spread=3.0, width=1.2), n, BOX, noise=1.0)
        tracemalloc.start()
        one_round(folder)
        peaks[n] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[500] - peaks[100] < 400 * 1000


MODULES = {
    "cryocore.reconstruct": {"torch", "sklearn", "skops", "matplotlib", "pandas", "scipy.stats", "scipy.ndimage"},
    "cryocore.score": {"torch", "sklearn", "skops", "matplotlib", "pandas", "scipy.stats"},
    "cryocore.select.stage": {"torch", "sklearn", "skops", "matplotlib", "pandas"},
    "cryocore.report.summary": {"torch", "sklearn", "skops"},
}


@pytest.mark.parametrize("stage", MODULES)
def test_a_job_starts_without_what_it_does_not_use(stage: str) -> None:
    code = f"import json, sys, {stage}; print(json.dumps(list(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not MODULES[stage] & set(json.loads(found.stdout))
