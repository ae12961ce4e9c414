"""Stands in for ``sbatch``: SLURM's own does the work, and what it says of a job is kept.

Snakemake loses these words where jobs share one submission. The environment names the file that they go to.
"""

from __future__ import annotations

import base64
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from cryocore.workflow.notices import Notice

NOTICES = "CRYOCORE_SLURM_NOTICES"
"""Environment variable: the file of notices."""
FOLDER = Path(__file__).parent / "bin"
WAITS_S = (15.0, 60.0, 180.0)
"""Pauses before a scheduler that could not answer is asked again."""
NO_ANSWER = (
    "Unable to contact slurm controller",
    "Socket timed out",
    "temporarily unavailable",
    "Connection refused",
    "Rate limit exceeded",
)
PACKED = "--slurm-jobstep-array-execs"
"""Option of the commands of an array's tasks but the first."""
OF_THE_PLUGIN = ("--parsable", "--job-name", "--output", "--export", "--comment", "-D", "--wrap")
"""Options that say nothing about what a job needs."""


def main(arguments: Sequence[str], waits_s: Sequence[float] = WAITS_S) -> int:
    """Submit a job as ``sbatch`` would; its exit status.

    A scheduler that does not answer is asked again after each of ``waits_s``; a refusal is final.
    """
    program = shutil.which("sbatch", path=path_without(FOLDER))
    if program is None:
        print("sbatch: not found in PATH. Run Snakemake where jobs are submitted from.", file=sys.stderr)
        return 127
    script = None if command_of(arguments) else sys.stdin.read()
    for wait_s in [*waits_s, None]:
        done = subprocess.run([program, *arguments], input=script, text=True, capture_output=True)
        if done.returncode == 0 or wait_s is None or not any(words in done.stderr for words in NO_ANSWER):
            break
        time.sleep(wait_s)
    sys.stdout.write(done.stdout)
    sys.stderr.write(done.stderr)
    if name := os.environ.get(NOTICES):
        try:
            for notice in notices_of(arguments, script or "", done):
                notice.write(Path(name))
        except OSError as error:
            print(f"sbatch: {name} cannot be written: {error.strerror}", file=sys.stderr)
    return done.returncode


def notices_of(arguments: Sequence[str], script: str, done: subprocess.CompletedProcess[str]) -> Iterator[Notice]:
    """What is to be kept of a submission: one notice, or one of each task where an array is submitted."""
    tasks, request = tasks_of(arguments, script), request_of(arguments)
    number = done.stdout.strip().split(";")[0]
    if done.returncode:
        said = done.stderr.strip() or f"sbatch ended with {done.returncode}"
        yield Notice("refused", tuple(job for jobs in tasks.values() for job in jobs), request, said, number)
        return
    for task, jobs in tasks.items():
        yield Notice("submitted", jobs, request, done.stderr.strip(), f"{number}_{task}" if task else number)


def path_without(folder: Path) -> str:
    """The search path without a folder."""
    places = os.environ.get("PATH", "").split(os.pathsep)
    return os.pathsep.join(p for p in places if Path(p).resolve() != folder.resolve())


def command_of(arguments: Sequence[str]) -> str:
    """What a job runs; empty where it is a script."""
    return next((a.removeprefix("--wrap=") for a in arguments if a.startswith("--wrap=")), "")


def tasks_of(arguments: Sequence[str], script: str = "") -> dict[str, tuple[str, ...]]:
    """The jobs of Snakemake in a submission by the number of their task, empty where it is no array.

    The first task of an array is in the command, the others are packed into an option of it.

    >>> tasks_of(["--wrap=python -m snakemake --target-jobs 'sum:r=0,s=1' --cores all"])
    {'': ('sum:r=0,s=1',)}
    """
    words = shlex.split(command_of(arguments) or script)
    comment = next((value for name, value in pairwise(arguments) if name == "--comment"), "a job")
    found = targets_of(words) or (f"{comment.removeprefix('rule_')}:",)
    span = next((word.removeprefix("--array=") for word in arguments if word.startswith("--array=")), "")
    if not span:
        return {"": found}
    packed = next((word.partition("=")[2] for word in words if word.startswith(f"{PACKED}=")), "")
    packed = packed or next((value for name, value in pairwise(words) if name == PACKED), "")
    others = json.loads(base64.b64decode(packed)) if packed else {}
    commands = {task: zlib.decompress(bytes.fromhex(text)).decode() for task, text in others.items()}
    return {span.partition("-")[0]: found, **{task: targets_of(shlex.split(text)) for task, text in commands.items()}}


def targets_of(words: Sequence[str]) -> tuple[str, ...]:
    """What a command of Snakemake is told to make."""
    found: list[str] = []
    for word in words[words.index("--target-jobs") + 1 :] if "--target-jobs" in words else []:
        if word.startswith("--"):
            break
        found.append(word)
    return tuple(found)


def request_of(arguments: Sequence[str]) -> str:
    """What a submission asks for.

    >>> request_of(["--parsable", "--job-name", "x", "-p", "gpu", "-t", "30", "--gpus=1", "--wrap=python"])
    '-p gpu -t 30 --gpus=1'
    """
    kept: list[str] = []
    skips = False
    for word in arguments:
        name = word.split("=")[0]
        if skips or name in OF_THE_PLUGIN:
            skips = not skips and "=" not in word and name != "--parsable"
            continue
        kept.append(word)
    return " ".join(kept)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
