"""``docs/measurements/selectors.md``, its figure, and all numbers as one table, from what was measured."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure
from scipy.stats import rankdata, spearmanr, t

from benchmarks.validation.common import ROOT
from cryocore.figures.look import CORRECT, INK, QUIET, save, style
from cryocore.markdown import table as markdown_table
from cryocore.tables.io import atomic_path, write_table
from experiments.selectors.measure import ORACLE, STORE, Values
from experiments.selectors.methods import Method, read_methods
from experiments.selectors.sets import WORK, read_sets

PAGE = ROOT / "docs" / "measurements" / "selectors.md"
FIGURE = "selectors.svg"
TABLE = WORK / "selectors.parquet"
OWN = "own choice"
DEFAULT, SCORE = "cryocore", "mixture"
"""The method whose losses are told first, and its score."""
HEAD = """\
# Selectors

*For those who ask which program finds the particles to leave out, and what each is worth on the same files.*

Written by `python -m experiments table` from `benchmarks/results/selectors`, which `python -m experiments selectors`
measures; `experiments/selectors/sets.yaml` declares the data sets, and each file of `experiments/selectors/methods` a
program. [Another one](../how-to/add-a-selector.md) takes one such file.

*Half real*: the density of a known structure (3J9I, 6GYN) under the views, micrographs and defoci of 3,796 real
particles, on crops of real background (EMPIAR-10061), with ice gradients, neighbours, beads, and scales and B-factors
that spread over micrographs. Wrong particles are 12 % wrong poses, 6 % poses 5 to 20° off, 6 % wrong shifts and 6 %
junk, where it does not say otherwise. 1,500 particles a set, in boxes of 64 pixels of 4 Å (20S) and 3 Å (HCN4) and 56
of 2.5 Å (small): what programs find between 8 Å and the resolution of real data is not asked. The background is twelve
patches of 384² pixels, taken pixel by pixel. Particles of the second state count as correct. Sets of one molecule have
the same planted particles, seed by seed; those of different molecules do not.

- *AUC*: of correct above incorrect ones.
- *right*: share of correct ones among the best by that score, as many as there are correct ones (in each half set); of
  70 % of the particles where all are correct. Of an own choice that weighs, by weight, as is the number *kept*.
- *map*: FSC of the map of these with the true one, mean over shells, less that of all particles, in thousandths.
- *> correct*: number of seeds in which that map is better than that of the correct particles.
- *own choice*: what the program itself selects, or weighs; of several subsets the best by the truth. Weights can be
  worth more than any list of the same particles, and where nothing is wrong a list of a given length cannot win.
- Intervals are 95 % by Student's t over the seeds.
"""
WITHIN = "within views"
WHY = """\
JANAS' rank within views is that of a particle among those of its view, counted from the best: on uneven views, which
real ones are, the count says more of how many share the view than of the particle (*simulated, real views* has nothing
else of the half-real sets). Choosing by it evens out the views. {others}
"""
NOT_HERE = """\
## What is not here

The programs of CryoSieve (a GPU) and cisTEM (no package) themselves, cryoSPARC's scale and error (no such columns in
simulated files; of a run that has them they are scores of the log), and whole sessions of JANAS, of eight selections:
where no *session* stands it is told how many to keep, as all other scores are.
Sets, measures and calls were chosen by the authors of one of the programs; corrections of a method's file are welcome.
RELION's numbers are made for other ends: its log-likelihood holds what noise an image has.
"""


@dataclass(frozen=True)
class Row:
    """A score of a method on a data set; ``gain`` is its map's area less that of all particles."""

    set: str
    seed: int
    method: str
    score: str
    auc: float | None
    right: float | None
    gain: float
    n: int
    cpu_s: float | None
    gib: float | None


def measured(store: Path = STORE) -> list[Values]:
    """What is measured, in the order of the sets."""
    files = (store / f"{case.name}.json" for case in read_sets())
    return [json.loads(file.read_text()) for file in files if file.exists()]


def rows_of(values: Values) -> Iterator[Row]:
    """All scores of a data set, baselines among them."""
    base = values["baselines"]["all"]["area"]

    def row(method: str, score: str, said: Values, cost: Values) -> Row:
        own = (values["set"], values["seed"], method, score)
        gain = said["area"] - base
        return Row(*own, said.get("auc"), said["right"], gain, said["n"], cost.get("cpu_s"), cost.get("gib"))

    for name, said in values["baselines"].items():
        yield row(name, "", said, {})
    for name, said in values["methods"].items():
        for score, of_score in said.get("scores", {}).items():
            yield row(name, score, of_score, said["cost"])
        if "own" in said:
            yield row(name, OWN, said["own"], said["cost"])


