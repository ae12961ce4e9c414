"""The figure of the performance page: stages against particles, box and threads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from benchmarks.performance.floors import speeds
from benchmarks.performance.reconstruction import HALVES
from cryocore.figures.look import CORRECT, INCORRECT, INK, QUIET, save, style

Rows = list[dict[str, Any]]
ABOVE = 4
"""Times the largest time, where the axis ends: the legend stands above the lines."""


def write_figure(record: dict[str, Any], path: Path) -> None:
    """Write the figure as PNG."""
    with style():
        save(scaling_figure(record), path)


def scaling_figure(record: dict[str, Any]) -> Figure:
    """Seconds and memory against the number of particles, against the box, and speed against threads."""
    scaling = record["scaling"]
    figure = Figure(figsize=(10.0, 7.4), layout="constrained")
    (seconds, memory), (boxes, threads) = figure.subplots(2, 2)

    particles = scaling["particles"]
    _line(seconds, particles, "particles", "cpu_seconds", CORRECT, "reconstruct, CPU")
    _line(seconds, particles, "particles", "wall_seconds", CORRECT, "reconstruct, wall", dashed=True)
    _line(seconds, scaling["scores"], "particles", "cpu_seconds", INCORRECT, "score, CPU")
    _line(seconds, scaling["scores"], "particles", "wall_seconds", INCORRECT, "score, wall", dashed=True)
    relion = [
        {"particles": row["particles"], **row["runs"][HALVES]}
        for row in record.get("reconstructions", [])
        if row["box"] == scaling["box"] and "runs" in row
    ]
    if relion:
        _line(seconds, relion, "particles", "cpu_seconds", INK, "RELION, both halves, CPU", marker="s")
    seconds.set(xscale="log", yscale="log", xlabel="particles", ylabel="seconds")
    seconds.set_title(f"Time, box {scaling['box']}")

    larger = [
        {"particles": row["particles"], **row["full"]}
        for row in record.get("difference", [])
        if row["box"] == scaling["box"] and row["particles"] > particles[-1]["particles"]
    ]
    _line(memory, particles + larger, "particles", "peak_mb", CORRECT, "reconstruct")
    _line(memory, scaling["scores"], "particles", "peak_mb", INCORRECT, "score")
    memory.set(xscale="log", xlabel="particles", ylabel="MB", ylim=(0, None))
    memory.set_title(f"Peak memory, box {scaling['box']}")

    for stage, colour in (("reconstruct", CORRECT), ("score", INCORRECT)):
        peaks = [{"box": row["box"], "gb": row[stage]["peak_mb"] / 1e3} for row in scaling["boxes"]]
        _line(boxes, peaks, "box", "gb", colour, stage, marker="^")
    boxes.set(xlabel="box, pixels", ylabel="GB", ylim=(0, None), xticks=[row["box"] for row in scaling["boxes"]])
    boxes.set_title("Peak memory")

    for stage, colour in (("reconstruct", CORRECT), ("score", INCORRECT)):
        faster = [{"threads": cores, "speed": speed} for cores, speed in speeds(scaling, stage).items()]
        _line(threads, faster, "threads", "speed", colour, stage)
    most = max(row["threads"] for row in scaling["threads"])
    threads.plot([1, most], [1, most], color=QUIET, linestyle=":", label="proportional")
    threads.set(xlabel="cores", ylabel="times the speed of one core", ylim=(0, None))
    threads.xaxis.set_major_locator(MaxNLocator(integer=True))
    threads.set_title(f"Whole stages but start-up, {scaling['thread_particles']:,} particles")

    for axes in (seconds, memory):
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    seconds.set_ylim(top=ABOVE * seconds.get_ylim()[1])
    seconds.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    seconds.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    seconds.yaxis.set_minor_formatter(NullFormatter())
    for axes in (seconds, memory, boxes, threads):
        axes.grid(True)
        axes.legend(fontsize=9, **({"loc": "upper left", "ncols": 2} if axes is seconds else {}))
    return figure


def _line(
    axes: Axes, rows: Rows, x: str, y: str, colour: str, label: str, *, dashed: bool = False, marker: str = "o"
) -> None:
    at, values = [row[x] for row in rows], [row[y] for row in rows]
    axes.plot(at, values, color=colour, label=label, linestyle="--" if dashed else "-", marker=marker, markersize=4)
