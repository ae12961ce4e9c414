"""The section on quality: which micrographs are sharp or dull, strong or faint, how surely, and what goes with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
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
from cryocore.tables.particles import (
    BFACTOR,
    BFACTOR_SD,
    SCALE,
    SCALE_SD,
    UNCHANGED_SINCE,
    Particles,
    require_same_particles,
)
from cryocore.types import Floats, Ints

NAMED = "quality", "Quality", "How good are the particles, beyond right and wrong?"
LISTED = 3
"""Micrographs at either end that the table names."""
MANY = 1000
"""Micrographs from which on the figure is made of pixels."""
DEFOCUS = "the defocus"
LEVELS = {"optics_group": "optics groups", "micrograph": "micrographs", "particle": "particles"}
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
    "a micrograph is dull, below 0 sharp; the scale how strong it is at all resolutions. Bars are 95 % intervals. "
    "Thick ice makes a micrograph faint, drift, charging and dose make it dull, and so does a defocus that is off. A "
    "trend over the acquisition speaks for the microscope, one with the defocus for the CTF."
)


@dataclass(frozen=True)
class Estimate:
    """One number of each micrograph, by both half sets, ``(micrographs,)``.

    ``value``, ``sd`` : with its standard deviation
    ``halves`` : ``(2, micrographs)``, by each half set on its own; NaN where it has no particle
    ``spread`` : standard deviation over micrographs, 0 where they do not differ
    """

    value: Floats
    sd: Floats
    halves: Floats
    spread: float

    def interval(self, i: int) -> tuple[float, float]:
        """95 % interval of a micrograph."""
        return float(self.value[i] - 1.96 * self.sd[i]), float(self.value[i] + 1.96 * self.sd[i])


@dataclass(frozen=True)
class Micrographs:
    """Those of a data set, in order of acquisition as far as their names tell it.

    ``n`` : particles; ``incorrect`` : the share of them that is, by their probabilities
    ``bfactor`` : in Å²; ``scale`` : over that of the mean particle
    ``beside`` : means of what else is known of them, by name: the defocus in µm, columns of the particles' file
    """

    name: tuple[str, ...]
    n: Ints
    incorrect: Floats | None
    bfactor: Estimate
    scale: Estimate
    beside: Mapping[str, Floats]

    def __len__(self) -> int:
        return len(self.name)

    @property
    def differing(self) -> tuple[tuple[str, Estimate], ...]:
        """What micrographs differ in, by its name in texts."""
        return tuple((name, e) for name, e in (("B", self.bfactor), ("The scale", self.scale)) if e.spread > 0)


def quality_section(run_dir: Path, number: int) -> Section:
    """Envelopes of the particles in the map of one round, as its subset says; a line where there are none."""
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
            "No differences are found: the signal of all micrographs is equally strong and reaches equally far, as far "
            f"as the images tell (round {number}), and none counts less than another for it.",
        )
    since = made_by.get(UNCHANGED_SINCE, number)
    spreads = {**made_by["quality"]["spread_angstrom2"], SCALE: made_by["quality"]["micrograph_scale_spread"]}
    try:
        log = open_round(run_dir / "log" / f"round={number}" / "log.parquet")
        found = micrographs(log, known, spreads, _beside(run_dir))
    except InputError as error:
        return Section(*NAMED, f"Not answered: {error.problem}.")
    resolution = None if log.curves is None else resolution_at(log.curves.corrected, log.curves.resolution_angstrom)
    drawings: tuple[Drawing, ...] = ()
    if spreads.get("particle"):
        bfactor = known.column(BFACTOR).to_numpy()
        if "posterior" in known.column_names:  # of the others nothing is known
            bfactor = bfactor[known.column("posterior").to_numpy() > 0.5]
        drawings = (Drawing("quality_particles", particles_figure(bfactor), "The B-factors of correct particles"),)
    if not (_spread(spreads) or spreads[SCALE]):
        points = _levels(spreads), _command(run_dir, since)
        return Section(*NAMED, _answer_of_particles(bfactor, number, resolution), points=points, drawings=drawings)
    if found is None:
        alone = {"optics_group": _spread(spreads), SCALE: spreads[SCALE], "particle": spreads.get("particle", 0.0)}
        return Section(*NAMED, _answer_of_groups(alone, number), points=(_levels(alone),), drawings=drawings)
    return Section(
        *NAMED,
        _answer(found, number, resolution),
        points=(_levels(spreads), *_agreement(found), _trends(found), _command(run_dir, since)),
        drawings=(Drawing("quality", quality_figure(found), "Every micrograph with its interval"), *drawings),
        tables=(_table(found),),
        reading=READING,
    )


def micrographs(
    log: LogRound, subset: pa.Table, spreads: Mapping[str, float], beside: Mapping[str, Floats]
) -> Micrographs | None:
    """The micrographs of a round's log with the envelopes of its subset; None where the log names less than two.

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
    names = [named[1][code] for code in codes]
    order = np.array(sorted(range(len(codes)), key=lambda i: acquired(names[i])))

    def by_half(name: str) -> Floats:
        values = subset.column(name).to_numpy().astype(np.float64)
        sums = [np.bincount(there[half == h], weights=values[half == h], minlength=len(codes)) for h in (0, 1)]
        return np.divide(sums, members, out=np.full(members.shape, np.nan), where=members > 0)[:, order]

    def sd_by_half(name: str, within: float = 0.0) -> Floats:
        """Of the means of micrographs, whose members differ by a standard deviation ``within``: what two members share,
        and a part of what each has of its own."""
        least = np.full(members.shape, np.inf)
        np.minimum.at(least, (half, there), subset.column(name).to_numpy().astype(np.float64) ** 2)
        return np.sqrt(np.maximum(least - within**2, 0.0) + within**2 / np.maximum(members, 1))[:, order]

    likely, sides = log.posterior(), [log.column(f"defocus_{side}_angstrom") for side in "uv"]
    more = {name: mean(column) for name, column in beside.items()}
    if sides[0] is not None and sides[1] is not None:
        more = {DEFOCUS: mean(0.5e-4 * (sides[0].astype(np.float64) + sides[1]))} | more
    return Micrographs(
        name=tuple(names[i] for i in order),
        n=n[order],
        incorrect=None if likely is None else 1.0 - mean(likely)[order],
        bfactor=joined(by_half(BFACTOR), sd_by_half(BFACTOR_SD, spreads.get("particle", 0.0)), _spread(spreads)),
        scale=joined(by_half(SCALE), sd_by_half(SCALE_SD), spreads.get(SCALE, 0.0), centre=1.0),
        beside={name: column[order] for name, column in more.items()},
    )


