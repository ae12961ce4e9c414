"""What SLURM knows of jobs: why one ended, and why one does not start."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

ANSWER_S = 20.0
"""Time that a scheduler has to answer."""
ENDED_BY_SLURM = {"TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "PREEMPTED", "CANCELLED", "BOOT_FAIL", "DEADLINE"}
KILLED = re.compile(
    r"^slurmstepd\S*: error: (.*(?:memory|oom|OOM|TIME LIMIT|NODE FAILURE|PREEMPTION).*)$", re.MULTILINE
)
NO_CACHE = re.compile(r"sourcecache\.py.*?^(\w+Error: .*?)$", re.MULTILINE | re.DOTALL)
"""The end of a job in which Snakemake itself does not start, since it finds no place for its cache."""
NOT_WRITABLE = "0:53"
"""Exit code of a job whose output file SLURM cannot open."""
USUAL = {"None", "Priority", "Resources", "Dependency", "BeginTime", "Prolog", "Cleaning"}
"""Reasons to wait that pass by themselves."""


def why_ended(number: str) -> str:
    """Why SLURM ended a job, in its words; empty where the program ended by itself, or SLURM does not tell.

    ``number`` is that of SLURM. What the last lines of its own log say is added.
    """
    known = fields(ask("scontrol", "--oneliner", "show", "job", number))
    if not known:
        names = ("JobState", "Reason", "ExitCode", "RunTime", "TimeLimit", "NodeList")
        asked = "--format=State,Reason,ExitCode,Elapsed,Timelimit,NodeList"
        row = ask("sacct", "--allocations", "--noheader", "--parsable2", f"--jobs={number}", asked)
        known = dict(zip(names, (row.splitlines() or [""])[0].split("|"), strict=False))
    state = known.get("JobState", "").split(" ")[0]
    log = text_of(known.get("StdOut", ""))
    killed = KILLED.findall(log)
    lines = []
    if state in ENDED_BY_SLURM:
        reason = known.get("Reason", "None")
        told = [state, *([reason] if reason not in ("", "None") else [])]
        lines.append(f"{', '.join(told)} after {known.get('RunTime', '?')} of {known.get('TimeLimit', '?')}")
        lines[0] += f" on {known['NodeList']}" if known.get("NodeList", "(null)") not in ("", "(null)") else ""
    elif known.get("ExitCode") == NOT_WRITABLE:
        lines.append(f"{state}: its log cannot be written on the node: {known.get('StdOut', '')}")
    elif no_cache := NO_CACHE.search(log):
        lines.append(f"{state}: Snakemake finds no place for its cache on the node: {no_cache[1]}")
    return "\n".join([*lines, *dict.fromkeys(killed[-2:])])


def not_started(numbers: Iterable[str]) -> dict[str, str]:
    """The jobs among ``numbers`` that wait in the queue, or that SLURM has put back, with its reason."""
    rows = ask(
        "squeue", "--me", "--array", "--noheader", "--states=PENDING,PREEMPTED,SUSPENDED", "--format=%i|%T|%r"
    ).splitlines()
    found = {}
    for row in rows:
        number, state, reason = (*row.strip().split("|", 2), "", "")[:3]
        found[number] = reason if state == "PENDING" else f"{state}, {reason}"
    return {number: found[number] for number in numbers if number in found}


def fields(line: str) -> dict[str, str]:
    """``Name=value`` pairs of ``scontrol``, whose values may have spaces.

    >>> fields("JobId=5 Reason=TimeLimit StdOut=/my work/r=0/5.log")["StdOut"]
    '/my work/r=0/5.log'
    """
    return dict(re.findall(r"([A-Z][\w:/]*)=(.*?)(?= [A-Z][\w:/]*=|$)", line.strip()))


def text_of(name: str) -> str:
    """The text of a file; empty where it cannot be read."""
    try:
        return Path(name).read_text(errors="replace") if name else ""
    except OSError:
        return ""


def ask(program: str, *arguments: str) -> str:
    """The answer of a command of SLURM; empty where there is no such command, or no answer."""
    if shutil.which(program) is None:
        return ""
    try:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=ANSWER_S)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
