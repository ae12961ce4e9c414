"""How many threads are worth starting, and work spread over them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")


def available_cores() -> int:
    """The cores that this process may use, which a job's allocation may have limited."""
    return len(os.sched_getaffinity(0))


def in_threads(work: Callable[[Item], Any], items: Iterable[Item]) -> None:
    """Call ``work`` with each item, on as many threads as there are cores; the first error is raised."""
    with ThreadPoolExecutor(available_cores()) as pool:
        for _ in pool.map(work, items):
            pass
