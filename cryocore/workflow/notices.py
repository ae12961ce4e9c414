"""What a scheduler says of the jobs of a run: kept in one file beside their logs, told to the user in its own words."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

Kind = Literal["submitted", "refused", "ended", "put back", "waiting"]

FILE = "slurm.jsonl"
"""Name of the file in the folder of a run's logs."""
NODES = "sinfo -o '%P %l %c %m %G' shows what nodes have"
LIMITS, PROFILE = "partitions.yaml of the profile", "config.yaml of the profile"
TIME = f"`max_runtime:` of the partition in {LIMITS}, or `runtime` of the rule in {PROFILE}"
MEMORY = f"`max_mem_mb:` of the partition in {LIMITS}, or `mem_mb` of the rule in {PROFILE}"
GPUS = f"`max_gpu:` in {LIMITS}, or `gpu` and `gres` of the rule in {PROFILE}; {NODES}"
ACCOUNT = f"`slurm_account:` under default-resources in {PROFILE}; sacctmgr show assoc user=$USER lists them"
ADVICE = (
    (r"its cache on the node", "nothing: `export XDG_CACHE_HOME=` a folder that nodes can write, then snakemake again"),
    (r"MaxSubmit|MaxJobCount|pending job limit", f"`jobs:` in {PROFILE}: fewer jobs at once"),
    (r"MaxWall", TIME),
    (r"QOS", f"`slurm-qos:` in {PROFILE}, or what the QOS limits: time, memory or jobs"),
    (r"\baccount\b", ACCOUNT),
    (r"time ?limit", TIME),
    (r"\bDOWN\b|DRAINED|UnavailableNodes|NODE_FAIL|BOOT_FAIL", "nothing: nodes are down; `sinfo -R` says why"),
    (r"memory|OUT_OF_MEMORY|oom", MEMORY),
    (r"invalid partition|partition name|PartitionDown|PartitionInactive", f"names of partitions in {LIMITS}"),
    (r"PartitionNodeLimit", f"`nodes` of the rule in {PROFILE}"),
    (r"generic resource|gres|GPU", GPUS),
    (r"PartitionConfig|processor|CPU count", f"`set-threads:` in {PROFILE}; {NODES}"),
    (r"reservation", f"`slurm-reservation:` in {PROFILE}"),
    (r"feature", f"`constraint` of the rule in {PROFILE}"),
    (r"node configuration", f"what no node has: `max_gpu:` in {LIMITS}, `set-threads:` in {PROFILE}; {NODES}"),
    (r"PREEMPTED", f"a partition of higher priority in {LIMITS}; else run the same command again"),
    (r"CANCELLED", "nothing: Snakemake submits it again; stop Snakemake to stop the run"),
)
"""What to change, by the words of the scheduler; the first that fits."""
ADVICE_IN_A_JOB = (
    (r"memory|oom", "`--set-resources RULE:mem_mb=MB` behind the name of the script, or `--mem` of sbatch"),
    (r"generic resource|gres|GPU", "`--gpus-per-node` of sbatch: the stage needs more on one node"),
    (r"NODE FAILURE|Node failure|CANCELLED", "nothing: submit the job again"),
)
"""The same for stages that are steps of one job."""
STEPS = "srun "
"""Begins the request of such a stage."""
NUMBERS = re.compile(r"(?:round_(\d+))?_?(?:shard_(\d+))?$")


