"""``docs/measurements/quality.md`` and its figure, from what was measured of the cases of unequal quality."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from matplotlib.figure import Figure

from benchmarks.validation.common import ROOT
from cryocore.figures.look import CORRECT, INCORRECT, INK, QUIET, UNKNOWN, save, style
from cryocore.markdown import table
from cryocore.tables.io import atomic_path
from experiments.cases import read_cases
from experiments.page import read_measured
from experiments.quality import (
    CISTEM_ANGSTROM2,
    CISTEM_SPREADS_ANGSTROM2,
    DEFOCUS_SD_ANGSTROM,
    SCALE_SPREAD,
    gain,
)
from experiments.runs import STORE

Values = dict[str, Any]
Row = tuple[str, str, float, float]
"""Molecule, kind, SNR and rate of wrong poses."""
PAGE = ROOT / "docs" / "measurements" / "quality.md"
FIGURE = "quality_gains.png"
MOLECULES = {
    "small": "small, C1",
    "small-views": "small, two views",
    "channel": "channel, C4",
    "proteasome": "proteasome, D7",
    "hcn4": "HCN4, C4",
    "t20s": "20S, D7",
}
LAWS = {"two": "0 or 250", "uniform": "0 to 250", "normal": "s.d. 72"}
UNEVEN_VIEWS = "small-views"
TARGETS = {"micrograph": 0.8, "particle": 0.4}
"""Shares of the true B-factors' gain that are to be reached where micrographs, or only particles, differ."""
MOST_LOST = 0.0005
"""Of the FSC area where particles are alike."""
CISTEM_BEST = "cistem_best"
OTHERS = {
    "zc_80": "best 80 % by `zc`",
    "zc_50": "50 %",
    "ldac_80": "80 % by `ldac`",
    "ldac_50": "50 %",
    "cryosieve": "CryoSieve's rule",
    "cistem": "cisTEM's weights",
    CISTEM_BEST: "at their best constant",
    "found": "B found",
    "true": "true B",
}
DOTS = {
    "zc_80": ("best 80 % by zc", "s", UNKNOWN),
    "ldac_80": ("best 80 % by ldac", "D", UNKNOWN),
    "cryosieve": ("CryoSieve's rule", "v", INCORRECT),
    CISTEM_BEST: ("cisTEM's weights, best constant", "P", "#CC79A7"),
    "found": ("B found", "o", CORRECT),
    "known": ("B as well as it can be known", "d", "#56B4E9"),
    "true": ("true B", "|", INK),
}
"""Legend, marker and colour of what the figure shows."""

HEAD = """\
# Unequal quality

*For those who ask what [B-factors of particles](../explanation/quality.md) are worth, and how much of it is found.*

Simulated particles fall off by B-factors of their own, which differ by micrograph or by particle; 3,000 of them, 60
micrographs, box 64. Every way to count particles makes a map of the same images, with the weights that the rule `soft`
gives by the first map: B-factors are read off the log of one map, once. `experiments/quality.yaml` declares
molecules, laws of B, SNRs and wrong poses.

```bash
make experiments PART=quality                              # the cases below, and this page
make experiments PART='quality-grid'                       # every combination
python -m experiments run 'quality-t20s-*' --cores 1       # a part; several such commands share the work
```

A case takes about 15 CPU seconds; what is up to date is not run again. {measured}

*Area*: FSC of the mean of both half maps with the truth under one mask, mean over all shells. *Found*: by
`select.quality: auto`. *Knowable*: true B-factors with a random error of the size that the Fisher information of the
band sums leaves, drawn to their mean by their true spread: what is missing between it and 100 % is no matter of method.
"""
SUMMARY = "## Summary\n"
GAINS_TEXT = """\
## What B-factors gain

Means over the seeds. *Gain*: area with the true B less that of equal weights, ± the standard deviation over the seeds.
*Found*, *knowable*: share of this gain, of the means. *r*: correlation of B found with the true one; *B found in*: in
how many sets anything was.
"""
OTHERS_TEXT = f"""\
## Other ways

FSC area less that of equal weights. *Best 80 %, 50 %*: of each half set. *CryoSieve's rule*: three rounds that drop a
fifth each, its cut-off climbs from 40 Å to Nyquist; first seeds. *cisTEM's weights*: every sample counts by
exp(-k (mean score - score) s² / 4) in both sums, score the correlation with the prediction in per cent (bands weighted
by signal share over noise), k = {CISTEM_ANGSTROM2:g} Å² as that program has it by default (Grant, Rohou and Grigorieff
2018, eLife 7:e35383; written from its published source, the program is not run). *At their best constant*: the best of
this and of k such that B has standard deviations of {" and ".join(f"{v:g}" for v in CISTEM_SPREADS_ANGSTROM2)} Å²,
chosen by the truth.
"""
RESOLUTION_TEXT = """\
## Resolution, and the B-factor of the map

Where the FSC with the truth is 0.5 (mean over the seeds), and the B-factor of resolution against ln N (Rosenthal and
Henderson 2003) by nested subsets of an eighth of the particles and more, of the first seeds.
"""
VIEWS_TEXT = """\
## Uneven views

The same molecule mostly seen along two axes, and seen evenly.
"""
BEYOND_TEXT = f"""\
## Beyond B

What else micrographs may differ by: area with the true value less that without, on sets of even B (first seeds).
*Defocus*: recorded defoci off by a standard deviation of {DEFOCUS_SD_ANGSTROM:g} Å. It is worth the most, but band
sums do not tell it, and B-factors do not stand in for it. *Scale*: signal multiplied by factors whose logarithm has a
standard deviation of {SCALE_SPREAD:g}. *Scale found*: with the envelopes that the log gives. Anisotropic motion and
envelopes of other form were not measured.
"""


