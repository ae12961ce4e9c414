"""How many threads are worth starting, and work spread over them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")


THREADS = "OMP_NUM_THREADS"
"""The environment variable that limits threads; Snakemake sets it to those of a job."""


def available_cores() -> int:
    """The cores that this process may use, which a job's allocation or ``OMP_NUM_THREADS`` may have limited."""
    cores, limit = len(os.sched_getaffinity(0)), os.environ.get(THREADS, "")
    return min(cores, max(1, int(limit))) if limit.isdigit() else cores


def limit_cores(threads: int) -> int:
    """Start no more threads than these from here on; the number itself."""
    os.environ[THREADS] = str(threads)
    return threads


def in_threads(work: Callable[[Item], Any], items: Iterable[Item]) -> None:
    """Call ``work`` with each item, on as many threads as there are cores; the first error is raised."""
    with ThreadPoolExecutor(available_cores()) as pool:
        for _ in pool.map(work, items):
            pass
