"""Stands in for ``squeue``, where Snakemake asks for the states of its jobs: it answers as soon as one has ended.

Snakemake's plugin waits longer and longer between two questions, however short the jobs are. Here the pauses are a
share of the time since something last happened, so that an end is seen early and long jobs cost few questions.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cryocore.workflow.sbatch import FOLDER, NOTICES, path_without

LONGEST_S = 45.0
"""After this time there is an answer in any case; the plugin gives up after 60."""
LEAST_S, SHARE = 2.0, 1 / 5
"""Pauses between questions to SLURM: at least, and over the time since a job began or ended."""
AT_WORK = {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED", "STOPPED", "PREEMPTED"}
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
    while True:
        done = subprocess.run([program, *arguments], text=True, capture_output=True)
        states = dict(line.strip().split("|", 1) for line in done.stdout.splitlines() if "|" in line)
        first = first or states
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
    sys.stdout.write(done.stdout)
    sys.stderr.write(done.stderr)
    return done.returncode


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