def write_page(store: Path = STORE, page: Path = PAGE) -> Path | None:
    """Write the page, and its figure to ``images/`` beside it; nothing where nothing is measured."""
    found = measured(store)
    if not found:
        return None
    rows = [row for values in found for row in rows_of(values)]
    labels = {values["set"]: values["label"] for values in found}
    methods = {method.name: method for method in read_methods()}
    save(figure(rows, labels, methods), page.parent / "images" / FIGURE)
    parts = [HEAD.strip(), *losses(rows, labels, methods), f"![Gain of the map by method](images/{FIGURE})"]
    parts += [part for name in labels for part in section(name, labels[name], rows, methods)]
    parts += [*order(rows, labels, methods), *programs(found, methods), NOT_HERE.strip()]
    with atomic_path(page) as temporary:
        temporary.write_text("\n\n".join(parts) + "\n")
    return page


def write_numbers(file: Path = TABLE) -> None:
    """Write all that is measured as one table, a row for each score of a data set."""
    rows = [row for values in measured() for row in rows_of(values)]
    file.parent.mkdir(parents=True, exist_ok=True)
    write_table(file, pa.table({name: [getattr(row, name) for row in rows] for name in Row.__dataclass_fields__}))


def named(row: Row, methods: dict[str, Method]) -> str:
    """A score as the tables name it.

    >>> named(Row("a", 0, "all", "", None, None, 0.0, 1, None, None), {})
    '*all*'
    """
    if row.method not in methods:
        return f"*{row.method}*"
    return f"{methods[row.method].label}: {row.score}"


def grouped(rows: Sequence[Row], methods: dict[str, Method]) -> dict[str, list[Row]]:
    """The rows of each score over the seeds."""
    out: dict[str, list[Row]] = {}
    for row in rows:
        out.setdefault(named(row, methods), []).append(row)
    return out


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half a 95 % interval by Student's t; NaN of a single value.

    >>> interval([1.0, 2.0, 3.0])
    (2.0, 2.4841377117503427)
    """
    if len(values) < 2:
        return mean(values), float("nan")
    error = float(np.std(values, ddof=1)) / len(values) ** 0.5
    return mean(values), float(t.ppf(0.975, len(values) - 1)) * error


def cell(values: Sequence[float | None], scale: float = 1.0, digits: int = 3, sign: str = "") -> str:
    """Mean and interval of values that there are.

    >>> cell([0.9, 0.91, 0.92]), cell([None])
    ('0.910 ± 0.025', '-')
    """
    known = [scale * value for value in values if value is not None]
    if not known:
        return "-"
    middle, half = interval(known)
    return f"{middle:{sign}.{digits}f}" + ("" if np.isnan(half) else f" ± {half:.{digits}f}")


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as one part of the page."""
    return markdown_table(list(heads), [list(row) for row in rows]).strip()


def losses(rows: Sequence[Row], labels: dict[str, str], methods: dict[str, Method]) -> list[str]:
    """Where another program's map is better than the default's, over the same seeds, beyond chance: than that of its
    own choice, and than that of as many particles by its score."""
    return [
        "## Where the default loses",
        "Maps better than that of cryocore's own choice after three rounds, which weighs particles, seed by seed:",
        _ahead(OWN, rows, labels, methods),
        "Lists better than that of as many particles, the best by cryocore's score after three rounds:",
        _ahead(SCORE, rows, labels, methods),
    ]


def _ahead(score: str, rows: Sequence[Row], labels: dict[str, str], methods: dict[str, Method]) -> str:
    told = []
    for name, label in labels.items():
        here = [row for row in rows if row.set == name]
        own = {row.seed: row.gain for row in here if row.method == DEFAULT and row.score == score}
        for other, of_score in grouped([row for row in here if row.method in methods], methods).items():
            if of_score[0].method == DEFAULT or (score != OWN and of_score[0].score == OWN):
                continue
            ahead = [row.gain - own[row.seed] for row in of_score if row.seed in own]
            if len(ahead) > 1:
                middle, half = interval(ahead)
                if middle > half:
                    told.append(f"- {label}: {other}, by {1000 * middle:.1f} ± {1000 * half:.1f} thousandths.")
    return "\n".join(told or ["- Nowhere, beyond chance: no interval over the seeds leaves 0 out."])


def section(name: str, label: str, rows: Sequence[Row], methods: dict[str, Method]) -> list[str]:
    """The table of a data set, the best maps first."""
    here = grouped([row for row in rows if row.set == name], methods)
    seeds = len({row.seed for row in rows if row.set == name})
    lines, of_correct = [], {row.seed: row.gain for row in rows if row.set == name and row.method == "correct"}
    for score, of_score in sorted(here.items(), key=lambda item: -mean(row.gain for row in item[1])):
        lines.append(
            [
                score if len(of_score) == seeds else f"{score} ({len(of_score)} seeds)",
                cell([row.auc for row in of_score]),
                cell([row.right for row in of_score], 100.0, 1) if any(r.auc for r in here["*true map*"]) else "-",
                cell([row.gain for row in of_score], 1000.0, 1, "+"),
                str(sum(row.gain > of_correct[row.seed] for row in of_score)) if score != "*correct*" else "-",
                f"{mean(row.n for row in of_score):.0f}",
                cell([row.cpu_s for row in of_score], 1.0, 0).split(" ")[0],
                cell([row.gib for row in of_score], 1.0, 2).split(" ")[0],
            ]
        )
    heads = ["", "AUC", "right, %", "map, thousandths", "> correct", "kept", "CPU s", "GiB"]
    return [f"## {label}", f"{seeds} seeds.", table(heads, lines)]


