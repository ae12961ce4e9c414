"""The sections that say which targets are met, and where the time of the others goes."""

from __future__ import annotations

import textwrap
from functools import reduce
from typing import Any

from benchmarks.performance.reconstruction import DEFAULT, HALVES, OURS
from benchmarks.performance.scaling import FAR
from cryocore.markdown import table_lines

Record = dict[str, Any]
PASS = ("transform, shift, CTF", "insert", "rest of the pass")
ALONE = "read images alone"
LARGEST_SHARE = 0.35
LARGEST_GB = {256: (2.5, 1.5)}
"""Of reconstruct and score, by box."""
LARGE_BOX, LARGEST_ROUND_GB = 512, 12.0


def paragraph(*parts: str) -> list[str]:
    """An empty line and a paragraph, wrapped."""
    return ["", *textwrap.wrap(" ".join(parts), 118, break_on_hyphens=False, break_long_words=False)]


def targets(record: Record) -> list[str]:
    """What is aimed at on two cores, beside what was measured."""
    rows = [
        *_relion_targets(record),
        *_scoring_targets(record),
        *_scaling_targets(record),
        *_difference_targets(record),
    ]
    marked = [[what, wanted, got, "yes" if met else "no"] for what, wanted, got, met in rows]
    return ["", "## Targets", "", *table_lines(["of two cores", "target", "measured", "met"], marked)]


Target = tuple[str, str, str, bool]


def _relion_targets(record: Record) -> list[Target]:
    wanted = {(128, 10_000): ((HALVES, 6), (DEFAULT, 9)), (256, 2000): ((HALVES, 4.5),)}
    found: list[Target] = []
    for row in record.get("reconstructions", []):
        for name, least in wanted.get((row["box"], row["particles"]), ()):
            if "runs" in row:
                ratio = row["runs"][name]["cpu_seconds"] / row["runs"][OURS]["cpu_seconds"]
                what = f"CPU seconds of {name}, over ours: box {row['box']}, {row['particles']:,} particles"
                found.append((what, f">= {least}", f"{ratio:.1f}", ratio >= least))
    return found


def _scoring_targets(record: Record) -> list[Target]:
    found: list[Target] = []
    for row in record.get("scoring", []):
        if row["box"] == 128:
            speed = row["per_cpu_second"]
            what = "scores per CPU second, box 128, own pose, images in memory"
            found.append((what, ">= 5,000", f"{speed:,.0f}", speed >= 5000))
    scores = record.get("scaling", {}).get("scores", [])
    if len(scores) > 1:
        speed = 1.0 / _line(scores[-2], scores[-1], ("cpu_seconds",))[0]
        what = "the same at the settings of a run, all rivals, whole processes"
        found.append((what, ">= 1,500", f"{speed:,.0f}", speed >= 1500))
    for row in record.get("scaling", {}).get("boxes", []):
        if row["box"] == 256:
            found.append(("score, box 256, CPU ms a particle more", "<= 2.4", *_at_most(ms_of_score(row), 2.4)))
        if row["box"] in LARGEST_GB:
            for stage, most in zip(("reconstruct", "score"), LARGEST_GB[row["box"]], strict=True):
                peak = row[stage]["peak_mb"] / 1e3
                found.append((f"peak GB of {stage}, box {row['box']}", f"<= {most:g}", *_at_most(peak, most)))
    for row in record.get("stages", []):
        if row["box"] == LARGE_BOX:
            stage, peak = max(row["peak_mb"].items(), key=lambda item: (item[0] != "simulate", item[1]))
            what = f"peak GB of any stage but simulate ({stage}), box {row['box']}"
            found.append((what, f"<= {LARGEST_ROUND_GB:g}", *_at_most(peak / 1e3, LARGEST_ROUND_GB)))
    return found


def _at_most(value: float, most: float) -> tuple[str, bool]:
    return f"{value:.2f}", value <= most


def ms_of_score(row: Record) -> float:
    """CPU milliseconds that another particle of a box takes to be scored."""
    return 1e3 * (row["more"]["cpu_seconds"] - row["score"]["cpu_seconds"]) / ((FAR - 1) * row["particles"])


