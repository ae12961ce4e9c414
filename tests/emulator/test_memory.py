"""A GPU that is too small for a box says what it lacks, before the images are read."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cryocore.backend import get_backend
from cryocore.errors import InputError
from cryocore.imaging.accumulate import require_room_of_maps
from cryocore.imaging.grid import FourierGrid
from cryocore.imaging.insertion import Insertion
from cryocore.imaging.voxels import pack_voxels
from cryocore.reconstruct.iterative.stage import require_room

pytestmark = pytest.mark.emulator

GRID = FourierGrid.of(40, 2.0, 2.0)


def test_what_is_needed_and_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = get_backend("cuda")
    grids = [backend.xp.zeros(GRID.shape, dtype=np.complex64)] * 2
    monkeypatch.setenv("EMULATOR_MEMORY", str(4 << 20))
    what = "the sums of box 40 at padding 2, and maps of them,"
    problem = rf"{what} need 0\.\d+ GiB of the GPU's memory, and 0\.00\d+ GiB are free"
    with pytest.raises(InputError, match=rf"{problem}\. Lower reconstruct\.padding, set reconstruct\.max_res"):
        require_room_of_maps(GRID, 2, backend)
    with pytest.raises(InputError, match="the half maps of box 40 need"):
        pack_voxels(grids, 2, GRID, backend)
    with pytest.raises(InputError, match="the iterative method at box 40 and padding 2 need"):
        require_room(GRID, backend)
    monkeypatch.setenv("EMULATOR_MEMORY", str(600 << 20))
    require_room(GRID, backend)
    Insertion(GRID, backend)
    pack_voxels(grids, 2, GRID, backend)


def test_sums_that_are_there_need_no_room_again(monkeypatch: pytest.MonkeyPatch) -> None:
    backend, grid = get_backend("cuda"), FourierGrid.of(64, 2.0, 2.0)
    needed = 24 * math.prod(grid.shape)
    used = backend.xp.cuda.runtime.memGetInfo()
    monkeypatch.setenv("EMULATOR_MEMORY", str(used[1] - used[0] + needed + (1 << 20)))
    sums = Insertion(grid, backend).sums()
    Insertion(grid, backend, sums)
    with pytest.raises(InputError, match="the sums of box 64"):
        Insertion(grid, backend, sums.on(get_backend("cpu")))
    with pytest.raises(InputError, match="the sums of box 64 at padding 2 need"):
        sums.on(get_backend("cpu")).on(backend)


def test_a_stage_ends_with_it() -> None:
    """What is refused late, in the middle of the work, is no fault of the program either."""
    root = Path(__file__).parents[2]
    program = "from cryocore.backend import get_backend\\nget_backend('cuda').xp.zeros((1000, 1000))"
    text = f"from cryocore.commands.edge import guarded\nguarded('stage', lambda: exec('''{program}'''))"
    path = f"{Path(__file__).parent}{os.pathsep}{root}"
    given = {**os.environ, "PYTHONPATH": path, "EMULATOR_MEMORY": str(1 << 20)}
    done = subprocess.run([sys.executable, "-c", text], env=given, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr.count("Traceback")) == (2, 0), done.stderr
    assert "error: the GPU is full (Out of memory allocating 8,000,000 bytes" in " ".join(done.stderr.split())


def test_memory_is_given_out_again_when_it_has_been_copied() -> None:
    backend = get_backend("cuda")
    memory = backend.memory()
    before = memory.array((5, 3), np.float32)
    before[...] = 1.0
    on_device = backend.to_device(before[1:4])
    after = memory.array((5, 3), np.float32)
    assert after.ctypes.data == before.ctypes.data
    after[...] = 2.0
    assert (backend.to_host(on_device) == 1.0).all()
    backend.wait()


def test_memory_that_is_written_to_too_early_is_found_out() -> None:
    backend = get_backend("cuda")
    memory = backend.memory()
    values = memory.array((7,), np.float32)
    values[...] = 1.0
    backend.to_device(values)
    values[...] = 2.0
    with pytest.raises(RuntimeError, match="pinned memory was written to before it was copied"):
        backend.wait()


def test_what_is_fetched_later_is_what_it_was() -> None:
    backend = get_backend("cuda")
    on_device = backend.to_device(np.arange(6, dtype=np.float32).reshape(2, 3))
    fetched = backend.later(on_device)
    on_device[...] = 9.0
    np.testing.assert_array_equal(fetched(), np.arange(6).reshape(2, 3))
