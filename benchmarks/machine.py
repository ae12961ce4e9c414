"""What a result is made with: the commit, the command, the machine, the day and the files it is made from."""

from __future__ import annotations

import hashlib
import platform
import re
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cryocore.cores import available_cores

ROOT = Path(__file__).resolve().parents[1]
CODE = ("cryocore", "scripts", "rules", "Snakefile", "experiments", "benchmarks", ":!benchmarks/results")
"""What counts as a change since the commit, as Git names it."""


def processor() -> str:
    """Name of the processor, as far as the system tells it."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found.group(1).strip() if found else platform.machine()


def machine_name() -> str:
    """Processor and cores of this process, as a file name."""
    return re.sub(r"[^a-z0-9]+", "-", f"{processor()} {available_cores()} cores".lower()).strip("-")


def made_by(command: str, inputs: Iterable[Path] = ()) -> dict[str, Any]:
    """What a result file says of itself, under ``made``.

    ``commit`` is that at the start of the process; it ends with ``+`` where code had changed since, and is None outside
    a checkout; ``inputs`` are the first 12 digits of each file's SHA-256 by its name.
    """
    return {
        "made": {
            "command": command,
            "commit": AT_START,
            "date": time.strftime("%Y-%m-%d"),
            "machine": machine_name(),
            "inputs": {path.name: _digest(path) for path in sorted(set(inputs))},
        }
    }


def commit() -> str | None:
    """The commit that is checked out, with a + where code has changed since."""
    try:
        head = _git("rev-parse", "--short", "HEAD")
        changed = _git("status", "--porcelain", "--", *CODE)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + "+" * bool(changed)


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


AT_START = commit()
"""As it was when this process began: what is committed while it measures has measured nothing."""