@dataclass(frozen=True)
class Notice:
    """What was said of one submission.

    ``jobs`` : as Snakemake names them, ``score:r=1,s=0``
    ``request`` : the options that were given to sbatch; of a step of a job, ``srun`` and its options
    ``slurm_job`` : its number; empty where SLURM took none
    ``time`` : seconds since the epoch
    """

    kind: Kind
    jobs: tuple[str, ...]
    request: str = ""
    said: str = ""
    slurm_job: str = ""
    time: float = field(default_factory=time.time)

    @property
    def names(self) -> str:
        """The jobs, in words."""
        return names_of(self.jobs)

    @property
    def text(self) -> str:
        """What the user reads: whose job it is, the scheduler's words, what was asked for, and what to change."""
        number = f" (SLURM job {self.slurm_job})" if self.slurm_job else ""
        head = {
            "refused": f"SLURM refused {self.names}, and is not asked again:",
            "ended": f"SLURM ended {self.names}{number}:",
            "put back": f"SLURM put back {self.names}{number}, and starts it again:",
            "waiting": f"SLURM does not start {self.names}{number}:",
            "submitted": f"SLURM has {self.names}{number}:",
        }[self.kind]
        lines = [head, *(f"    {line}" for line in self.said.splitlines())]
        lines += [f"    asked for: {self.request}"] if self.request else []
        return "\n".join([*lines, *(f"    change: {line}" for line in [self.advice] if line)])

    @property
    def advice(self) -> str:
        """The line of the profile, or the option, that decides on what was said; empty where none is known."""
        if self.kind == "put back":
            return "nothing: leave Snakemake at work"
        advice = ADVICE_IN_A_JOB if self.request.startswith(STEPS) else ADVICE
        return next((line for words, line in advice if re.search(words, self.said, re.IGNORECASE)), "")

    def write(self, path: Path) -> None:
        """Append it to a file, as one line that others may append to at the same time."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as stream:
            stream.write(json.dumps(asdict(self)) + "\n")


def read_notices(path: Path) -> list[Notice]:
    """All notices of a file, oldest first; none where there is no file. A line cut short counts for nothing."""
    if not path.is_file():
        return []
    found = []
    for line in path.read_text(errors="replace").splitlines():
        try:
            values = json.loads(line)
            found.append(Notice(**{**values, "jobs": tuple(values["jobs"])}))
        except (ValueError, TypeError, KeyError):
            continue
    return found


def last_of_each_job(notices: Iterable[Notice]) -> list[Notice]:
    """The notices that are the last of at least one of their jobs, oldest first; of these jobs alone."""
    last = {job: notice for notice in notices for job in notice.jobs}
    found: dict[int, tuple[Notice, list[str]]] = {}
    for job, notice in last.items():
        found.setdefault(id(notice), (notice, []))[1].append(job)
    kept = [Notice(**{**asdict(n), "jobs": tuple(j for j in n.jobs if j in jobs)}) for n, jobs in found.values()]
    return sorted(kept, key=lambda n: n.time)


def job_of(log: Path) -> tuple[str, int | None, int | None]:
    """Stage, round and shard by the name of a log; None where the stage has none.

    >>> job_of(Path("logs/demo/score/round_1_shard_7.log")), job_of(Path("logs/demo/ingest.log"))
    (('score', 1, 7), ('ingest', None, None))
    """
    stage = log.parent.name if log.stem.startswith("round_") else log.stem.partition("_shard_")[0]
    found = NUMBERS.search(log.stem)
    number, shard = (None if v is None else int(v) for v in found.groups()) if found else (None, None)
    return stage, number, shard


def job_name(stage: str, number: int | None, shard: int | None) -> str:
    """A job as Snakemake, and notices, name it.

    >>> job_name("score", 1, 7)
    'score:r=1,s=7'
    """
    values = {"r": number, "s": shard}
    return f"{stage}:" + ",".join(f"{name}={value}" for name, value in values.items() if value is not None)


def names_of(jobs: Sequence[str]) -> str:
    """Jobs of Snakemake, in words.

    >>> names_of(["select:r=2", "reconstruct:r=2"]), names_of(["score:r=1,s=7"]), names_of(["ingest:"])
    ('reconstruct and select of round 2', 'score of round 1, shard 7', 'ingest')
    """
    from cryocore.workflow.settings import STAGES  # takes longer to import than a submission to make

    of_round: dict[str, list[str]] = {}
    for job in jobs:
        rule, _, wildcards = job.partition(":")
        values = dict(w.split("=", 1) for w in wildcards.split(",") if "=" in w)
        place = f" of round {values['r']}" if "r" in values else ""
        of_round.setdefault(place + (f", shard {values['s']}" if "s" in values else ""), []).append(rule)
    order = {stage: i for i, stage in enumerate(STAGES)}
    ordered = ((place, sorted(rules, key=lambda r: order.get(r, len(order)))) for place, rules in of_round.items())
    return "; ".join(listed(rules) + place for place, rules in ordered)


def listed(words: Sequence[str]) -> str:
    """Words as a list in a sentence."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