def joined(halves: Floats, sd: Floats, spread: float, centre: float = 0.0) -> Estimate:
    """One estimate of two half sets' ``(2, micrographs)``, each drawn to the ``centre`` by the same ``spread``, which
    counts once.

    >>> both = joined(np.array([[50.0], [50.0]]), np.sqrt([[50.0], [50.0]]), 10.0)
    >>> both.value.round(2).tolist(), (both.sd**2).round(2).tolist()
    ([66.67], [33.33])
    """
    if spread == 0.0:
        return Estimate(np.full(halves.shape[1], centre), np.zeros(halves.shape[1]), halves, 0.0)
    there, value = np.isfinite(halves), halves - centre
    precision = np.where(there, 1.0 / sd**2, 0.0)
    both = there.all(axis=0)
    total = np.maximum(precision.sum(axis=0) - both / spread**2, precision.max(axis=0))
    mean = np.where(there, precision * value, 0.0).sum(axis=0) / total
    return Estimate(centre + mean, 1.0 / np.sqrt(total), halves, spread)


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


def _answer_of_groups(spreads: Mapping[str, float], number: int) -> str:
    how = "reaches differently far" if spreads["optics_group"] else "is differently strong"
    return f"The signal of optics groups {how}. {_counts(number)}"


def _answer_of_particles(bfactor: Floats, number: int, resolution: float | None) -> str:
    text = "The signal of particles reaches differently far, whatever their micrograph"
    if resolution is not None:
        dull, sharp = (float(np.exp(-0.25 * np.quantile(bfactor, at) / resolution**2)) for at in (0.9, 0.1))
        text += (
            f": at {resolution:.1f} Å the dullest tenth has at most {dull:.2f} times that of the mean, the sharpest at "
            f"least {sharp:.2f} times"
        )
    return f"{text}. {_counts(number)}"