def write_page(store: Path = STORE, page: Path = PAGE) -> Path | None:
    """Write the page and its figure; returns its path, None where nothing is measured."""
    cases = [case for case in read_measured(store) if "quality-grid" in case["sets"]]
    if not cases:
        return None
    rows = by_row(cases)
    if drawn := {row: members for row, members in rows.items() if differs(row)}:
        save(gains_figure(drawn), page.parent / "images" / FIGURE, dpi=110)
    with atomic_path(page) as temporary:
        temporary.write_text(page_text(rows))
    return page


def by_row(cases: Sequence[Values]) -> dict[Row, list[Values]]:
    """The cases that differ in their seed alone, molecule by molecule in the order of the plan."""
    found: dict[Row, list[Values]] = {}
    order = list(MOLECULES)
    for case in sorted(cases, key=lambda case: order.index(case["molecule"])):
        found.setdefault((case["molecule"], case["kind"], case["snr"], case["rate"]), []).append(case)
    return found


def differs(row: Row) -> bool:
    """Whether particles of a row are of unequal quality."""
    return row[1] != "none"


def label(row: Row) -> str:
    """A row in words.

    >>> label(("small", "micrograph-two", 0.02, 0.2))
    'small, C1, SNR 0.02, 20 % wrong poses: micrographs, 0 or 250 Å²'
    """
    molecule, kind, snr, rate = row
    wrong = f", {100 * rate:g} % wrong poses" if rate else ""
    return f"{MOLECULES[molecule]}, SNR {snr:g}{wrong}: {kind_label(kind)}"


def kind_label(kind: str) -> str:
    """What differs, and how."""
    level, _, law = kind.partition("-")
    return f"{level}s, {LAWS[law]} Å²" if law else "alike"


def page_text(rows: dict[Row, list[Values]]) -> str:
    """The whole page."""
    uneven = {row: cases for row, cases in rows.items() if row[0] == UNEVEN_VIEWS}
    even = {row: cases for row, cases in rows.items() if row not in uneven}
    planned = [case for case in read_cases() if "quality-grid" in case.sets]
    n, chosen = sum(map(len, rows.values())), sum("quality" in case.sets for case in planned)
    measured = f"Measured here: {n} cases; the set `quality` has {chosen}, `quality-grid` {len(planned)}."
    parts = [HEAD.format(measured=measured), SUMMARY, "".join(f"- {line}\n" for line in summary(even, uneven))]
    if any(map(differs, rows)):
        parts.append(f"![Gains of FSC area](images/{FIGURE})\n")
    parts += [GAINS_TEXT, gains_table(even), OTHERS_TEXT, others_table(even), RESOLUTION_TEXT, resolution_table(even)]
    if uneven:
        parts += [VIEWS_TEXT, views_table(rows)]
    if found := beyond_table(rows):
        parts += [BEYOND_TEXT, found]
    return "\n".join(parts)


