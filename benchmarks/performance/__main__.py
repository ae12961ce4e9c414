"""Measure, keep the numbers, write the page: ``python -m benchmarks.performance [--full] [--only SECTION ...]``.

With ``--only`` the numbers of the other sections stay as they are; without a name after it nothing is measured and
the page is written again.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import machine_name, made_by, processor
from benchmarks.performance import feeding, kernels, reconstruction, scaling, scoring, stages, steps
from benchmarks.performance.figure import write_figure
from benchmarks.performance.page import page
from benchmarks.performance.scaling import say
from benchmarks.validation.common import ROOT, Skipped
from cryocore.backend import get_backend
from cryocore.cores import available_cores

Plan = dict[str, Any]
QUICK: Plan = {
    "boxes": (64, 128, 256),
    "sizes": ((128, 2000), (128, 10_000), (256, 2000)),
    "scoring": (64, 128),
    "steps": ((128, 10_000), (256, 2000)),
    "particles": (1000, 2000, 5000, 10_000, 20_000),
    "scores": (1000, 10_000, 30_000),
    "scaling_boxes": (64, 96, 128, 192, 256, 512),
    "large": (48, 100_000),
    "feeding": (256, 8000),
    "stages": ((128, 2000), (256, 2000), (512, 300)),
    "difference": (20_000, 100_000),
    "repeats": 3,
}
FULL: Plan = QUICK | {
    "boxes": (64, 96, 128, 192, 256, 384),
    "scoring": (64, 128, 256),
    "particles": (1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000),
    "scores": (1000, 10_000, 30_000, 100_000),
}


def measure_kernels(plan: Plan) -> list[dict[str, Any]]:
    """Steps of the pass, images in memory."""
    rows = []
    for box in plan["boxes"]:
        for threads in sorted({1, available_cores()}):
            say(f"kernels, box {box}, {threads} threads")
            rows.append(
                {"box": box, "threads": threads, "rates": kernels.measure(box, get_backend("cpu", threads=threads))}
            )
    return rows


def measure_scoring(plan: Plan) -> list[dict[str, Any]]:
    """Scores beside real space."""
    rows = []
    for box in plan["scoring"]:
        say(f"scoring, box {box}")
        rows.append({"box": box, **scoring.measure(box)})
    return rows


def measure_reconstructions(plan: Plan) -> list[dict[str, Any]]:
    """Reconstructions beside RELION's; where it is missing, the row says so."""
    rows = []
    for box, n in plan["sizes"]:
        say(f"reconstruction, box {box}, {n} particles")
        with tempfile.TemporaryDirectory(prefix="cryocore-performance-") as folder:
            try:
                rows.append(reconstruction.measure(Path(folder), box, n, plan["repeats"]))
            except Skipped as reason:
                rows.append({"box": box, "particles": n, "skipped": str(reason)})
    return rows


def measure_each(name: str, sizes: Sequence[tuple[int, int]], measure: Callable[[int, int], Any]) -> list[Any]:
    """One measurement at each box and number of particles."""
    rows = []
    for box, n in sizes:
        say(f"{name}, box {box}, {n} particles")
        rows.append(measure(box, n))
    return rows


SECTIONS: dict[str, Callable[[Plan], Any]] = {
    "kernels": measure_kernels,
    "scoring": measure_scoring,
    "reconstructions": measure_reconstructions,
    "limits": lambda plan: steps.machine_limits(),
    "steps": lambda plan: measure_each("steps", plan["steps"], steps.measure),
    "scaling": lambda plan: scaling.measure(plan["particles"], plan["scores"], plan["scaling_boxes"], plan["repeats"]),
    "stages": lambda plan: measure_each("stages", plan["stages"], stages.measure),
    "large": lambda plan: stages.measure(*plan["large"], audit=True),
    "feeding": lambda plan: {"box": plan["feeding"][0], "rates": feeding.measure(*plan["feeding"])},
    "difference": lambda plan: scaling.measure_difference(plan["difference"], plan["repeats"]),
}


def main(arguments: list[str] | None = None) -> None:
    """Sections one after the other, kept as soon as they are measured; then the figure and the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.performance")
    parser.add_argument("--full", action="store_true", help="more sizes")
    parser.add_argument("--only", nargs="*", choices=SECTIONS, metavar="SECTION", help=f"of {', '.join(SECTIONS)}")
    chosen = parser.parse_args(arguments)
    store = ROOT / "benchmarks" / "results" / "performance" / f"{machine_name()}.json"
    record: dict[str, Any] = json.loads(store.read_text()) if chosen.only is not None and store.exists() else {}
    record |= {"processor": processor(), "cores": available_cores(), "python": platform.python_version()}
    store.parent.mkdir(parents=True, exist_ok=True)
    made = record.setdefault("made", {})
    for name in SECTIONS if chosen.only is None else chosen.only:
        record[name] = SECTIONS[name](FULL if chosen.full else QUICK)
        made[name] = made_by(f"python -m benchmarks.performance --only {name}" + " --full" * chosen.full)["made"]
        store.write_text(json.dumps(record, indent=1) + "\n")
    folder = ROOT / "docs" / "measurements"
    if "scaling" in record:
        write_figure(record, folder / "images" / "performance.png")
    (folder / "performance.md").write_text(page(record))


if __name__ == "__main__":
    main()
