"""The numbers as a page of tables."""

from __future__ import annotations

from typing import Any

from benchmarks.performance import scoring
from benchmarks.performance.floors import difference, margin, ms_of_score, paragraph, targets, where_time_goes
from cryocore.markdown import table_lines
from cryocore.score.chunks import CHUNK

Record = dict[str, Any]
TIMES = ["CPU seconds", "wall seconds", "peak MB"]
STAGES = "reconstruct", "score"


def page(record: Record) -> str:
    """The page of all sections that were measured."""
    lines = [
        "# Performance",
        "",
        "*For those who ask how fast cryocore is and how much memory it takes, beside RELION.*",
        "",
        "`make bench` (or `make bench-full`, more sizes) measures this page on your machine and keeps the numbers in",
        "`benchmarks/results/performance/`; `python -m benchmarks.performance --only SECTION` measures one section.",
        f"This run: {record['processor']}, {record['cores']} cores.",
        *targets(record),
    ]
    sections = {
        "kernels": kernels_section,
        "scoring": scoring_section,
        "reconstructions": relion_section,
        "steps": where_time_goes,
        "scaling": scaling_section,
        "stages": stages_section,
        "large": large_section,
        "feeding": feeding_section,
        "difference": difference,
    }
    for name, section in sections.items():
        if name in record:
            lines += section(record)
    return "\n".join(lines).rstrip() + "\n"


def kernels_section(record: Record) -> list[str]:
    """The table of steps of the pass."""
    names = {"transform": "transform", "prepare": "prepare", "insert": "insert", "score": "score"}
    names["score_poses"] = "score, per pose"
    rows = [
        [f"{row['box']}", f"{row['threads']}", *(f"{row['rates'][name]['per_second']:,.0f}" for name in names)]
        for row in {row["box"]: row for row in record["kernels"]}.values()  # of a box, the row of most threads
    ]
    return [
        "",
        "## Steps of the pass",
        "",
        "Particles per wall second, images in memory, padding 2, both half sets; `prepare` includes `transform`,",
        "`per pose` counts particles times poses.",
        "",
        *table_lines(["box", "threads", *names.values()], rows),
    ]


def scoring_section(record: Record) -> list[str]:
    """The table of scores beside their real-space computation."""
    rates = ("real_space_per_cpu_second", "per_cpu_second", "ratio", "with_poses_per_cpu_second")
    rows = [
        [f"{row['box']}", *(f"{row[name]:,.0f}" for name in rates), f"{row['largest_difference']:.0e}"]
        for row in record["scoring"]
    ]
    return [
        "",
        "## Scores, beside the same score in real space",
        "",
        "Particles per CPU second on one thread, images in memory, transforms and CTFs included. `real space`:",
        "CryoSieve's score in NumPy and SciPy, float64, a particle at a time. `own pose`: all band sums, with",
        f"leave-one-out; `{scoring.POSES} more`: also at so many other poses. Difference: the largest between the two,",
        "without leave-one-out, in standard deviations of the score.",
        "",
        *table_lines(["box", "real space", "own pose", "ratio", f"{scoring.POSES} more", "difference"], rows),
    ]


def relion_section(record: Record) -> list[str]:
    """Whole processes beside RELION's."""
    lines = [
        "",
        "## Map and both halves, beside RELION",
        "",
        "Whole processes on the same STAR file and float32 stack, start-up included (its share is the first row);",
        "of several runs in turn the median, of what takes more than 20 seconds one.",
    ]
    largest = {row["box"]: row for row in record["reconstructions"]}
    for row in largest.values():
        lines += ["", f"Box {row['box']}, {row['particles']:,} particles:", ""]
        if "skipped" in row:
            lines += [f"Skipped: {row['skipped']}."]
        else:
            lines += table_lines(["run", *TIMES], [[name, *_times(found)] for name, found in row["runs"].items()])
    return lines + margin(record)


def scaling_section(record: Record) -> list[str]:
    """The figure, and its numbers."""
    scaling = record["scaling"]
    particles = [
        [stage, f"{row['particles']:,}", *_times(row)]
        for stage, rows in (("reconstruct", scaling["particles"]), ("score", scaling["scores"]))
        for row in (rows[0], rows[-1])
    ]
    return [
        "",
        "## Scaling",
        *paragraph(
            "Whole processes at the settings of a run (scores with all their other poses). The images are those of one",
            "small stack, named as often as needed with poses of their own, in the page cache. Memory of scores grows",
            f"until a chunk of {CHUNK:,} particles is full.",
        ),
        "",
        "![Time and memory against particles, box and cores](images/performance.png)",
        "",
        f"Box {scaling['box']}:",
        "",
        *table_lines(["stage", "particles", *TIMES], particles),
        "",
        "By box; a particle more is by the line to a set that is larger:",
        "",
        *table_lines(
            [
                "box",
                "particles",
                *(f"{stage}, {t}" for stage in STAGES for t in TIMES),
                "score, CPU ms a particle more",
            ],
            [
                [
                    f"{row['box']}",
                    f"{row['particles']:,}",
                    *(cell for stage in STAGES for cell in _times(row[stage])),
                    f"{ms_of_score(row):.2f}",
                ]
                for row in scaling["boxes"]
            ],
        ),
    ]


def stages_section(record: Record) -> list[str]:
    """Memory of every stage by box."""
    rows = record["stages"]
    names = {name: None for row in rows for name in row["peak_mb"]}
    values = [[name, *(f"{row['peak_mb'].get(name, 0.0):,.0f}" for row in rows)] for name in names]
    return [
        "",
        "## Memory of every stage",
        *paragraph(
            "Peak MB in a run of one selection, padding 2, C1. Simulated images are made on a grid that is finer than",
            "that of any reconstruction.",
        ),
        "",
        *table_lines(["stage", *(f"box {row['box']}, {row['particles']:,} particles" for row in rows)], values),
    ]


def large_section(record: Record) -> list[str]:
    """Every stage with many particles."""
    found = record["large"]
    rows = [[name, f"{found['cpu_seconds'][name]:,.0f}", f"{peak:,.0f}"] for name, peak in found["peak_mb"].items()]
    return [
        "",
        "## Every stage with many particles",
        *paragraph(
            f"A run of {found['particles']:,} simulated particles of box {found['box']}, one selection and the audit:",
            "CPU seconds and peak MB. `look` draws particles and what is left out, and looks for a second state.",
        ),
        "",
        *table_lines(["stage", "CPU seconds", "peak MB"], rows),
    ]


def feeding_section(record: Record) -> list[str]:
    """What a device can be fed."""
    feeding = record["feeding"]
    rows = [[kind, *(f"{found[stage]:,.0f}" for stage in ("sum", "score"))] for kind, found in feeding["rates"].items()]
    return [
        "",
        "## Feeding a device",
        *paragraph(
            f"Particles of box {feeding['box']} per wall second that a GPU could be given by these cores, from stacks",
            "in the page cache: passes with a device that computes nothing. What a GPU makes of them is in",
            "[gpu.md](gpu.md).",
        ),
        "",
        *table_lines(["stack", "sum", "score"], rows),
    ]


def _times(found: dict[str, float]) -> list[str]:
    return [f"{found['cpu_seconds']:.1f}", f"{found['wall_seconds']:.1f}", f"{found['peak_mb']:,.0f}"]