def summary(rows: dict[Row, list[Values]], uneven: dict[Row, list[Values]]) -> Iterator[str]:
    """What was wanted, and whether it is reached, where views are even; what becomes of it where they are not."""
    for level, target in TARGETS.items():
        shares = {row: share(cases, "found") for row, cases in rows.items() if row[1].startswith(level)}
        reached = {row: value for row, value in shares.items() if value is not None}
        if not reached:
            continue
        limits = [value for row in reached if (value := share(rows[row], "known")) is not None]
        met = [row for row, value in reached.items() if value >= target]
        yield (
            f"Where {'micrographs' if level == 'micrograph' else 'only particles'} differ, B-factors that are found "
            f"give {percents(list(reached.values()))} of the true ones' gain; {percent(target)} are wanted and reached "
            f"in {len(met)} of {len(reached)} rows. Knowable are {percents(limits)}."
        )
    alike = [case for row, cases in rows.items() if not differs(row) for case in cases]
    if alike:
        lost = [gain(case, "found") or 0.0 for case in alike]
        state = "kept" if min(lost) >= -MOST_LOST else "missed"
        yield (
            f"Where particles are alike, B-factors are found in {sum(c['spreads'] is not None for c in alike)} of "
            f"{len(alike)} sets; the largest loss of area is {max(0.0, -min(lost)):.4f} ({MOST_LOST:g} is allowed: "
            f"{state})."
        )
    for name, found in (("even", rows), ("uneven", uneven)):
        worst = [value for cases in found.values() for value in gains(cases, "found")]
        if worst:
            yield (
                f"Views {name}: B-factors that are found gain {min(worst):+.4f} or more; "
                f"{sum(value < -MOST_LOST for value in worst)} of {len(worst)} sets lose more than {MOST_LOST:g}."
            )


def gains(cases: Sequence[Values], name: str, kind: str = "area") -> list[float]:
    """FSC areas of a map less those of equal weights, of the cases that have both."""
    if name == CISTEM_BEST:
        names = ("cistem", *(f"cistem_{v:g}" for v in CISTEM_SPREADS_ANGSTROM2))
        found = [[value for name in names if (value := gain(case, name, kind)) is not None] for case in cases]
        return [max(values) for values in found if values]
    return [value for case in cases if (value := gain(case, name, kind)) is not None]


def share(cases: Sequence[Values], name: str, kind: str = "area") -> float | None:
    """The mean gain of a map over that of the true B-factors; None where these gain nothing."""
    true, own = gains(cases, "true", kind), gains(cases, name, kind)
    return mean(own) / mean(true) if true and own and mean(true) > MOST_LOST else None


def percent(value: float | None) -> str:
    """Rounded to whole per cent.

    >>> percent(0.123), percent(None)
    ('12 %', '-')
    """
    return "-" if value is None else f"{round(100 * value)} %"


def percents(values: Sequence[float]) -> str:
    """The range of some, rounded to whole per cent.

    >>> percents([0.123, 0.2]), percents([0.123])
    ('12 to 20 %', '12 %')
    """
    least, most = percent(min(values)), percent(max(values))
    return most if least == most else f"{least.removesuffix(' %')} to {most}"


def gains_table(rows: dict[Row, list[Values]]) -> str:
    """What the true B-factors gain, and how much of it others do."""

    def line(row: Row, cases: Sequence[Values]) -> list[str]:
        correlations = [case["correlation"] for case in cases if case["correlation"] is not None]
        return [
            label(row),
            str(len(cases)),
            f"{mean(case['maps']['equal']['area'] for case in cases):.4f}",
            spread_of(gains(cases, "true")),
            spread_of(gains(cases, "found")) if not differs(row) else percent(share(cases, "found")),
            percent(share(cases, "known")),
            f"{mean(correlations):.2f}" if correlations else "-",
            f"{sum(case['spreads'] is not None for case in cases)} of {len(cases)}",
        ]

    head = ["", "seeds", "equal", "gain", "found", "knowable", "r", "B found in"]
    return table(head, (line(row, cases) for row, cases in rows.items()))