def _counts(number: int) -> str:
    return f"Each counts in the map of round {number} by what it has at each resolution; none is dropped."


def _answer(found: Micrographs, number: int, resolution: float | None) -> str:
    if not found.bfactor.spread:
        faint, strong = found.scale.value.min(), found.scale.value.max()
        text = (
            f"The signal of micrographs is differently strong: the faintest of {len(found):,} has {faint:.2f} times "
            f"that of the mean, the strongest {strong:.2f} times"
        )
    else:
        text = "The signal of micrographs reaches differently far"
        if resolution is not None:
            left = found.scale.value * np.exp(-0.25 * found.bfactor.value / resolution**2)
            dull, sharp = float(left.min()), float(left.max())
            text += (
                f": at {resolution:.1f} Å the dullest of {len(found):,} has {dull:.2f} times that of the mean, the "
                f"sharpest {sharp:.2f} times"
            )
    return f"{text}. {_counts(number)}"


def _spread(spreads: Mapping[str, float]) -> float:
    """Standard deviation of B of all micrographs, Å²."""
    return float(np.hypot(spreads["micrograph"], spreads["optics_group"]))


def _levels(spreads: Mapping[str, float]) -> str:
    """How far B differs at each level, and the scale."""
    found = [f"{spreads[name]:.0f} Å² between {level}" for name, level in LEVELS.items() if spreads.get(name)]
    without = "" if spreads["optics_group"] or not found else "; none is found between optics groups"
    members = LEVELS["micrograph" if "micrograph" in spreads else "optics_group"]
    scale = f"{spreads[SCALE]:.2f} between {members}" if spreads.get(SCALE) else "none is found"
    return f"Standard deviation of B: {', '.join(found) or 'none is found'}{without}. Of the scale: {scale}."


def _agreement(found: Micrographs) -> list[str]:
    """Whether the half sets find the same."""
    told = []
    for _, estimate in found.differing:
        one, two = estimate.halves[:, np.isfinite(estimate.halves).all(axis=0)]
        if len(one) >= FEWEST and one.std() and two.std():
            what = "B-factors" if estimate is found.bfactor else "scales"
            told.append(f"{what}, which correlate by {np.corrcoef(one, two)[0, 1]:.2f}")
    return [f"The half sets, which share no image, each have their own {', and '.join(told)}."] if told else []


def _trends(found: Micrographs) -> str:
    """What goes with B, and with the scale."""
    return " ".join(text for name, estimate in found.differing if (text := _trends_of(name, estimate.value, found)))


def _trends_of(what: str, estimates: Floats, found: Micrographs) -> str:
    sides = {"the order of acquisition": np.arange(len(found), dtype=np.float64), **found.beside}
    told, quiet = [], []
    for name, values in sides.items():
        correlation = rank_correlation(estimates, values)
        if correlation is None:
            continue
        if abs(correlation) * np.sqrt(len(found) - 1) < CERTAIN:
            quiet.append(name)
        else:
            told.append(
                f"{what} {'rises' if correlation > 0 else 'falls'} with {name} (rank correlation {correlation:+.2f})."
            )
    of = "" if what == "B" else " of the scale"
    without = f"No trend{of} is seen with {' or '.join(quiet)}." if quiet else ""
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
    """How to see what envelopes do to the map."""
    return (
        f"The map without them, to compare with: cryocore replay {run_dir} --round {number - 1} --quality none --out "
        f"even.parquet, then cryocore reconstruct {run_dir}/particles.parquet even --subset even.parquet --mask "
        f"{run_dir}/round_0/mask.mrc --config with that of the run."
    )


