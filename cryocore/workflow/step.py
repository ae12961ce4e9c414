"""Runs a stage as a step of the SLURM job around it: on one of its nodes, as soon as one has room.

``profiles/slurm/one-allocation.sh`` names this program in the environment, where its job has several nodes; the rules
then put it before each stage.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from cryocore.workflow.notices import FILE, Notice, job_name, job_of

STEP = ("--nodes=1", "--ntasks=1", "--exact", "--input=none", "--disable-status")
"""One task on one node, with no more than it asks for; Ctrl-C goes on to the stage at once."""
OF_THE_JOB = {"SLURM_CONF", "SLURM_JOB_ID", "SLURM_JOBID", "SLURM_CLUSTER_NAME", "SLURM_WORKING_CLUSTER", "SLURM_JWT"}
"""Variables of SLURM that a step needs; what the job was given, others ask for anew."""
SAID = re.compile(r"^(?:srun|slurmstepd\S*): (?:error: )?(.*)$")
USUAL = re.compile(r"Exited with exit code|step creation temporarily disabled|Step created|Job step aborted")
"""What is said of a stage that ends by itself, or that waits for its turn."""


def main(arguments: Sequence[str]) -> int:
    """Run a stage in a step; its exit status. What SLURM ends is told with its words, beside the logs of the run.

    ``arguments`` end with the command of the stage, whose log is named by ``CRYOCORE_LOG``.
    """
    parser = argparse.ArgumentParser(prog="step")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--mb", type=int, required=True, help="memory, MiB")
    parser.add_argument("--node-mb", type=int, default=0, help="the job's memory on a node, MiB; 0: it has no limit")
    parser.add_argument("--gpus", type=int, default=0)
    parser.add_argument("command", nargs="+")
    given = parser.parse_args(arguments)
    log = Path(os.environ["CRYOCORE_LOG"])
    job = job_name(*job_of(log))
    request = request_of(given.threads, min(given.mb, given.node_mb), given.gpus)
    interrupts: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: interrupts.append(number))  # srun gets it too, and ends the stage
    command = ["srun", *STEP, f"--job-name={job}", *request, *given.command]
    said: list[str] = []
    with subprocess.Popen(command, env=for_a_step(os.environ), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None  # noqa: S101
        for line in process.stderr:
            sys.stderr.write(line)
            sys.stderr.flush()
            said += [words for words in SAID.findall(line) if not USUAL.search(words)]
    if process.returncode and said and not interrupts:
        number = os.environ.get("SLURM_JOB_ID", "")
        notice = Notice("ended", (job,), " ".join(["srun", *request]), "\n".join(dict.fromkeys(said)), number)
        notice.write(folder_of_run(log) / FILE)
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def request_of(threads: int, mb: int, gpus: int) -> list[str]:
    """What a step asks for: cores, memory (MiB, 0 where SLURM does not share it out) and GPUs.

    >>> request_of(8, 2000, 1)
    ['--cpus-per-task=8', '--mem=2000M', '--gres=gpu:1']
    """
    memory = [f"--mem={mb}M"] if mb else []
    return [f"--cpus-per-task={threads}", *memory, f"--gres=gpu:{gpus}" if gpus else "--gres=none"]


def for_a_step(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of ``srun``, without what the job was given as a whole: a step has what it asks for."""
    dropped = ("SLURM_", "SBATCH_", "SRUN_", "CUDA_VISIBLE_DEVICES")
    return {name: value for name, value in environment.items() if name in OF_THE_JOB or not name.startswith(dropped)}


def folder_of_run(log: Path) -> Path:
    """The folder of a run's logs.

    >>> str(folder_of_run(Path("logs/demo/score/round_0.log")))
    'logs/demo'
    """
    return next(folder for folder in log.parents if folder.parent.name == "logs")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