def others_table(rows: dict[Row, list[Values]]) -> str:
    """What every way to count particles gains."""
    lines = ([label(row), *(spread_of(gains(cases, name), 3) for name in OTHERS)] for row, cases in rows.items())
    return table(["", *OTHERS.values()], lines)


def resolution_table(rows: dict[Row, list[Values]]) -> str:
    """Resolution and ResLog's B-factor with equal weights, B-factors that are found, and the true ones."""

    def line(row: Row, cases: Sequence[Values]) -> list[str]:
        names = ("equal", "found", "true")
        resolutions = [of_maps(cases, name, "resolution_angstrom") for name in names]
        return [
            label(row),
            *(f"{mean(values):.2f}" if values else "-" for values in resolutions),
            *(f"{mean(values):.0f}" if (values := of_maps(cases, n, "bfactor_angstrom2")) else "-" for n in names),
        ]

    head = ["", "Å, equal", "B found", "true B", "Å², equal", "B found", "true B"]
    return table(head, (line(row, cases) for row, cases in rows.items() if differs(row)))


def of_maps(cases: Sequence[Values], name: str, kind: str) -> list[float]:
    """A number of a map, of the cases that have it; B-factors that are not found leave the map as it is."""
    chosen = (case["maps"].get(name, case["maps"]["equal"] if name == "found" else {}) for case in cases)
    return [maps[kind] for maps in chosen if maps.get(kind) is not None]


def views_table(rows: dict[Row, list[Values]]) -> str:
    """The areas where views are uneven, beside those where they are not."""

    def line(row: Row, cases: Sequence[Values]) -> list[str]:
        equal = f"{mean(case['maps']['equal']['area'] for case in cases):.3f}"
        return [label(row), equal, *(spread_of(gains(cases, name), 3) for name in ("found", "true"))]

    chosen = [row for row in rows if row[0] == UNEVEN_VIEWS]
    beside = [("small", *row[1:]) for row in chosen]
    return table(
        ["", "equal", "B found", "true B"], (line(row, rows[row]) for row in [*chosen, *beside] if row in rows)
    )


def beyond_table(rows: dict[Row, list[Values]]) -> str:
    """What knowing defocus and scale is worth; nothing where not measured."""
    lines = []
    for row, cases in rows.items():
        known = [case["beyond"] for case in cases if "beyond" in case]
        if known:
            cells = [f"{MOLECULES[row[0]]}, SNR {row[2]:g}"]
            pairs = (("defocus", "true"), ("defocus", "found"), ("scale", "true"), ("scale", "found"))
            for what, name in pairs:
                cells.append(spread_of([found[what][name] - found[what]["equal"] for found in known]))
            lines.append(cells)
    head = ["", "true defocus", "B found, defocus off", "true scale", "scale found"]
    return table(head, lines) if lines else ""


def spread_of(values: Sequence[float], digits: int = 4) -> str:
    """Mean and, of several, standard deviation.

    >>> spread_of([0.01, 0.03], 3), spread_of([0.01], 3), spread_of([])
    ('+0.020 ± 0.014', '+0.010', '-')
    """
    if not values:
        return "-"
    return f"{mean(values):+.{digits}f}" + (f" ± {stdev(values):.{digits}f}" if len(values) > 1 else "")


def gains_figure(rows: dict[Row, list[Values]]) -> Figure:
    """Mean gain of FSC area of every way to count particles, a line per row."""
    with style():
        figure = Figure(figsize=(10.0, 1.6 + 0.34 * len(rows)), layout="constrained")
        axes = figure.subplots()
        axes.axvline(0.0, color=QUIET, linewidth=0.9, zorder=0)
        for place, cases in enumerate(rows.values()):
            for name, (legend, marker, colour) in DOTS.items():
                if values := gains(cases, name):
                    size, width = (170, 2.4) if marker == "|" else (40, 1.0)
                    axes.scatter(
                        mean(values), place, marker=marker, s=size, color=colour, linewidth=width, label=legend
                    )
        axes.set_yticks(range(len(rows)), [label(row) for row in rows], fontsize=8.5)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel("FSC area less that of equal weights, mean over seeds")
        axes.grid(axis="both")
        handles = {text: handle for handle, text in zip(*axes.get_legend_handles_labels(), strict=True)}
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4)
    return figure
