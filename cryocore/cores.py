"""How many threads are worth starting."""

from __future__ import annotations

import os


def available_cores() -> int:
    """The cores that this process may use, which a job's allocation may have limited."""
    return len(os.sched_getaffinity(0))
