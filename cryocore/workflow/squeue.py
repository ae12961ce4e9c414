"""Stands in for ``squeue``, where Snakemake asks for the states of its jobs: it answers as soon as one has ended.

Snakemake's plugin waits longer and longer between two questions, however short the jobs are. Here the pauses are a
share of the time since something last happened, so that an end is seen early and long jobs cost few questions.

A job that SLURM takes off its node is PREEMPTED if that is its end, and PENDING again if it is to start once more. The
plugin takes the first for the second and waits: it is told CANCELLED. The second is a notice for the user.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cryocore.workflow.notices import Notice, read_notices
from cryocore.workflow.sbatch import FOLDER, NOTICES, path_without

LONGEST_S = 45.0
"""After this time there is an answer in any case; the plugin gives up after 60."""
LEAST_S, SHARE = 2.0, 1 / 5
"""Pauses between questions to SLURM: at least, and over the time since a job began or ended."""
AT_WORK = {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED", "STOPPED"}
FILE = "slurm.states"


def main(
    arguments: Sequence[str], sleep: Callable[[float], None] = time.sleep, clock: Callable[[], float] = time.time
) -> int:
    """Print what ``squeue`` says; of the jobs of a run, once one has ended that was not told. The exit status."""
    program = shutil.which("squeue", path=path_without(FOLDER))
    if program is None:
        print("squeue: not found in PATH. Run Snakemake where jobs are submitted from.", file=sys.stderr)
        return 127
    name, started = os.environ.get(NOTICES), clock()
    file = Path(name).with_name(FILE) if name and "--name" in arguments else None
    known, changed = read_states(file, started) if file else ({}, started)
    first: dict[str, str] = {}
    seen = dict(known)
    while True:
        done = subprocess.run([program, *arguments], text=True, capture_output=True)
        answer = done.stdout if file is None else re.sub(r"\|PREEMPTED\b", "|CANCELLED", done.stdout)
        states = dict(line.strip().split("|", 1) for line in answer.splitlines() if "|" in line)
        first = first or states
        back = [job for job, state in states.items() if state == "PENDING" and seen.get(job, state) != state]
        seen.update(states)
        if name and back:
            tell_put_back(Path(name), back)
        if file is None or done.returncode:
            break
        if set(states) - set(known):
            changed = max(changed, started)
        ended = {job for job, state in states.items() if state not in AT_WORK and known.get(job, "") in {"", *AT_WORK}}
        pause_s = max(LEAST_S, SHARE * (clock() - changed))
        if ended or not set(states.values()) & AT_WORK or clock() + pause_s > started + LONGEST_S:
            # one that came while this waited is not known to who asks: its end is told by the next answer
            write_states(file, {j: s for j, s in states.items() if j in first}, clock() if ended else changed)
            break
        sleep(pause_s)
    sys.stdout.write(answer)
    sys.stderr.write(done.stderr)
    return done.returncode


def tell_put_back(notices: Path, jobs: Sequence[str]) -> None:
    """Keep a notice of each job that SLURM has stopped and put back into the queue, with its words."""
    from cryocore.workflow.scheduler import why_ended

    submitted = {n.slurm_job: n for n in read_notices(notices)}
    for job in jobs:
        given = submitted.get(job, Notice("submitted", ()))
        with contextlib.suppress(OSError):  # of a full disk, other messages tell
            Notice("put back", given.jobs, given.request, why_ended(job), job).write(notices)


def read_states(file: Path, now: float) -> tuple[dict[str, str], float]:
    """What was told last, and when something had happened; nothing, and ``now``, where there is no such file."""
    try:
        values = json.loads(file.read_text())
        return dict(values["states"]), float(values["changed"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}, now


def write_states(file: Path, states: dict[str, str], changed: float) -> None:
    """Keep what is told; where it cannot be kept, answers come at once."""
    try:
        file.write_text(json.dumps({"states": states, "changed": changed}))
    except OSError:
        file.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
