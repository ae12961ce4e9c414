"""Measure, keep the numbers, write the page: ``python -m benchmarks.performance [--full]``."""

from __future__ import annotations

import json
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.machine import machine_name, processor
from benchmarks.performance import kernels, reconstruction, scoring
from benchmarks.validation.common import ROOT, Skipped
from cryocore.cores import available_cores

QUICK = {"boxes": (64, 128, 256), "sizes": ((128, 2000), (128, 10000)), "scoring": (64, 128), "repeats": 2}
FULL = {
    "boxes": (64, 96, 128, 192, 256, 384),
    "sizes": ((128, 2000), (128, 10000), (256, 2000)),
    "scoring": (64, 128, 256),
    "repeats": 2,
}


def main(arguments: list[str]) -> None:
    """Kernels first, then whole reconstructions; what cannot be measured is named with the reason."""
    plan: dict[str, Any] = FULL if "--full" in arguments else QUICK
    cores = available_cores()
    record: dict[str, Any] = {"processor": processor(), "cores": cores, "python": platform.python_version()}
    record["kernels"] = []
    for box in plan["boxes"]:
        for threads in sorted({1, cores}):
            print(f"performance: kernels, box {box}, {threads} threads", file=sys.stderr, flush=True)
            record["kernels"].append({"box": box, "threads": threads, "rates": kernels.measure(box, threads)})
    record["scoring"] = []
    for box in plan["scoring"]:
        print(f"performance: scoring, box {box}", file=sys.stderr, flush=True)
        record["scoring"].append({"box": box, **scoring.measure(box)})
    record["reconstructions"] = []
    for box, n in plan["sizes"]:
        print(f"performance: reconstruction, box {box}, {n} particles", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="cryocore-performance-") as folder:
            try:
                record["reconstructions"].append(reconstruction.measure(Path(folder), box, n, plan["repeats"]))
            except Skipped as reason:
                record["reconstructions"].append({"box": box, "particles": n, "skipped": str(reason)})
    store = ROOT / "benchmarks" / "results" / "performance" / f"{machine_name()}.json"
    store.parent.mkdir(parents=True, exist_ok=True)
    store.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
    (ROOT / "docs" / "performance.md").write_text(page(record))


def page(record: dict[str, Any]) -> str:
    """The numbers as a page of tables."""
    lines = [
        "# Performance",
        "",
        "`make bench` (or `make bench-full`, more sizes) measures this page on your machine and keeps the numbers in",
        f"`benchmarks/results/performance/`. This run: {record['processor']}, {record['cores']} cores.",
        "",
        "## Steps of the pass",
        "",
        "Particles per wall second, images in memory, padding 2, both half sets; `transform` is the Fourier transform",
        "alone, `prepare` includes it; `per pose` counts particles times poses.",
        "",
        "| box | threads | transform | prepare | insert | score | score, per pose |",
        "|---|---|---|---|---|---|---|",
    ]
    steps = ("transform", "prepare", "insert", "score", "score_poses")
    for row in record["kernels"]:
        rates = " | ".join(f"{row['rates'][s]['per_second']:,.0f}" for s in steps)
        lines.append(f"| {row['box']} | {row['threads']} | {rates} |")
    lines += scoring_section(record["scoring"])
    lines += ["", "## Map and both halves, beside RELION", ""]
    lines += [
        "Whole processes on the same STAR file and float32 stack, start-up included (its share is the first row).",
        "",
    ]
    for row in record["reconstructions"]:
        lines += [f"Box {row['box']}, {row['particles']:,} particles:", ""]
        if "skipped" in row:
            lines += [f"Skipped: {row['skipped']}.", ""]
            continue
        lines += ["| run | CPU seconds | wall seconds | peak MB |", "|---|---|---|---|"]
        for name, found in row["runs"].items():
            lines.append(
                f"| {name} | {found['cpu_seconds']:.1f} | {found['wall_seconds']:.1f} | {found['peak_mb']:,.0f} |"
            )
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def scoring_section(rows: list[dict[str, Any]]) -> list[str]:
    """The table of scores beside their real-space computation."""
    lines = [
        "",
        "## Scores, beside the same score in real space",
        "",
        "Particles per CPU second on one thread, images in memory, transforms and CTFs included. `real space` is a",
        "computation of CryoSieve's score in NumPy and SciPy, float64, a particle at a time: slice of the padded",
        "transform, CTF, shift, high-pass, subtraction, sum of squares. `own pose` gives all band sums, with",
        f"leave-one-out; `{scoring.POSES} more` also those at so many other poses. The last column is the largest",
        "difference between the two, without leave-one-out, in standard deviations of the score.",
        "",
        f"| box | real space | own pose | ratio | {scoring.POSES} more | difference |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        rates = [
            row[name] for name in ("real_space_per_cpu_second", "per_cpu_second", "ratio", "with_poses_per_cpu_second")
        ]
        numbers = " | ".join(f"{rate:,.0f}" for rate in rates)
        lines.append(f"| {row['box']} | {numbers} | {row['largest_difference']:.0e} |")
    return lines


if __name__ == "__main__":
    main(sys.argv[1:])
