"""Blocks of stacks on a disk of the machine's own: the same pixels, read once, and nothing wrong where it fails."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cryocore.errors import InputError
from cryocore.formats import scratch
from cryocore.formats.scratch import BLOCK_BYTES, VARIABLE, FileByParts, scratch_folder
from cryocore.formats.stacks import StackReader
from tests.formats.test_stacks import three_stacks

N = 5 * BLOCK_BYTES + 1234


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    scratch._folder.cache_clear()
    yield
    scratch._folder.cache_clear()


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scratch folder."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "disk"))
    return tmp_path / "disk"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of some blocks, the last one not whole."""
    path = tmp_path / "images.mrcs"
    path.write_bytes(np.random.default_rng(1).bytes(N))
    return path


def read(file: Path, low: int, high: int) -> bytes:
    data = np.empty(high - low, dtype=np.uint8)
    opened = FileByParts(file, "stack")
    try:
        opened.read(data, low)
    finally:
        opened.close()
    return data.tobytes()


def test_what_was_read_is_not_read_again(disk: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, sizes, own = file.read_bytes(), [], FileByParts._read
    monkeypatch.setattr(FileByParts, "_read", lambda self, data, at: (sizes.append(len(data)), own(self, data, at)))
    for low, high in ((BLOCK_BYTES + 5, 2 * BLOCK_BYTES - 7), (0, 10), (0, N), (N - 3, N), (0, N)):
        assert read(file, low, high) == whole[low:high]
    assert sum(sizes) == N


def test_blocks_that_were_not_read_are_not_kept(disk: Path, tmp_path: Path) -> None:
    large = tmp_path / "large.mrcs"
    with large.open("wb") as stream:
        stream.truncate(10**9)
    assert read(large, 5 * 10**8, 5 * 10**8 + 100) == bytes(100)
    (kept,) = disk.rglob("*.blocks")
    assert kept.stat().st_blocks * 512 < 10**6


def test_a_file_that_has_changed_is_read_anew(disk: Path, file: Path) -> None:
    """Of the same size and time."""
    read(file, 0, N)
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    with file.open("r+b") as stream:
        stream.write(bytes(N))
    os.utime(file, ns=times)
    assert read(file, 0, N) == bytes(N)


def test_stacks_by_row(disk: Path, tmp_path: Path) -> None:
    """In any order, a part at first, then all."""
    particles, images = three_stacks(tmp_path)
    order = np.random.default_rng(2).permutation(len(particles))
    for rows in (order[:5], order):
        with StackReader(particles) as reader:
            assert np.array_equal(reader.read(rows), images[rows])
    assert len(list(disk.rglob("*.blocks"))) == 3


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_full_disk_is_no_fault(
    disk: Path, file: Path, at: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(scratch, "PIECE_BLOCKS", 1)
    calls: list[int] = []
    pwrite = os.pwrite

    def full(*given: object) -> int:
        calls.append(1)
        if len(calls) > at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return pwrite(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "pwrite", full)
    assert read(file, 0, N) == file.read_bytes()
    assert "No space left on device" in caplog.text and len(calls) == at + 1
    monkeypatch.setattr(os, "pwrite", pwrite)
    assert read(file, 0, N) == file.read_bytes()


def test_half_a_block_counts_for_nothing(disk: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that is killed while it writes leaves blocks that are there, and one that is not."""
    monkeypatch.setattr(scratch, "PIECE_BLOCKS", 1)
    calls: list[int] = []
    pwrite = os.pwrite

    def killed(descriptor: int, data: memoryview, offset: int) -> int:
        calls.append(1)
        if len(calls) == 3:
            pwrite(descriptor, b"x" * (len(data) // 2), offset)
            raise KeyboardInterrupt
        return pwrite(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", killed)
    with pytest.raises(KeyboardInterrupt):
        read(file, 0, N)
    assert read(file, 0, N) == file.read_bytes()
    assert len(calls) == 3 + 4  # of six blocks


def test_what_was_used_longest_ago_goes_first(
    disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    files = [tmp_path / f"{i}.mrcs" for i in range(3)]
    for i, file in enumerate(files):
        file.write_bytes(bytes([i]) * N)
    read(files[0], 0, N)
    (first,) = disk.rglob("*.blocks")
    os.utime(first, ns=(0, 10**18))
    read(files[1], 0, N)
    monkeypatch.setattr(scratch, "_has_room", lambda *_: not first.exists())
    assert read(files[2], 0, N) == files[2].read_bytes()
    assert len(list(disk.rglob("*.blocks"))) == 2 and not caplog.text

    monkeypatch.setattr(scratch, "_has_room", lambda *_: False)
    assert read(files[0], 0, N) == files[0].read_bytes()
    assert "is left); read where it is" in caplog.text


def test_a_variable_that_is_not_set(
    monkeypatch: pytest.MonkeyPatch, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(VARIABLE, "/scratch/$NO_SUCH_JOB")
    assert read(file, 0, 10) == file.read_bytes()[:10]
    assert "$NO_SUCH_JOB is not set here; images are read where they are" in caplog.text


def test_a_folder_that_cannot_be_had(
    monkeypatch: pytest.MonkeyPatch, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(VARIABLE, str(file / "below"))
    assert read(file, 0, 10) == file.read_bytes()[:10]
    assert "Not a directory; images are read where they are" in caplog.text


def test_somebody_else_s_folder_is_not_used(disk: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    disk.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (disk / f"cryocore-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    assert scratch_folder() is None and "somebody else's" in caplog.text
    assert not list((tmp_path / "elsewhere").iterdir())


def test_blocks_of_an_earlier_start_of_the_machine_go(disk: Path, file: Path) -> None:
    earlier = disk / f"cryocore-{os.getuid()}" / "0earlier"
    earlier.mkdir(parents=True)
    read(file, 0, N)
    assert not earlier.exists() and list(disk.rglob("*.blocks"))


@pytest.mark.parametrize("pattern", ["{}/$SLURM_JOB_ID", "{}/job_${{SLURM_JOB_ID}}.local"])
def test_folders_of_jobs_that_were_killed_go(
    tmp_path: Path, file: Path, pattern: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the next job on the machine; those of jobs at work, and of others, stay."""
    wanted = pattern.format(tmp_path)

    def of(job: str) -> Path:
        return Path(wanted.replace("${SLURM_JOB_ID}", job).replace("$SLURM_JOB_ID", job))

    sleeper = [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"]
    with subprocess.Popen(sleeper, env={**os.environ, "SLURM_JOB_ID": "41"}, stdout=subprocess.PIPE) as at_work:
        assert at_work.stdout is not None
        at_work.stdout.readline()
        for job in ("40", "41", "notes"):
            (of(job) / f"cryocore-{os.getuid()}").mkdir(parents=True)
        (of("39") / "of-others").mkdir(parents=True)
        monkeypatch.setenv(VARIABLE, wanted)
        monkeypatch.setenv("SLURM_JOB_ID", "42")
        read(file, 0, N)
        assert [of(job).exists() for job in ("39", "40", "41", "42", "notes")] == [True, False, True, True, True]
        at_work.kill()


def test_a_truncated_file_is_named(disk: Path, file: Path) -> None:
    with pytest.raises(InputError, match=r"images\.mrcs: truncated while it was read"):
        read(file, 0, N + 1)
