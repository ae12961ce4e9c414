"""Processes on one machine take different GPUs, and give them back when they end, however they end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cryocore.backend.devices import choose_device

TWO = ["0000:01:00.0", "0000:02:00.0"]
HOLD = """
import sys, time
from pathlib import Path
from cryocore.backend.devices import choose_device
print(choose_device(sys.argv[2:], {}, Path(sys.argv[1])), flush=True)
time.sleep(60)
"""


def holder(folder: Path) -> tuple[subprocess.Popen[str], int]:
    """A process that has taken a GPU, and which."""
    command = [sys.executable, "-c", HOLD, str(folder), *TWO]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def test_each_process_takes_a_gpu_of_its_own_and_a_killed_one_gives_it_back(tmp_path: Path) -> None:
    holders = [holder(tmp_path) for _ in range(3)]
    try:
        assert [device for _, device in holders] == [0, 1, 0]
        holders[1][0].kill()
        holders[1][0].wait()
        holders.append(holder(tmp_path))
        assert holders[-1][1] == 1
    finally:
        for process, _ in holders:
            process.kill()
            process.communicate()


@pytest.mark.parametrize(("rank", "device"), [("0", 0), ("1", 1), ("2", 0)])
def test_torchrun_says_which(tmp_path: Path, rank: str, device: int) -> None:
    assert choose_device(TWO, {"LOCAL_RANK": rank}, tmp_path / "none") == device
    assert not (tmp_path / "none").exists()


def test_the_only_gpu_needs_no_lock(tmp_path: Path) -> None:
    assert choose_device(TWO[:1], {}, tmp_path / "none") == 0
    assert not (tmp_path / "none").exists()
    with pytest.raises(ValueError, match="no GPU"):
        choose_device([], {})
