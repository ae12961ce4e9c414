"""The section on quality: which micrographs are sharp or dull, how surely, and what goes with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cryocore.errors import InputError
from cryocore.figures.look import CORRECT, QUIET, style
from cryocore.formats.kinds import read_tables
from cryocore.formats.source import Source
from cryocore.log.rounds import LogRound, open_round
from cryocore.maps.fsc import resolution_at
from cryocore.report.section import Drawing, Section, Table
from cryocore.tables.io import read_table, table_metadata
from cryocore.tables.particles import BFACTOR, BFACTORS, Particles, require_same_particles
from cryocore.types import Floats, Ints

NAMED = "quality", "Quality", "How good are the particles, beyond right and wrong?"
LISTED = 3
"""Micrographs at either end that the table names."""
MANY = 1000
"""Micrographs from which on the figure is made of pixels."""
DEFOCUS = "the defocus"
LEVELS = {"optics_group": "optics groups", "micrograph": "micrographs"}
CERTAIN = 3.0
"""Standard errors from which on a rank correlation is told."""
FEWEST = 8
"""Micrographs below which none is told."""
TIME = re.compile(r"20\d{6}[_-]?\d{6}(?!\d)")
"""Day and time of acquisition in the name of a micrograph."""
BESIDE = {
    "rlnCtfMaxResolution": "the resolution of the CTF fit",
    "rlnCtfFigureOfMerit": "the figure of merit of the CTF fit",
    "rlnCtfIceRingDensity": "the density of the ice ring",
}
"""Columns of a file of particles that tell of ice and drift."""
READING = (
    "B says how much faster than that of the mean particle the signal falls off with resolution, exp(-B s²/4): above 0 "
    "a micrograph is dull, below 0 sharp. Bars are 95 % intervals. Thick ice, drift, charging and dose make it dull, "
    "but so does a defocus that is off. A trend over the acquisition speaks for the microscope, one with the defocus "
    "for the CTF."
)


@dataclass(frozen=True)
class Micrographs:
    """Those of a data set, in order of acquisition as far as their names tell it.

    ``n`` : particles; ``incorrect`` : the share of them that is, by their probabilities
    ``bfactor_angstrom2``, ``sd_angstrom2`` : by both half sets
    ``halves_angstrom2`` : ``(2, micrographs)``, by each half set on its own; NaN where it has no particle
    ``beside`` : means of what else is known of them, by name: the defocus in µm, columns of the particles' file
    """

    name: tuple[str, ...]
    n: Ints
    incorrect: Floats | None
    bfactor_angstrom2: Floats
    sd_angstrom2: Floats
    halves_angstrom2: Floats
    beside: Mapping[str, Floats]

    def __len__(self) -> int:
        return len(self.name)


def quality_section(run_dir: Path, number: int) -> Section:
    """B-factors of the particles in the map of one round, as its subset says; a line where there are none."""
    subset = run_dir / f"round_{number}" / "subset.parquet"
    if number == 0 or not subset.exists():
        return Section(*NAMED, "Nothing is selected yet.")
    known = read_table(subset)
    made_by = table_metadata(known.schema)
    if (made_by.get("settings") or {}).get("quality") == "none":
        return Section(*NAMED, "Not asked: select.quality is none.")
    if BFACTOR not in known.column_names:
        return Section(
            *NAMED,
            "No differences are found: the signal of all particles reaches equally far, as far as the images tell "
            f"(round {number}), and none counts less than another for it.",
        )
    spreads = made_by["quality"]["spread_angstrom2"]
    try:
        log = open_round(run_dir / "log" / f"round={number}" / "log.parquet")
        found = micrographs(log, known, spreads, _beside(run_dir))
    except InputError as error:
        return Section(*NAMED, f"Not answered: {error.problem}.")
    if found is None:
        return Section(*NAMED, _answer(None, number, None), points=(_levels({"optics_group": _spread(spreads)}),))
    resolution = None if log.curves is None else resolution_at(log.curves.corrected, log.curves.resolution_angstrom)
    return Section(
        *NAMED,
        _answer(found, number, resolution),
        points=(_levels(spreads), *_agreement(found), _trends(found), _command(run_dir, number)),
        drawings=(Drawing("quality", quality_figure(found), "B-factor of every micrograph with its interval"),),
        tables=(_table(found),),
        reading=READING,
    )


def micrographs(
    log: LogRound, subset: pa.Table, spreads: Mapping[str, float], beside: Mapping[str, Floats]
) -> Micrographs | None:
    """The micrographs of a round's log with the B-factors of its subset; None where the log names less than two.

    ``beside`` are columns ``(n,)`` of which they have the mean.
    """
    named = log.labels("micrograph")
    if named is None:
        return None
    ids, told = log.values("particle_id"), subset.column("particle_id").to_numpy()
    require_same_particles(told, ids, file="subset.parquet")
    codes, there = np.unique(named[0], return_inverse=True)
    if len(codes) < 2:
        return None
    n = np.bincount(there)

    def mean(values: NDArray[Any]) -> Floats:
        return np.asarray(np.bincount(there, weights=values.astype(np.float64)) / n)

    half = log.values("half").astype(np.int64) - 1
    members = np.stack([np.bincount(there[half == h], minlength=len(codes)) for h in (0, 1)])
    estimates = []
    for name in BFACTORS:
        values = subset.column(name).to_numpy().astype(np.float64)
        sums = [np.bincount(there[half == h], weights=values[half == h], minlength=len(codes)) for h in (0, 1)]
        estimates.append(np.divide(sums, members, out=np.full(members.shape, np.nan), where=members > 0))
    value, sd = joined(estimates[0], estimates[1], _spread(spreads))
    likely, sides = log.posterior(), [log.column(f"defocus_{side}_angstrom") for side in "uv"]
    more = {name: mean(column) for name, column in beside.items()}
    if sides[0] is not None and sides[1] is not None:
        more = {DEFOCUS: mean(0.5e-4 * (sides[0].astype(np.float64) + sides[1]))} | more
    names = [named[1][code] for code in codes]
    order = np.array(sorted(range(len(codes)), key=lambda i: acquired(names[i])))
    return Micrographs(
        name=tuple(names[i] for i in order),
        n=n[order],
        incorrect=None if likely is None else 1.0 - mean(likely)[order],
        bfactor_angstrom2=value[order],
        sd_angstrom2=sd[order],
        halves_angstrom2=estimates[0][:, order],
        beside={name: column[order] for name, column in more.items()},
    )


def joined(value: Floats, sd: Floats, spread: float) -> tuple[Floats, Floats]:
    """One estimate of two half sets' ``(2, micrographs)``, each drawn to 0 by the same ``spread``, which counts once.

    >>> value, sd = joined(np.array([[50.0], [50.0]]), np.sqrt([[50.0], [50.0]]), 10.0)
    >>> value.round(2).tolist(), (sd**2).round(2).tolist()
    ([66.67], [33.33])
    """
    there = np.isfinite(value)
    precision = np.where(there, 1.0 / sd**2, 0.0)
    both = there.all(axis=0)
    total = np.maximum(precision.sum(axis=0) - both / spread**2, precision.max(axis=0))
    return np.where(there, precision * value, 0.0).sum(axis=0) / total, 1.0 / np.sqrt(total)


def acquired(name: str) -> tuple[str, list[Any]]:
    """By what micrographs are put in order: the time in their names, else the names, their numbers by value.

    >>> sorted(["m_10.mrc", "m_9.mrc"], key=acquired)
    ['m_9.mrc', 'm_10.mrc']
    >>> sorted(["a_20240102_113000.mrc", "b_20240102_101500.mrc"], key=acquired)
    ['b_20240102_101500.mrc', 'a_20240102_113000.mrc']
    """
    time = TIME.search(name)
    parts = re.split(r"(\d+)", name)
    return time[0] if time else "", [int(part) if part.isdigit() else part for part in parts]


def _beside(run_dir: Path) -> dict[str, Floats]:
    """What the file of the particles says of ice and drift, ``(n,)`` each."""
    if not (run_dir / "particles.parquet").exists():
        return {}
    source = Source.of(Particles.read(run_dir / "particles.parquet"))
    if not source.path.exists():
        return {}
    given = read_tables(source.path).particles
    return {
        what: given[name].to_numpy()[source.rows].astype(np.float64) for name, what in BESIDE.items() if name in given
    }


def _answer(found: Micrographs | None, number: int, resolution: float | None) -> str:
    text = f"The signal of {'optics groups' if found is None else 'micrographs'} reaches differently far"
    if found is not None and resolution is not None:
        value = found.bfactor_angstrom2
        dull, sharp = (float(np.exp(-0.25 * end / resolution**2)) for end in (value.max(), value.min()))
        text += (
            f": at {resolution:.1f} Å the dullest of {len(found):,} has {dull:.2f} times that of the mean, the "
            f"sharpest {sharp:.2f} times"
        )
    return f"{text}. Each counts in the map of round {number} by what it has at each resolution; none is dropped."


def _spread(spreads: Mapping[str, float]) -> float:
    """Standard deviation of B of all micrographs, Å²."""
    return float(np.hypot(spreads["micrograph"], spreads["optics_group"]))


def _levels(spreads: Mapping[str, float]) -> str:
    """How far B differs at each level."""
    found = [f"{spreads[name]:.0f} Å² between {level}" for name, level in LEVELS.items() if spreads.get(name)]
    without = "" if spreads["optics_group"] else "; none is found between optics groups"
    return f"Standard deviation of B: {', '.join(found)}{without}."


def _agreement(found: Micrographs) -> list[str]:
    """Whether the half sets find the same."""
    one, two = found.halves_angstrom2[:, np.isfinite(found.halves_angstrom2).all(axis=0)]
    if len(one) < FEWEST or not one.std() or not two.std():
        return []
    agreement = np.corrcoef(one, two)[0, 1]
    return [f"The half sets, which share no image, each have their own B-factors, which correlate by {agreement:.2f}."]


def _trends(found: Micrographs) -> str:
    """What goes with B."""
    sides = {"the order of acquisition": np.arange(len(found), dtype=np.float64), **found.beside}
    told, quiet = [], []
    for name, values in sides.items():
        correlation = rank_correlation(found.bfactor_angstrom2, values)
        if correlation is None:
            continue
        if abs(correlation) * np.sqrt(len(found) - 1) < CERTAIN:
            quiet.append(name)
        else:
            told.append(
                f"B {'rises' if correlation > 0 else 'falls'} with {name} (rank correlation {correlation:+.2f})."
            )
    without = f"No trend is seen with {' or '.join(quiet)}." if quiet else ""
    return " ".join([*told, without]).strip()


def rank_correlation(first: Floats, second: Floats) -> float | None:
    """Correlation of the ranks of two columns; None where one is constant, not known, or there are few values.

    >>> rank_correlation(np.arange(9.0), np.arange(9.0) ** 3), rank_correlation(np.arange(9.0), np.zeros(9))
    (1.0, None)
    """
    known = np.isfinite(first) & np.isfinite(second)
    if known.sum() < FEWEST or not np.ptp(second[known]) or not np.ptp(first[known]):
        return None
    from scipy.stats import spearmanr  # slow to import

    return float(spearmanr(first[known], second[known]).statistic)


def _command(run_dir: Path, number: int) -> str:
    """How to see what B-factors do to the map."""
    return (
        f"The map without them, to compare with: cryocore replay {run_dir} --round {number - 1} --quality none --out "
        f"even.parquet, then cryocore reconstruct {run_dir}/particles.parquet even --subset even.parquet --mask "
        f"{run_dir}/round_0/mask.mrc --config with that of the run."
    )


def _table(found: Micrographs) -> Table:
    """The dullest and the sharpest micrographs."""
    order = np.argsort(-found.bfactor_angstrom2, kind="stable")
    few = len(order) <= 2 * LISTED
    rows = order if few else np.concatenate([order[:LISTED], order[-LISTED:]])
    defocus, incorrect = found.beside.get(DEFOCUS), found.incorrect
    return Table(
        f"Micrographs: all {len(found)}" if few else f"Micrographs: the dullest and the sharpest of {len(found):,}",
        ("Micrograph", "Particles", "B, Å²", "95 % interval", "Incorrect", "Defocus, µm"),
        tuple(
            (
                found.name[i],
                f"{found.n[i]:,}",
                _signed(found.bfactor_angstrom2[i]),
                " to ".join(_signed(found.bfactor_angstrom2[i] + end * found.sd_angstrom2[i]) for end in (-1.96, 1.96)),
                "–" if incorrect is None else f"{100 * incorrect[i]:.1f} %",
                "–" if defocus is None else f"{defocus[i]:.2f}",
            )
            for i in rows
        ),
    )


def _signed(value: float) -> str:
    return f"{value:+.0f}".replace("-", "−")


def quality_figure(found: Micrographs) -> Figure:
    """B of every micrograph with its 95 % interval, in order of acquisition and, where it is known, by the defocus."""
    defocus = found.beside.get(DEFOCUS)
    sides: list[tuple[NDArray[Any], str]] = [(np.arange(len(found)) + 1.0, "micrograph, in order of acquisition")]
    if defocus is not None and np.ptp(defocus) > 0:
        sides.append((defocus, "defocus (µm)"))
    pixels, size = len(found) > MANY, float(np.clip(60.0 / np.sqrt(len(found)), 1.5, 5.0))
    with style():
        figure = Figure(figsize=(11.5, 3.4), layout="constrained")
        panels = figure.subplots(1, len(sides), squeeze=False, sharey=True, width_ratios=[2, 1][: len(sides)])[0]
        for axes, (x, label) in zip(panels, sides, strict=True):
            axes.axhline(0.0, color=QUIET, linewidth=1.0, linestyle=(0, (4, 3)), zorder=0)
            bars = axes.errorbar(
                x,
                found.bfactor_angstrom2,
                1.96 * found.sd_angstrom2,
                fmt="o",
                color=CORRECT,
                markersize=size,
                elinewidth=0.2 * size,
                alpha=0.5 if pixels else 1.0,
            )
            for part in (bars[0], *bars[2]):
                part.set_rasterized(pixels)
            axes.set_xlabel(label)
            axes.grid(axis="y")
            axes.set_axisbelow(True)
            axes.margins(x=0.03)
        panels[0].set_ylabel("B (Å²), dull above 0")
        panels[0].set_title("B-factors of micrographs")
        panels[0].set_xlim(0.0, len(found) + 1.0)
    return figure
