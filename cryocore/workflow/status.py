"""Where a run is, by the files that its jobs leave: logs, run times, and what SLURM said of those it was given."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from cryocore.errors import InputError
from cryocore.markdown import aligned_text
from cryocore.workflow.notices import FILE, Notice, job_name, job_of, last_of_each_job, read_notices
from cryocore.workflow.scheduler import USUAL, not_started, text_of
from cryocore.workflow.settings import STAGES

State = Literal["done", "at work", "failed", "unfinished"]

QUIET_S = 600.0
"""Time without a word after which a job counts as no longer at work."""
FAULT = re.compile(r"^\S+ \S+ (?:ERROR|CRITICAL) \S+: (.*)", re.MULTILINE)
SLURM_FAULT = re.compile(r"\s*slurmstepd\S*: error")


@dataclass(frozen=True)
class Job:
    """One job of a run; ``round`` and ``shard`` are None where the stage has none.

    ``seconds`` : how long it ran; 0 where it is not done
    ``said`` : what it failed of
    """

    stage: str
    round: int | None
    shard: int | None
    state: State
    seconds: float
    log: Path
    said: str = ""

    def __str__(self) -> str:
        of_round = "" if self.round is None else f" of round {self.round}"
        return f"{self.stage}{of_round}" + ("" if self.shard is None else f", shard {self.shard}")

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "log": str(self.log)}


@dataclass(frozen=True)
class Status:
    """The jobs of a run that have begun, in the order of rounds and stages.

    ``notices`` : what SLURM said of jobs that have not begun since, or that it ended
    """

    run: str
    jobs: tuple[Job, ...]
    notices: tuple[Notice, ...] = ()
    n_shards: int = 1
    snakemake_runs: bool = False

    @property
    def text(self) -> str:
        """A table of rounds and stages, and what needs attention."""
        stages = [s for s in STAGES if any(j.stage == s and j.round is not None for j in self.jobs)]
        once = [s for s in STAGES if any(j.stage == s and j.round is None for j in self.jobs)]
        rows = [["round", *stages]] if stages else []
        for r in sorted({j.round for j in self.jobs if j.round is not None}):
            rows.append([str(r), *(self._cell(s, r) for s in stages)])
        lines = [f"Run {self.run}", *(f"{s}: {self._cell(s, None)}" for s in once)]
        return "\n".join([*lines, "", *([aligned_text(rows)] if rows else []), "", *self.attention])

    def _cell(self, stage: str, number: int | None) -> str:
        """The state of one stage in one round: of all its shards."""
        jobs = [j for j in self.jobs if (j.stage, j.round) == (stage, number)]
        if not jobs:
            return "-"
        done = [j for j in jobs if j.state == "done"]
        count = len(jobs) if jobs[0].shard is None else self.n_shards
        if len(done) == count:
            seconds = sum(j.seconds for j in jobs)
            return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
        states = [s for s in ("failed", "unfinished", "at work") if any(j.state == s for j in jobs)]
        return ", ".join([*states[:1], *([f"{len(done)}/{count} done"] if count > 1 else [])])

    @property
    def attention(self) -> Iterator[str]:
        """What failed or stopped, where its log is, and what to do."""
        for job in self.jobs:
            if job.state in ("failed", "unfinished"):
                yield f"{job} {job.state}: {job.said or 'it ended without a word; see also .snakemake/log'}"
                yield f"    see {job.log}"
        for notice in self.notices:
            yield notice.text
        at_work = [str(j) for j in self.jobs if j.state == "at work"]
        if at_work:
            yield f"At work: {', '.join(at_work)}."
        elif self.snakemake_runs:
            yield "Snakemake is at it; no job has begun to write: they start, or wait in the queue (squeue --me)."
        elif any(n.kind == "waiting" for n in self.notices):
            yield "Nothing is at work; jobs wait in the queue (squeue --me)."
        elif self.notices or any(j.state != "done" for j in self.jobs):
            yield "Nothing is at work. Mend what failed and run the same snakemake command again: it does what is left."
        elif any(j.stage == "report" for j in self.jobs):
            yield "Done: the report is written."
        else:
            yield "Nothing is at work, and the report is not written: run the same snakemake command again."


def run_status(logs: Path, now: float | None = None, *, ended: bool = False) -> Status:
    """The state of a run, from ``logs/<run>`` and SLURM's own logs in ``logs/slurm``, ``now`` (s since the epoch).

    ``ended`` says that Snakemake has nothing more at work, though its locks are there.

    Raises
    ------
    InputError  if no job has begun.
    """
    runs = not ended and any((logs.parent.parent / ".snakemake" / "locks").glob("*"))
    found = [_job(path, now or time.time(), locked=runs) for path in sorted(logs.rglob("*.log"))]
    jobs = [job for job in found if job.stage in STAGES]
    notices = _open_notices(logs / FILE, jobs)
    refused = {job for n in notices if n.kind == "refused" for job in n.jobs}
    jobs = [job for job in jobs if _snakemake_name(job) not in refused]
    if not jobs and not notices:
        fix = "Give the name of a run, from its directory; the first jobs may still wait in the queue (squeue --me)"
        raise InputError("no job of this run has written a log", file=logs, fix=fix)
    order = sorted(jobs, key=lambda j: (-1 if j.round is None else j.round, STAGES.index(j.stage), j.shard or 0))
    n_shards = 1 + max((j.shard or 0 for j in jobs), default=0)
    return Status(logs.name, tuple(order), tuple(notices), n_shards, runs)


def _open_notices(file: Path, jobs: list[Job]) -> list[Notice]:
    """What SLURM said last of jobs that have written nothing since, or that it ended; and why jobs wait."""
    written = {_snakemake_name(job): job for job in jobs}
    found = []
    for notice in last_of_each_job(read_notices(file)):
        begun = [written[j] for j in notice.jobs if j in written]
        since = [j for j in begun if j.state == "done" or _last_word(j.log) > notice.time]
        if notice.kind == "ended" and all(j.state == "done" for j in begun) and begun:
            continue
        if notice.kind == "ended" or not since:
            found.append(notice)
    submitted = [n.slurm_job for n in found if n.kind == "submitted"]
    reasons = not_started(submitted) if submitted else {}
    reasons = {job: reason for job, reason in reasons.items() if reason not in USUAL}
    waiting = (replace(n, kind="waiting", said=reasons[n.slurm_job]) for n in found if n.slurm_job in reasons)
    return [*(n for n in found if n.kind != "submitted"), *waiting]


def _last_word(log: Path) -> float:
    """When a log was written to (s since the epoch); long ago where it is empty, as Snakemake leaves it."""
    try:
        found = log.stat()
    except FileNotFoundError:  # Snakemake removes logs before it starts a job
        return 0.0
    return found.st_mtime if found.st_size else 0.0


def _snakemake_name(job: Job) -> str:
    """A job as notices name it."""
    return job_name(job.stage, job.round, job.shard)


def _job(log: Path, now: float, *, locked: bool) -> Job:
    """What the log of a job, and the run time beside it, tell."""
    stage, number, shard = job_of(log)
    text, times = text_of(str(log)), log.with_suffix(".tsv")
    try:
        changed = log.stat().st_mtime  # an empty one may be that of a job which had nothing to say
    except FileNotFoundError:
        changed = now
    rows = text_of(str(times)).splitlines()
    if rows and _last_word(times) >= changed - 1:
        seconds = float(rows[-1].split("\t")[0])
        return Job(stage, number, shard, "done", seconds, log)
    if faults := FAULT.findall(text):
        crash = "fault of the program" in faults[-1]
        return Job(stage, number, shard, "failed", 0.0, log, text.rstrip().splitlines()[-1] if crash else faults[-1])
    if locked and now - changed < QUIET_S:
        return Job(stage, number, shard, "at work", 0.0, log)
    wildcards = "_".join(str(v) for v in (number, shard) if v is not None)
    slurm = next(p for p in log.parents if p.name == "logs") / "slurm"
    groups = ("*",) if number is None else (f"*_{number}", "rounds")
    together = [folder for group in groups for folder in slurm.glob(f"group_{group}_*{stage}*")]
    folders = [slurm / f"rule_{stage}" / wildcards, *together]
    return Job(stage, number, shard, "unfinished", 0.0, log, _said_by_slurm(folders))


def _said_by_slurm(folders: list[Path]) -> str:
    """Why SLURM ended a job, by the last of its logs; empty where it did not."""
    logs = [path for folder in folders for path in folder.glob("*.log")]
    for path in sorted(logs, key=lambda p: p.stat().st_mtime, reverse=True):
        told = [line.strip() for line in path.read_text(errors="replace").splitlines() if SLURM_FAULT.match(line)]
        if told:
            return f"{told[-1]} ({path})"
    return ""
