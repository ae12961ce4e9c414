"""One reconstruction, its steps timed inside the process: ``python -m benchmarks.performance.trace SETTINGS``.

The functions that the stage calls are replaced by themselves with a stopwatch around them.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from cryocore.backend import get_backend
from cryocore.config.reconstruct import Reconstruct
from cryocore.formats.stacks import StoredReader, batch_size
from cryocore.imaging import accumulate
from cryocore.imaging.insertion import Insertion
from cryocore.imaging.solve import Solver
from cryocore.memory import Memory
from cryocore.reconstruct import reconstruct, solved, stage, sums
from cryocore.tables.particles import Particles

USAGE = ("cpu_seconds", "system_seconds", "wall_seconds", "page_faults")
STEPS: list[tuple[Any, str, str]] = [
    (stage, "round_sums", "rest of the pass"),
    (sums, "read_sums", "read the kept sums"),
    (accumulate, "prepare", "transform, shift, CTF"),
    (Insertion, "add", "insert"),
    (Insertion, "sums", "insert"),
    (stage, "write_sums", "keep the sums"),
    (Solver, "__init__", "solve three maps"),
    (Solver, "half", "solve three maps"),
    (Solver, "merged", "solve three maps"),
    (stage, "choose_mask", "mask"),
    (stage, "half_map_fsc", "FSC"),
    (stage, "write_map", "write maps"),
    (solved, "own_divisor", "sampling density"),
]
"""Where a function lives, its name, and the step that its time counts for; time of steps inside it is theirs."""


class Stopwatch:
    """Adds up what each step uses, in the order in which steps first end."""

    def __init__(self) -> None:
        self.steps: dict[str, Any] = {}
        self._inside: list[Any] = [np.zeros(len(USAGE))]

    def around(self, work: Callable[..., Any], step: str) -> Callable[..., Any]:
        """``work``, timed."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            before = usage()
            self._inside.append(np.zeros(len(USAGE)))
            try:
                return work(*args, **kwargs)
            finally:
                spent = usage() - before
                self.steps[step] = self.steps.get(step, 0.0) + spent - self._inside.pop()
                self._inside[-1] += spent

        return timed


def usage() -> Any:
    """What this process has used so far, see :data:`USAGE`."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return np.array([used.ru_utime + used.ru_stime, used.ru_stime, time.monotonic(), used.ru_minflt])


def main(how: dict[str, Any]) -> dict[str, dict[str, float]]:
    """What each step uses; reading the images alone is the last one, and part of those of the pass."""
    watch, backend, particles = Stopwatch(), get_backend("cpu"), Path(how["particles"])
    watch.steps["start-up"] = usage() - np.array([0.0, 0.0, how["began"], 0.0])
    patches = [patch.object(place, name, watch.around(getattr(place, name), step)) for place, name, step in STEPS]
    subset, previous = (Path(how[name]) if how[name] else None for name in ("subset", "previous"))
    for p in patches:
        p.start()
    watch.around(reconstruct, "rest")(
        particles,
        subset,
        None,
        settings=Reconstruct(),
        symmetry="C1",
        backend=backend,
        out_dir=Path(how["out"]),
        previous_sums=previous,
    )
    for p in patches:
        p.stop()
    watch.around(read_images, "read images alone")(Particles.read(particles))
    return {step: dict(zip(USAGE, values.tolist(), strict=True)) for step, values in watch.steps.items()}


def read_images(data: Particles) -> None:
    """Read all images as the pass does, and use none."""
    size = batch_size(data.reference_optics.box)
    memory = Memory()
    with StoredReader(data) as reader:
        for start in range(0, len(data), size):
            reader.read(np.arange(start, min(start + size, len(data))), memory)


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