def order(rows: Sequence[Row], labels: dict[str, str], methods: dict[str, Method]) -> list[str]:
    """How the order of scores by AUC changes from simulated to half-real images."""
    parts, lost = [], []
    for name in labels:
        twin = name.removesuffix("-plain") + "-real"
        if not name.endswith("-plain") or twin not in labels:
            continue
        both = [
            grouped([row for row in rows if row.set == one and row.auc is not None], methods) for one in (name, twin)
        ]
        names = [score for score in both[0] if score in both[1] and score != f"*{ORACLE}*"]
        means = [np.array([mean(row.auc or 0.0 for row in found[score]) for score in names]) for found in both]
        ranks = [rankdata(-values) for values in means]
        lost += [
            (before - after, f"{score}, {labels[twin].split(',')[0]}")
            for score, before, after in zip(names, *means, strict=True)
        ]
        by_rank = sorted(range(len(names)), key=lambda i: float(ranks[0][i]))
        lines = [
            [names[i], f"{means[0][i]:.3f} ({ranks[0][i]:.0f})", f"{means[1][i]:.3f} ({ranks[1][i]:.0f})"]
            for i in by_rank
        ]
        agreement = float(spearmanr(means[0], means[1]).statistic)
        text = f"Rank correlation of {len(names)} scores: {agreement:.2f}."
        parts += [f"### {labels[twin].split(',')[0]}", text, table(["AUC (rank)", "simulated", "half real"], lines)]
    if not parts:
        return []
    others = sorted((value, score) for value, score in lost if WITHIN not in score)
    (least, _), (most, worst) = others[0], others[-1]
    middle = float(np.median([value for value, _ in others]))
    said = f"The other scores lose {least:.3f} to {most:.3f} of AUC (most: {worst}), in the median {middle:.3f}."
    return ["## Simulated and half real", *parts, WHY.strip().format(others=said)]


def programs(found: Sequence[Values], methods: dict[str, Method]) -> list[str]:
    """What each method judges by, how it was called, and why some have no numbers."""
    lines = []
    for name, method in methods.items():
        said = [values["methods"].get(name, {}) for values in found]
        missing = {str(v.get("skipped") or v.get("failed")) for v in said if "scores" not in v and v}
        commits = sorted({v["made"]["commit"] for v in said if "made" in v}) or ["-"]
        exactly = " ".join([method.about, *sorted(missing)]).strip() or "-"
        lines.append([method.label, method.by, exactly, ", ".join(commits)])
    made = [values["made"] for values in found]
    machines, days = (sorted({one[key] for one in made}) for key in ("machine", "date"))
    about = f"Measured on {' and '.join(machines)}, one core each, {' to '.join(dict.fromkeys([days[0], days[-1]]))}."
    return ["## Programs", about, table(["", "judges by", "said exactly", "at commit"], lines)]


def figure(rows: Sequence[Row], labels: dict[str, str], methods: dict[str, Method]) -> Figure:
    """The gain of every score's map, a panel each set."""
    with style():
        across = 2
        down = -(-len(labels) // across)
        names = list(grouped(rows, methods))
        drawing = Figure(figsize=(12.5, down * (0.9 + 0.2 * len(names))), layout="constrained")
        axes = drawing.subplots(down, across, sharey=True, squeeze=False).ravel()
        for panel, (name, label) in zip(axes, labels.items(), strict=False):
            here = grouped([row for row in rows if row.set == name], methods)
            for at, score in enumerate(reversed(names)):
                if score not in here:
                    continue
                middle, half = interval([1000.0 * row.gain for row in here[score]])
                colour = CORRECT if "cryocore" in score else QUIET if score.startswith("*") else INK
                panel.errorbar(middle, at, xerr=0.0 if np.isnan(half) else half, fmt="o", color=colour, capsize=2, ms=4)
            panel.axvline(0.0, color=QUIET, lw=0.8)
            panel.set_title(label, fontsize=10)
            panel.set_xlabel("FSC with the true map less that of all particles, thousandths")
            panel.set_yticks(range(len(names)), [score.strip("*") for score in reversed(names)], fontsize=8)
            panel.grid(axis="x")
        for panel in axes[len(labels) :]:
            panel.set_visible(False)
        return drawing
