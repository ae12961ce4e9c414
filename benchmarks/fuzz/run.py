"""Many damaged files through a reader, in a process of its own that may crash, hang or run out of memory."""

from __future__ import annotations

import logging
import multiprocessing
import random
import resource
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from ctypes import c_int64
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.fuzz.damage import damaged
from benchmarks.fuzz.readers import READERS, Reader
from cryocore.errors import InputError

MOST_SECONDS, KILLED_AFTER_SECONDS = 1.0, 10.0
"""Processor time of one case that is a finding, and that ends the process."""
MEMORY_BYTES = 1 << 28
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - files of a case never touch a disk


@dataclass(frozen=True)
class Finding:
    """A case that was neither read nor refused; ``place`` tells kinds of findings apart."""

    index: int
    place: str
    content: bytes


@dataclass
class Tally:
    """What became of the cases of a reader."""

    cases: int = 0
    read: int = 0
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)


def examine(reader: Reader, folder: Path, seed: int, first: int, last: int, tally: Tally) -> Iterator[int]:
    """Try the cases ``first`` to before ``last``; yields each number before its case, whose file lies in ``folder``."""
    seeds = [path.read_bytes() for path in reader.seeds(folder)]
    path = folder / f"case{reader.suffix}"
    for index in range(first, last):
        content = damaged(seeds, random.Random(f"{seed} {index}"))  # noqa: S311 - nothing is secret
        path.write_bytes(content)
        yield index
        start, place = time.process_time(), ""
        try:
            reader.read(path)
            tally.read += 1
        except InputError:
            pass
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            ours = [f for f in traceback.extract_tb(error.__traceback__) if "cryocore" in Path(f.filename).parts]
            place = (
                f"{type(error).__name__} in {Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else repr(error)
            )
        if (spent := time.process_time() - start) > MOST_SECONDS:
            place = place or f"{spent:.1f} s"
        if place:
            tally.findings.append(Finding(index, place, content))
        tally.cases += 1


def fuzz(name: str, seed: int, cases: int) -> Tally:
    """All cases of a reader; a process that dies is a finding, and another one goes on behind it."""
    total, first, start = Tally(), 0, time.monotonic()
    base = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="cryocore-fuzz-", dir=base) as folder:
        while first < cases:
            at, (ours, theirs) = context.Value(c_int64, first), context.Pipe(duplex=False)
            child = context.Process(target=_examine, args=(name, Path(folder), seed, first, cases, at, theirs))
            child.start()
            theirs.close()
            try:
                tally: Tally = ours.recv()
                first = cases
            except EOFError:
                child.join()
                if not child.exitcode or child.exitcode > 0:
                    raise RuntimeError(f"the valid files of {name} are not read") from None
                crashed = Path(folder) / f"case{READERS[name].suffix}"
                place = f"ended with {signal.Signals(-child.exitcode).name}"
                tally = Tally(at.value + 1 - first, 0, 0.0, [Finding(at.value, place, crashed.read_bytes())])
                first = at.value + 1
            child.join()
            total.cases, total.read = total.cases + tally.cases, total.read + tally.read
            total.findings += tally.findings
    total.seconds = time.monotonic() - start
    return total


def _examine(name: str, folder: Path, seed: int, first: int, last: int, at: Any, out: Any) -> None:
    warnings.simplefilter("ignore")
    logging.disable()
    reader, tally = READERS[name], Tally()
    for path in reader.seeds(folder):  # libraries take what they need for themselves
        reader.read(path)
    held = int(next(s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith("VmData")).split()[1])
    resource.setrlimit(resource.RLIMIT_DATA, (1024 * held + MEMORY_BYTES, resource.RLIM_INFINITY))
    for index in examine(reader, folder, seed, first, last, tally):
        at.value = index
        signal.setitimer(signal.ITIMER_PROF, KILLED_AFTER_SECONDS)
    signal.setitimer(signal.ITIMER_PROF, 0.0)
    out.send(tally)