def _table(found: Micrographs) -> Table:
    """The dullest and the sharpest micrographs, or the faintest and the strongest."""
    of_bfactors = found.bfactor.spread > 0
    order = np.argsort(-found.bfactor.value if of_bfactors else found.scale.value, kind="stable")
    few = len(order) <= 2 * LISTED
    rows = order if few else np.concatenate([order[:LISTED], order[-LISTED:]])
    defocus, incorrect = found.beside.get(DEFOCUS), found.incorrect
    ends = "dullest and the sharpest" if of_bfactors else "faintest and the strongest"
    return Table(
        f"Micrographs: all {len(found)}" if few else f"Micrographs: the {ends} of {len(found):,}",
        (
            "Micrograph",
            "Particles",
            *(("B, Å²", "95 % interval") if found.bfactor.spread else ()),
            *(("Scale", "95 % interval") if found.scale.spread else ()),
            "Incorrect",
            "Defocus, µm",
        ),
        tuple(
            (
                found.name[i],
                f"{found.n[i]:,}",
                *_with_interval(found.bfactor, i, _signed),
                *_with_interval(found.scale, i, "{:.2f}".format),
                "–" if incorrect is None else f"{100 * incorrect[i]:.1f} %",
                "–" if defocus is None else f"{defocus[i]:.2f}",
            )
            for i in rows
        ),
    )


def _with_interval(estimate: Estimate, i: int, write: Callable[[float], str]) -> tuple[str, ...]:
    """Two cells of a micrograph; none where micrographs do not differ."""
    return (write(estimate.value[i]), " to ".join(map(write, estimate.interval(i)))) if estimate.spread else ()


def _signed(value: float) -> str:
    return f"{value:+.0f}".replace("-", "−")


def particles_figure(bfactor: Floats) -> Figure:
    """How many particles have which B, ``(n,)`` in Å²."""
    with style():
        figure = Figure(figsize=(7.0, 3.2), layout="constrained")
        axes = figure.subplots()
        axes.hist(bfactor, bins=80, color=CORRECT)
        axes.axvline(0.0, color=QUIET, linewidth=1.0, linestyle=(0, (4, 3)))
        axes.set_xlabel("B (Å²), dull above 0; as far as one image tells")
        axes.set_ylabel("particles")
        axes.set_title("B-factors of particles")
    return figure


def quality_figure(found: Micrographs) -> Figure:
    """Every micrograph with its 95 % interval, in order of acquisition and, where it is known, by the defocus: a row
    for each of B and the scale that differ."""
    defocus = found.beside.get(DEFOCUS)
    sides: list[tuple[NDArray[Any], str]] = [(np.arange(len(found)) + 1.0, "micrograph, in order of acquisition")]
    if defocus is not None and np.ptp(defocus) > 0:
        sides.append((defocus, "defocus (µm)"))
    both = (
        (found.bfactor, 0.0, "B (Å²), dull above 0", "B-factors of micrographs"),
        (found.scale, 1.0, "scale, faint below 1", "Scales of micrographs"),
    )
    rows = [row for row in both if row[0].spread > 0]
    pixels, size = len(found) > MANY, float(np.clip(60.0 / np.sqrt(len(found)), 1.5, 5.0))
    with style():
        figure = Figure(figsize=(11.5, 3.4 * len(rows)), layout="constrained")
        widths = [2, 1][: len(sides)]
        grid = figure.subplots(len(rows), len(sides), squeeze=False, sharex="col", sharey="row", width_ratios=widths)
        for panels, (estimate, centre, label, title) in zip(grid, rows, strict=True):
            for axes, (x, _) in zip(panels, sides, strict=True):
                axes.axhline(centre, color=QUIET, linewidth=1.0, linestyle=(0, (4, 3)), zorder=0)
                bars = axes.errorbar(
                    x,
                    estimate.value,
                    1.96 * estimate.sd,
                    fmt="o",
                    color=CORRECT,
                    markersize=size,
                    elinewidth=0.2 * size,
                    alpha=0.5 if pixels else 1.0,
                )
                for part in (bars[0], *bars[2]):
                    part.set_rasterized(pixels)
                axes.grid(axis="y")
                axes.set_axisbelow(True)
                axes.margins(x=0.03)
            panels[0].set_ylabel(label)
            panels[0].set_title(title)
        for axes, (_, label) in zip(grid[-1], sides, strict=True):
            axes.set_xlabel(label)
        grid[0, 0].set_xlim(0.0, len(found) + 1.0)
    return figure