def _scaling_targets(record: Record) -> list[Target]:
    rates = {r["threads"]: r["rates"] for r in record["kernels"] if r["box"] == 128}
    found: list[Target] = []
    for step in ("insert", "score", "prepare") if {1, 2} <= rates.keys() else ():
        ratio = rates[2][step]["per_second"] / rates[1][step]["per_second"]
        found.append((f"{step}, box 128, two threads over one", ">= 1.7", f"{ratio:.2f}", ratio >= 1.7))
    if "scaling" not in record:
        return found
    for stage in ("reconstruct", "score"):
        speed = speeds(record["scaling"], stage)
        if 2 in speed:
            what = f"whole {stage} of {record['scaling']['thread_particles']:,} particles, two cores over one"
            found.append((f"{what}, start-up apart", ">= 1.7", f"{speed[2]:.2f}", speed[2] >= 1.7))
    return found


def speeds(scaling: Record, stage: str) -> dict[int, float]:
    """How many times faster than on one core a stage is, by the number of cores, start-up apart."""
    walls = {(row["stage"], row["threads"]): row["wall_seconds"] for row in scaling["threads"]}
    cores = sorted({row["threads"] for row in scaling["threads"]})
    alone = {n: walls[stage, n] - walls["start_up", n] for n in cores}
    return {n: alone[1] / alone[n] for n in cores}


def _difference_targets(record: Record) -> list[Target]:
    found: list[Target] = []
    rows = record.get("difference", [])
    for row in rows:
        share = row["difference"]["cpu_seconds"] / row["full"]["cpu_seconds"]
        what = f"CPU seconds of a round that changes {row['changed']:.0%} of {row['particles']:,}, over a full one"
        found.append((what, f"<= {LARGEST_SHARE:.2f}", f"{share:.2f}", share <= LARGEST_SHARE))
    if len(rows) > 1:
        growth = rows[-1]["full"]["peak_mb"] / rows[0]["full"]["peak_mb"]
        what = f"peak memory at {rows[-1]['particles']:,} over {rows[0]['particles']:,} particles"
        found.append((what, "flat", f"{growth:.2f}", growth < 1.2))
    return found


def margin(record: Record) -> list[str]:
    """CPU time per particle and fixed costs, from two sizes of one box."""
    lines: list[str] = []
    rows = [row for row in record["reconstructions"] if "runs" in row]
    for box in sorted({row["box"] for row in rows}):
        of_box = sorted((row for row in rows if row["box"] == box), key=lambda row: row["particles"])
        if len(of_box) < 2:
            continue
        first, last = of_box[0], of_box[-1]
        cells = []
        for name in (OURS, HALVES, DEFAULT):
            slope, fixed = _line(first, last, ("runs", name, "cpu_seconds"))
            cells.append([name, f"{1e3 * slope:.2f}", f"{fixed:.1f}"])
        lines += [
            "",
            f"Box {box}, the line through {first['particles']:,} and {last['particles']:,} particles:",
            "",
            *table_lines(["run", "CPU ms per particle", "CPU seconds whatever their number"], cells),
        ]
    return lines


def where_time_goes(record: Record) -> list[str]:
    """The steps of whole reconstructions, what a particle needs at least, and what that leaves to gain."""
    rows = record["steps"]
    labels = list(dict.fromkeys(step for row in rows for step in row["steps"]))
    cells = []
    for label in [*(name for name in labels if name != ALONE), ALONE]:
        cells.append([label])
        for row in rows:
            used = row["steps"].get(label)
            cells[-1].append(_used(used) if used else "-")
    total: list[str] = ["total"]
    for row in rows:
        steps = [used for label, used in row["steps"].items() if label != ALONE]
        total.append(_used({key: sum(used[key] for used in steps) for key in steps[0]}))
    cells.insert(-1, total)
    sizes = " and ".join(f"box {row['box']} with {row['particles']:,} particles" for row in rows)
    header = ["step", *(f"box {row['box']}" for row in rows)]
    return [
        "",
        "## Where the time of a reconstruction goes",
        *paragraph(
            f"CPU seconds of one process each, {sizes}, padding 2.",
            "Images are read in a thread of their own, so reading is not in the total.",
        ),
        "",
        *table_lines(header, cells),
        *_beside_relion(record),
    ]


