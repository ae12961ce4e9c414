"""What is read of large files, kept on a disk of the machine's own, so that it crosses the network once.

The variable ``CRYOCORE_SCRATCH`` names the folder, with other variables in it by their values; where there is none,
files are read where they are. A file is kept in blocks, those that were read, in a sparse file of the same size. Blocks
are known by the path, size and times of the file, and count until the machine starts again: no power cut leaves half a
block that counts. Where the disk runs short, what was used longest ago goes; where that does not help, files are read
where they are.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import logging
import os
import re
import shutil
import stat
import threading
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryocore.errors import InputError

log = logging.getLogger(__name__)

VARIABLE = "CRYOCORE_SCRATCH"
JOB = "SLURM_JOB_ID"
BLOCK_BYTES = 1 << 16
PIECE_BLOCKS = 64
"""Blocks that are copied at a time."""
LEAST_FREE = 0.05
"""Of the disk, which is left to others."""
SUFFIX = ".blocks"


class FileByParts:
    """A file of which parts are read, also from several threads, each from the scratch folder where it is kept there.

    Parameters
    ----------
    path : the file
    what : what it is, in errors

    Raises
    ------
    OSError  if it cannot be opened.
    """

    def __init__(self, path: Path, what: str) -> None:
        self.path, self._what = path, what
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        folder = scratch_folder()
        self._kept = None if folder is None else _kept(path, os.fstat(self._descriptor), folder)
        self._lock = threading.Lock()

    def read(self, data: NDArray[np.uint8], offset: int) -> None:
        """Fill ``data`` from byte ``offset``.

        Raises
        ------
        InputError  if it cannot be read, or ends before.
        """
        if self._kept is not None:
            with self._lock:
                if self._read_kept(data, offset):
                    return
        self._read(data, offset)

    def _read_kept(self, data: NDArray[np.uint8], offset: int) -> bool:
        """Fill ``data`` from what is kept, which is added to; False where that does not help."""
        kept, end = self._kept, offset + len(data)
        if kept is None or end > kept.n_bytes:
            return False
        try:
            self._keep(kept, offset, end)
            if _filled(kept.descriptor, data, offset) == len(data):
                return True
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        except OSError as error:
            log.warning("%s: no more is kept (%s); read where it is", kept.folder, error.strerror)
            kept.close()
            self._kept = None
            return False

    def _keep(self, kept: _Kept, low: int, high: int) -> None:
        """Copy the blocks of a range of bytes that are not there yet."""
        first, last = low // BLOCK_BYTES, -(-high // BLOCK_BYTES)
        missing = first + np.flatnonzero(kept.there[first:last] == 0)
        for run in np.split(missing, np.flatnonzero(np.diff(missing) != 1) + 1):
            for at in range(0, len(run), PIECE_BLOCKS):
                blocks = run[at : at + PIECE_BLOCKS]
                start, end = int(blocks[0]) * BLOCK_BYTES, min((int(blocks[-1]) + 1) * BLOCK_BYTES, kept.n_bytes)
                piece = np.empty(end - start, dtype=np.uint8)
                self._read(piece, start)
                kept.write(piece, start)
                kept.there[blocks] = 1

    def _read(self, data: NDArray[np.uint8], offset: int) -> None:
        """Fill ``data`` from the file itself."""
        try:
            n_bytes = _filled(self._descriptor, data, offset)
        except OSError as error:
            problem = f"the {self._what} cannot be read ({error.strerror})"
            raise InputError(problem, file=self.path, fix="Restore it and run the workflow again") from None
        if n_bytes < len(data):
            problem, fix = "truncated while it was read", f"Copy or write the {self._what} again"
            raise InputError(problem, file=self.path, fix=fix)

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)
        if self._kept is not None:
            self._kept.close()


class _Kept:
    """The blocks that are kept of one file, at their places; behind them a byte for each says whether it is there."""

    def __init__(self, file: Path, n_bytes: int) -> None:
        self.folder, self.n_bytes = file.parent, n_bytes
        n_blocks = -(-n_bytes // BLOCK_BYTES)
        self.descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _make_room(self.folder, n_blocks)
            # writing to a map of a file without room for it would be a signal
            os.posix_fallocate(self.descriptor, n_blocks * BLOCK_BYTES, n_blocks)
            os.utime(self.descriptor)
            with os.fdopen(os.dup(self.descriptor), "r+b") as again:
                self.there: NDArray[np.uint8] = np.memmap(again, np.uint8, "r+", n_blocks * BLOCK_BYTES, n_blocks)
        except OSError:
            os.close(self.descriptor)
            raise

    def write(self, piece: NDArray[np.uint8], offset: int) -> None:
        _make_room(self.folder, len(piece))
        done = 0
        while done < len(piece):
            done += os.pwrite(self.descriptor, piece.data[done:], offset + done)

    def close(self) -> None:
        os.close(self.descriptor)


def _kept(path: Path, state: os.stat_result, folder: Path) -> _Kept | None:
    """What is kept of a file; None, with a warning, where the folder cannot hold it."""
    if not state.st_size:
        return None
    identity = f"{path.resolve()}\0{state.st_ino}\0{state.st_size}\0{state.st_mtime_ns}\0{state.st_ctime_ns}"
    name = hashlib.sha256(identity.encode()).hexdigest()[:32] + SUFFIX
    try:
        return _Kept(folder / name, state.st_size)
    except OSError as error:
        log.warning("%s: %s is not kept (%s); read where it is", folder, path, error.strerror or error)
        return None


def _make_room(folder: Path, n_bytes: int) -> None:
    """Remove what was used longest ago where ``n_bytes`` would leave too little of the disk.

    Raises
    ------
    OSError  if too little is left without it.
    """
    while not _has_room(folder, n_bytes):
        used = sorted((file.stat().st_mtime_ns, file) for file in folder.glob(f"*{SUFFIX}"))
        if len(used) < 2:  # its own
            raise OSError(errno.ENOSPC, f"less than {100 * LEAST_FREE:g} % of the disk is left")
        used[0][1].unlink(missing_ok=True)


def _has_room(folder: Path, n_bytes: int) -> bool:
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize - n_bytes >= LEAST_FREE * disk.f_blocks * disk.f_frsize


def scratch_folder() -> Path | None:
    """The folder of blocks, by the environment; None where there is none to be had, with a warning if one is wanted."""
    return _folder(os.environ.get(VARIABLE, ""), os.environ.get(JOB))


@cache
def _folder(wanted: str, _job: str | None) -> Path | None:
    if not wanted:
        return None
    place = os.path.expanduser(os.path.expandvars(wanted))
    if unset := re.search(r"\$\w+|\$\{\w+\}", place):
        log.warning("scratch %s: %s is not set here; images are read where they are", wanted, unset.group())
        return None
    try:
        _remove_of_ended_jobs(wanted)
        return _own(Path(place), Path("/proc/sys/kernel/random/boot_id").read_text()[:8])
    except OSError as error:
        problem = error.strerror or str(error)
        log.warning("scratch %s: %s; images are read where they are", place, problem)
        return None


def _own(place: Path, boot: str) -> Path:
    """The user's own folder in a place that others may share; those of earlier starts of the machine are removed."""
    place.mkdir(parents=True, exist_ok=True)
    own = place / _name()
    own.mkdir(mode=0o700, exist_ok=True)
    found = own.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise OSError(f"{own.name} is somebody else's")
    for earlier in own.iterdir():
        if earlier.name != boot:
            shutil.rmtree(earlier, ignore_errors=True)
    (own / boot).mkdir(exist_ok=True)
    return own / boot


