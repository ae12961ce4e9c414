"""What this machine is called, for the names of result files."""

from __future__ import annotations

import platform
import re
from pathlib import Path

from cryocore.cores import available_cores


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