def _used(used: dict[str, float]) -> str:
    return f"{used['cpu_seconds']:.2f}"


def _beside_relion(record: Record) -> list[str]:
    """How large the ratio to RELION could be if insertion took no time at all."""
    relion = {(r["box"], r["particles"]): r["runs"] for r in record.get("reconstructions", []) if "runs" in r}
    lines: list[str] = []
    for row in record["steps"]:
        size = row["box"], row["particles"]
        if size in relion:
            used = {step: value["cpu_seconds"] for step, value in row["steps"].items() if step != ALONE}
            total, fixed = sum(used.values()), sum(value for step, value in used.items() if step not in PASS)
            floor = total - used["insert"]
            halves, default = (relion[size][name]["cpu_seconds"] for name in (HALVES, DEFAULT))
            lines += paragraph(
                f"At box {size[0]}, {size[1]:,} particles, {fixed:.1f} of {total:.1f} CPU seconds",
                f"({fixed / total:.0%}) are spent outside the pass, whatever the number of particles.",
                f"Without insertion {floor:.1f} would be left:",
                f"RELION's two halves take {halves / floor:.1f} times that, its default for one map",
                f"{default / floor:.1f} times.",
            )
    return lines


def difference(record: Record) -> list[str]:
    """Incremental rounds beside full ones, and from how many particles on they pay."""
    rows = record["difference"]
    cells = []
    for row in rows:
        full, less = row["full"], row["difference"]
        used, saved = full["cpu_seconds"], less["cpu_seconds"]
        cells.append([f"{row['particles']:,}", f"{used:.1f}", f"{saved:.1f}", f"{saved / used:.0%}"])
    steps = rows[0]["steps"]
    fixed = {name: used["cpu_seconds"] for name, used in steps.items() if name not in (*PASS, ALONE)}
    lines = [
        "",
        "## Incremental reconstruction",
        *paragraph(
            f"CPU seconds at box {rows[0]['box']} of a round that leaves out {rows[0]['changed']:.0%} of the particles",
            "of the last one, as a whole process, in full and from the kept sums.",
        ),
        "",
        *table_lines(["particles", "full", "incremental", "share"], cells),
        *paragraph(
            f"An incremental round spends {sum(fixed.values()):.1f} CPU seconds outside the pass,",
            "whatever the number of particles.",
        ),
    ]
    if len(rows) < 2:
        return lines
    for name, unit in [("cpu_seconds", "CPU")]:
        slope_full, fixed_full = _line(rows[0], rows[-1], ("full", name))
        slope_less, fixed_less = _line(rows[0], rows[-1], ("difference", name))
        gain, cost = LARGEST_SHARE * slope_full - slope_less, fixed_less - LARGEST_SHARE * fixed_full
        reached = (
            f"from some {round(cost / gain, -3):,.0f} particles on" if gain > 0 and cost > 0 else "not on these lines"
        )
        lines += paragraph(
            f"By the lines through these sizes, in {unit} seconds: {fixed_full:.1f} and",
            f"{1e3 * slope_full:.2f} per 1,000",
            f"particles in full, {fixed_less:.1f} and {1e3 * slope_less:.2f} incrementally;",
            f"at most {LARGEST_SHARE:.0%}",
            f"{reached}.",
        )
    return lines


def _line(first: Record, last: Record, where: tuple[str, ...]) -> tuple[float, float]:
    """Slope per particle, and the value at none, of the line through two sizes; ``where`` are the value's keys."""
    low, high = (_value(row, where) for row in (first, last))
    slope = (high - low) / (last["particles"] - first["particles"])
    return slope, low - slope * first["particles"]


def _value(row: Any, where: tuple[str, ...]) -> float:
    return reduce(lambda values, key: values[key], where, row)
