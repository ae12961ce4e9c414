"""Where a run is, by the files that its jobs leave: logs, run times, and what SLURM says of those it ended."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from cryocore.errors import InputError
from cryocore.workflow import STAGES

State = Literal["done", "at work", "failed", "unfinished"]

QUIET_S = 600.0
"""Time without a word after which a job counts as no longer at work."""
FAULT = re.compile(r"^\S+ \S+ (?:ERROR|CRITICAL) \S+: (.*)")
ENDED_BY_SLURM = re.compile(
    r"(DUE TO TIME LIMIT|exceeded memory limit|oom[-_ ]kill|CANCELLED|NODE FAIL)", re.IGNORECASE
)
JOB = re.compile(r"(?:round_(\d+))?_?(?:shard_(\d+))?$")


@dataclass(frozen=True)
class Job:
    """One job of a run.

    ``round``, ``shard`` : None where the stage has none
    ``seconds`` : how long it ran, or has been running
    ``said`` : what it failed of
    """

    stage: str
    round: int | None
    shard: int | None
    state: State
    seconds: float
    log: Path
    said: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "log": str(self.log)}


@dataclass(frozen=True)
class Status:
    """The jobs of a run that have begun, in the order of rounds and stages."""

    run: str
    jobs: tuple[Job, ...]
    n_shards: int = 1
    snakemake_runs: bool = False

    @property
    def text(self) -> str:
        """A table of rounds and stages, and what needs attention."""
        rounds = sorted({j.round for j in self.jobs if j.round is not None})
        stages = [s for s in STAGES if any(j.stage == s and j.round is not None for j in self.jobs)]
        rows = [["round", *stages]] if rounds else []
        rows += [
            [str(r), *(self._cell([j for j in self.jobs if (j.round, j.stage) == (r, s)]) for s in stages)]
            for r in rounds
        ]
        once = [j for j in self.jobs if j.round is None]
        lines = [f"Run {self.run}"]
        lines += [
            f"{s}: {self._cell([j for j in once if j.stage == s])}" for s in STAGES if any(j.stage == s for j in once)
        ]
        return "\n".join([*lines, "", *_aligned(rows), "", *self.attention])

    def _cell(self, jobs: list[Job]) -> str:
        """The state of one stage in one round: of all its shards."""
        if not jobs:
            return "-"
        done = [j for j in jobs if j.state == "done"]
        count = 1 if jobs[0].shard is None else self.n_shards
        if len(done) == count:
            return _duration(sum(j.seconds for j in jobs))
        states = [s for s in ("failed", "unfinished", "at work") if any(j.state == s for j in jobs)]
        return ", ".join([*states[:1], *([f"{len(done)}/{count} done"] if count > 1 else [])])

    @property
    def attention(self) -> Iterator[str]:
        """What failed or stopped, where its log is, and what to do."""
        for job in self.jobs:
            if job.state in ("failed", "unfinished"):
                yield f"{_name(job)} {job.state}: {job.said or 'it ended without a word; see also .snakemake/log'}"
                yield f"    see {job.log}"
        at_work = [_name(j) for j in self.jobs if j.state == "at work"]
        if at_work:
            yield f"At work: {', '.join(at_work)}."
        elif self.snakemake_runs:
            yield "Snakemake is at it; no job has begun to write: they start, or wait in the queue (squeue --me)."
        elif any(j.state != "done" for j in self.jobs):
            yield "Nothing is at work. Mend what failed and run the same snakemake command again: it does what is left."
        elif any(j.stage == "report" for j in self.jobs):
            yield "Done: the report is written."
        else:
            yield "Nothing is at work, and the report is not written: run the same snakemake command again."


def run_status(logs: Path, slurm_logs: Path | None = None, now: float | None = None, *, ended: bool = False) -> Status:
    """The state of a run.

    Parameters
    ----------
    logs : logs/<run>
    slurm_logs : what SLURM's own logs of jobs lie below; default: logs/slurm beside it
    now : seconds since the epoch
    ended : no Snakemake runs, although its lock is still there

    Raises
    ------
    InputError  if no job has begun.
    """
    runs = not ended and any((logs.parent.parent / ".snakemake" / "locks").glob("*"))
    found = [_job(path, now or time.time(), locked=runs) for path in sorted(logs.rglob("*.log"))]
    jobs = [job for job in found if job.stage in STAGES]
    if not jobs:
        remedy = "Give the name of a run, from its directory; the first jobs may still wait in the queue (squeue --me)"
        raise InputError("no job of this run has written a log", file=logs, remedy=remedy)
    ends = _ended_by_slurm(slurm_logs or logs.parent / "slurm")
    told = [_with_reason(job, ends) if job.state == "unfinished" else job for job in jobs]
    order = sorted(told, key=lambda j: (-1 if j.round is None else j.round, STAGES.index(j.stage), j.shard or 0))
    return Status(logs.name, tuple(order), 1 + max(j.shard or 0 for j in jobs), runs)


def _job(log: Path, now: float, *, locked: bool) -> Job:
    """What the log of a job, and the run time beside it, tell."""
    stage = log.parent.name if log.stem.startswith("round_") else log.stem.partition("_shard_")[0]
    numbers = JOB.search(log.stem)
    number, shard = (None if v is None else int(v) for v in numbers.groups()) if numbers else (None, None)
    text = log.read_text(errors="replace")
    faults = [m.group(1) for line in text.splitlines() if (m := FAULT.match(line))]
    times, changed = log.with_suffix(".tsv"), log.stat().st_mtime
    if times.is_file() and times.stat().st_mtime >= changed - 1:
        seconds = float(times.read_text().splitlines()[-1].split("\t")[0])
        return Job(stage, number, shard, "done", seconds, log)
    if faults:
        said = (
            [line for line in text.splitlines() if line.strip()][-1]
            if "fault of the program" in faults[-1]
            else faults[-1]
        )
        return Job(stage, number, shard, "failed", 0.0, log, said)
    begun = _began(text, changed)
    state: State = "at work" if locked and now - changed < QUIET_S else "unfinished"
    return Job(stage, number, shard, state, now - begun, log)


def _began(text: str, default: float) -> float:
    """When the first line of a log was written."""
    try:
        return time.mktime(time.strptime(text[:19], "%Y-%m-%d %H:%M:%S"))
    except ValueError:
        return default


def _ended_by_slurm(folder: Path) -> dict[str, str]:
    """Why SLURM ended jobs, by rule and wildcards as in the folders of its logs."""
    ends = {}
    for path in sorted(folder.rglob("*.log"), key=lambda p: p.stat().st_mtime):
        lines = path.read_text(errors="replace").splitlines()
        reason = next((line.strip() for line in reversed(lines) if ENDED_BY_SLURM.search(line)), None)
        if reason:
            ends[path.relative_to(folder).parent.as_posix()] = f"{reason} ({path})"
    return ends


def _with_reason(job: Job, ends: dict[str, str]) -> Job:
    wildcards = "_".join(str(v) for v in (job.round, job.shard) if v is not None)
    said = ends.get(f"rule_{job.stage}/{wildcards}" if wildcards else f"rule_{job.stage}", "")
    return Job(**{**asdict(job), "said": said})


def _name(job: Job) -> str:
    of_round = "" if job.round is None else f" of round {job.round}"
    return f"{job.stage}{of_round}" + ("" if job.shard is None else f", shard {job.shard}")


def _duration(seconds: float) -> str:
    """As 12 s, 3 min, 2.5 h.

    >>> [_duration(v) for v in (12.2, 200, 9000)]
    ['12 s', '3 min', '2.5 h']
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
