"""Tables of result files, one function a block of a page (:mod:`benchmarks.blocks`)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import alternatives, configurations, cost, cryosieve, faults, methods, scaling
from benchmarks.analysis import __main__ as analysis
from benchmarks.fuzz.readers import READERS
from cryocore.markdown import table

Values = dict[str, Any]
BY_AUC = (("AUC 0.95 or more", 0.95, 2.0), ("AUC 0.85 to 0.95", 0.85, 0.95), ("AUC below 0.85", 0.0, 0.85))
FEWEST = 1000
"""Particles of a set: of fewer the interval of the error rate says nothing."""
ASKED = re.compile(r" / asked for: .*?(?= / change: |$)")
"""What of a message only repeats the request."""


def alternatives_table(results: Values) -> str:
    """Time of a pass and AUC by the poses that are compared."""

    def row(name: str, passes: Values) -> list[str]:
        own = passes["own pose"]["cpu_seconds"]
        ratios = [f"{passes[key]['cpu_seconds'] / own:.1f}" for key in others]
        gains = [f"{passes[key]['auc']['mixture']:.4f}" for key in alternatives.PASSES]
        return [name, f"{1e3 * own / alternatives.N:.2f}", *ratios, *gains]

    others = [name for name in alternatives.PASSES if name != "own pose"]
    head = ["case", "own pose, ms", *(f"{n}, times" for n in others), *(f"AUC, {n}" for n in alternatives.PASSES)]
    return table(head, [row(name, passes) for name, passes in results["cases"].items()])


def direction_table(record: Values) -> str:
    """What is found, by what is planted, point group and views."""
    found = {tuple(row[k] for k in ("symmetry", "views", "kind", "size")): row for row in record["size"]}
    rows = []
    for kind, size in analysis.CASES:
        cells = (found.get((*setting, kind, size)) for setting in analysis.SETTINGS)
        shown = [f"{100 * row['any_adjusted']:.1f} %" if row else "-" for row in cells]
        rows.append(["nothing" if kind == "null" else kind, f"{size:g}" if size else "-", *shown])
    return table(["planted", "share", *(f"{symmetry}, {views}" for symmetry, views in analysis.SETTINGS)], rows)


def configurations_table(record: Values) -> str:
    """Differences from the first configuration."""
    rows = []
    for name in (n for n in configurations.configurations() if n in record["configurations"]):
        r = record["configurations"][name]
        d, t = r["difference"], r.get("tests")
        shown = [f"{d[k]:.1e}" if d[k] else "0" for k in ("images", "scores", "weights")]
        printed = "the same" if d["same_printed_table"] else "another"
        counted = "–" if t is None else f"{t.get('passed', 0):,} / {t.get('failed', 0) + t.get('error', 0)}"
        rows.append([name, *shown, f"{100 * d['lists']:.2g} %", f"{d['fsc']:.1e}" if d["fsc"] else "0",
                     printed, counted])  # fmt: skip
    head = ["configuration", "images (sd)", "scores (sd)", "weights", "selected", "FSC", "printed table",
            "informative tests passed / failed"]  # fmt: skip
    return table(head, rows)


def requests_table(record: Values) -> str:
    """Stages by box and particles."""
    values = record["requests"]["values"]
    sizes = [f"{box}, {n:,}" for box, n in cost.SIZES]
    rows = []
    for stage in values[sizes[0]]:
        cells = (values[size].get(stage) for size in sizes)
        rows.append([stage, *(f"{c['took_mib']:,} of {c['asked_mib']:,}" if c else "-" for c in cells)])
    return table(["stage", *sizes], rows)


def cache_table(record: Values) -> str:
    """Stages by what they read."""
    values = record["cache"]["values"]
    rows = [["make the cache", "", f"{values['cache stack']:.1f}"]]
    for stage in ("reconstruct", "score"):
        rows.append([stage, *(f"{values[f'{stage} {source}']:.1f}" for source in ("stack", "cache"))])
    return table(["", "stack", "cache"], rows)


def conversions_table(record: Values) -> str:
    """From one format to another."""
    rows = []
    for pair, r in record["conversions"]["values"].items():
        files = (f"`.{name.partition('.')[2]}`, {mb} MB" for name, mb in zip(pair.split(), r["mb"], strict=True))
        rows.append([*files, f"{r['cpu_s']:.0f}", f"{r['gib']:.1f}"])
    return table(["from", "to", "CPU s", "peak GiB"], rows)


def replay_table(record: Values) -> str:
    """Whole commands by the number of particles."""
    sizes = list(next(iter(record["cases"].values())))
    rows = [
        [name, *(f"{by[n]['seconds']:.1f}, {by[n]['cpu_seconds']:.1f}, {by[n]['gib']:.1f}" for n in sizes)]
        for name, by in record["cases"].items()
    ]
    return table(["rule", *(f"{int(n):,}" for n in sizes)], rows)


def cryosieve_table(record: Values) -> str:
    """Kept sets beside those by RELION, by cut-off."""
    out, into = "self-contribution out", "self-contribution in"
    rows = []
    for name, cut_offs in record["cases"].items():
        for cut_off, row in sorted(cut_offs.items(), key=lambda item: -float(item[0])):
            agreed = [*(row["jaccard"][k] for k in cryosieve.MAPS), row["between"], row["jaccard"][out]]
            values = (*agreed, row["correct_rate"][into], row["correct_rate"][out])
            rows.append([name, cut_off, *(f"{value:.3f}" for value in values)])
    head = ["case", "cut-off, Å", *cryosieve.MAPS, "RELION's two", out, "correct rate, in", "correct rate, out"]
    return table(head, rows)


def faults_table(record: Values) -> str:
    """What became of interrupted runs."""
    rows = []
    for name, tries in sorted(record["faults"].items(), key=lambda item: item[0] in faults.CLUSTER):
        well = sum(t["went_on"] and t["same_bytes"] for t in tries)
        where = "SLURM" if name in faults.CLUSTER else "one machine"
        rows.append([name, where, len(tries), well, sum(t["leftovers"] for t in tries)])
    return table(["fault", "on", "tried", "went on, the same bytes", "files left over"], rows)


def fuzz_table(record: Values) -> str:
    """Counts by reader."""
    rows = [
        [name, f"{r['cases']:,}", f"{r['read']:,}", r["kinds_of_findings"]]
        for name, r in ((name, record["readers"][name]) for name in READERS if name in record["readers"])
    ]
    return table(["reader", "cases", "read all the same", "kinds of findings"], rows)


def noise_table(record: Values) -> str:
    """AUC by what images are like."""
    names = [*methods.SCORES, "mixture"]
    values = record["noise"]["values"]
    rows = [[images, *(f"{values[images][n]:.3f}" for n in names)] for images in methods.IMAGES]
    return table(["images", *(f"`{name}`" for name in names)], rows)


def damping_table(record: Values) -> str:
    """Half maps divided and damped."""
    rows = []
    for name in methods.VIEWS:
        r = record["damping"]["values"][name]
        rows.append([name, f"{r['divided']:.3f}", f"{r['damped']:.3f}", f"{r['z']:.2f}", f"{r['z_of_noise']:.2f}"])
    head = ["views", "FSC to truth, divided", "damped", "`z` of particles", "of images of noise"]
    return table(head, rows)


def refinement_table(record: Values) -> str:
    """Before and after RELION."""
    rows = [
        [name, f"{r['particles']:,}", f"{r['given']:.3f}", f"{r['refined']:.3f}"]
        for name, r in record["refinement"]["values"].items()
    ]
    return table(["list", "particles", "given, mean FSC", "refined, mean FSC"], rows)


def sharpening_table(record: Values) -> str:
    """Beside RELION."""
    rows = []
    for name in methods.SHARPENED:
        r = record["sharpening"]["values"][name]
        theirs, sd = r["relion"], r["bfactor_sd_angstrom2"]
        of_b = f"{r['bfactor_angstrom2']:.1f} ± {sd:.1f}, {theirs['bfactor_angstrom2']:.1f}"
        resolutions = f"{r['resolution_angstrom']:.2f}, {theirs['resolution_angstrom']:.2f}"
        rows.append([name, resolutions, of_b, f"{r['least_correlation']:.4f}", f"{100 * r['amplitudes']:.1f} %"])
    head = ["half maps", "resolution (Å), RELION's", "B (Å²), RELION's", "least correlation of a shell"]
    return table([*head, "amplitudes differ by at most"], rows)


def reslog_table(record: Values) -> str:
    """Planted and found."""
    values = record["reslog"]["values"]
    rows = [
        [
            planted,
            f"{r['pixel_angstrom']:g}",
            f"{r['coarsest_angstrom']:.1f} to {r['finest_angstrom']:.1f}",
            f"{r['bfactor_angstrom2']:.0f} ± {r['bfactor_sd_angstrom2']:.0f}",
            f"{r['plain_bfactor_angstrom2']:.0f}",
        ]
        for planted, r in ((name, values[name]) for name in methods.RESLOG)
    ]
    return table(["planted B (Å²)", "pixel (Å)", "resolutions (Å)", "B", "by ln N alone"], rows)


def error_rate_table(records: Sequence[Values]) -> str:
    """The estimated share of incorrect particles beside the planted one: first and last round of stored experiments."""
    by: dict[str, list[tuple[float, bool]]] = {name: [] for name, *_ in BY_AUC}
    for record in (record for record in records if record.get("n", 0) >= FEWEST):
        rounds = [r for r in record.get("rounds", ()) if r.get("error_rate_estimate")]
        told = [(r["aucs"]["mixture"]["any"], r["error_rate_estimate"]) for r in rounds]
        for auc_of_odds, estimate in (told[0], told[-1]) if told else ():
            true = record["error_rate"]
            name = next(name for name, low, high in BY_AUC if low <= auc_of_odds < high)
            covered = estimate["low"] <= true <= estimate["high"]
            by[name].append((100 * (estimate["value"] - true), covered))
    rows = []
    for name, found in by.items():
        if found:
            off = np.array([points for points, _ in found])
            covers = f"{100 * np.mean([c for _, c in found]):.0f} %"
            worst = off[np.argmax(np.abs(off))]
            values = (f"{off.mean():+.1f}", f"{np.sqrt(np.mean(off**2)):.1f}", f"{worst:+.1f}")
            rows.append([name, len(found), *values, covers])
    return table(["rounds", "n", "bias, points", "r.m.s., points", "worst", "interval covers"], rows)


def shards_table(record: Values) -> str:
    """The same particles in more shards."""
    strong = [row for row in record["rows"] if row["scaling"] == "strong"]
    by = {(row["stage"], row["shards"]): row for row in strong}
    rows = [
        [count, *(f"{by[name, count]['wall_s']:.1f}, {by[name, count]['cpu_s']:.1f}" for name in scaling.STAGES)]
        for count in sorted({row["shards"] for row in strong})
    ]
    return table(["shards", *(f"{name}: wall, CPU" for name in scaling.STAGES)], rows)


def sites_table(record: Values) -> str:
    """What a cluster said no to."""
    rows = []
    for name, r in record["cases"].items():
        said = ASKED.sub("", " ".join(r["said"].split())) or "nothing; it runs"
        seconds = "-" if r["seconds"] is None else f"{r['seconds']:.1f}"
        well = "the same bytes" if r["again"] == "same bytes" and not r["temporary files"] else "DIFFERS"
        rows.append([name, said, seconds, well, r["left"]])
    return table(["what went wrong", "shown", "s", "the next run", "jobs left"], rows)