def _name() -> str:
    return f"cryocore-{os.getuid()}"


def _remove_of_ended_jobs(wanted: str) -> None:
    """Remove the folders of the user's jobs on this machine that have ended, by themselves or not."""
    parts = re.split(rf"\$\{{{JOB}\}}|\${JOB}\b", wanted)
    if len(parts) != 2:
        return
    before, after = map(os.path.expandvars, parts)
    at_work = _jobs_at_work()
    for place in glob.iglob(f"{glob.escape(before)}*{glob.escape(after)}"):
        job, folder = place[len(before) : len(place) - len(after)], Path(place, _name())
        with contextlib.suppress(OSError):
            if job.isdigit() and job not in at_work and folder.lstat().st_uid == os.getuid():
                shutil.rmtree(folder, ignore_errors=True)
                os.rmdir(place)


def _jobs_at_work() -> set[str]:
    """The jobs of SLURM of which this user has a process on this machine."""
    found = {os.environ.get(JOB, "")}
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            found |= {m.decode() for m in re.findall(rf"\0{JOB}=(\d+)\0".encode(), b"\0" + environment.read_bytes())}
    return found


def _filled(descriptor: int, data: NDArray[np.uint8], offset: int) -> int:
    """Fill ``data`` from byte ``offset`` of an open file; how many bytes there are, fewer at its end alone."""
    view, done = data.data, 0
    while done < len(data) and (got := os.preadv(descriptor, [view[done:]], offset + done)):
        done += got
    return done
