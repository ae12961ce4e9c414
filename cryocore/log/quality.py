"""How good particles are beyond right and wrong: B-factor and scale of micrographs, and B of particles, by one log.

What a map predicts of a correct particle is multiplied by an envelope g exp(-B s²/4). By the sums of each band that the
log holds, its log-likelihood is

    g n - ½ g² d,   n = sum over bands of q c / sigma²,   d = that of q² e / sigma²,   q = exp(-B s²/4),

with c and e of the prediction, shrunk to the share of the map that is signal and as strong as the noise of the image:
where images are scaled as a whole, they are alike, and g is the signal over the noise. The log-likelihood counts by the
probability that the particle is correct.

The B of a micrograph is normal about that of the optics group, and this about that of the data set. The g of its
particles are normal about that of the micrograph, and this about 1; both are integrated. The spreads maximise the
marginal likelihood, on a grid of B. A level of B, or the scale of micrographs, whose spread does not raise it
significantly has none, so that where micrographs are alike nothing is found. What is written are the posterior mean and
standard deviation. Where the particles of micrographs differ, they have B-factors of their own about that of the
micrograph (:mod:`cryocore.log.quality_within`); their g is that of the micrograph.

Half sets share the spreads alone: everything else is estimated within them. Only differences between particles are
known, as what all have in common is in the map: the mean over each half set, by probability, is 0 of B and 1 of g.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.hashing import hashed_order
from cryocore.log.bands import (
    BAND_SUMS,
    GAIN_COUNT,
    matches,
    mean_squared_frequency,
    moments,
    noise_level,
    of_nodes,
    over_scales,
    signal_to_noise,
    times,
    without_envelope,
)
from cryocore.log.names import APPLIED_BFACTOR, APPLIED_SCALE, MIXTURE
from cryocore.log.quality_within import Within, is_noise_of_the_map
from cryocore.log.rounds import LogRound
from cryocore.tables.particles import QUALITY
from cryocore.types import Floats, Floats32, Ints

NEEDED = ("half", "optics_group", MIXTURE, *BAND_SUMS)
"""Columns of the log without which nothing is estimated."""
SAMPLE = 20_000
"""Particles, by whole micrographs, to which spreads and the gains of bands are fitted."""
FEWEST = 200
"""Particles, by their probability of being correct, below which nothing is estimated."""

POINTS = 49
"""Values of B in the grid."""
REACH = 6.0
"""The grid ends at so many d² on either side, d the resolution at which the data know B."""
SPREADS = np.array([0.0, 0.05, 0.075, 0.11, 0.16, 0.23, 0.33, 0.47])
"""Standard deviations of a level that are tried, as parts of the grid's end; between grid points there is none."""
SCALES = np.array([0.0, 0.1, 0.2, 0.4, 0.7])
"""Standard deviations of g within micrographs that are tried, and more about the best of them: were they as coarse as
these, a spread of micrographs would stand for what is missing."""
SCALE_TOLERANCE = 0.003
"""How exactly the best is found."""
MICROGRAPH_SCALES = np.array([0.0, 0.05, 0.1, 0.15, 0.22, 0.33])
"""Standard deviations of the g of micrographs that are tried."""
SIGNIFICANT = 8.0
"""Log-likelihood that the spread of a level has to add: by chance alone it does so in one of 30,000 data sets, and what
the model is wrong by, such as images of unequal brightness, adds less than 6."""
SIGNIFICANT_AGAIN = 1.0
"""The same of a level by which predictions have B-factors already: what was found stays, unless the data speak against
it."""
LEVELS = ("optics_group", "micrograph", "particle")
"""Those of B."""
FOUND = (*LEVELS[:2], "micrograph_scale")
"""Spreads of micrographs, which have to be significant."""
LEAST_BEYOND_MEANS = 2.0
"""Variance of the B of micrographs over that of the means of their particles, below which it is none of theirs."""
LEAST_SCALE = 0.1
"""Bound of the scales of micrographs."""
TINY = 1e-290


@dataclass(frozen=True)
class Bands:
    """What the bands of n particles say of an envelope.

    ``matched``, ``energy`` : ``(n, bands)``, c / sigma² and e / sigma² of the shrunk prediction, without envelope
    ``weight`` : ``(n,)``, probability of being correct
    ``node`` : ``(n,)``, number of the particle's micrograph within its half set
    """

    matched: Floats
    energy: Floats
    weight: Floats
    node: Ints


@dataclass(frozen=True)
class Tree:
    """Micrographs within half sets, and what they are in.

    ``group`` : ``(nodes,)``, number of the optics group within its half set
    ``half`` : ``(groups,)``, half set of each of these, 0 or 1
    """

    group: Ints
    half: Ints


@dataclass(frozen=True)
class Grid:
    """Values of B ``(points,)`` in Å², and the envelopes ``(points, bands)`` that they stand for."""

    values: Floats
    envelope: Floats

    @classmethod
    def of(cls, frequency2: Floats, energy: Floats) -> Grid:
        """For bands of mean squared frequencies ``(bands,)`` in 1/Å², in which the prediction has ``energy``."""
        known = energy * frequency2**2
        end = REACH * float(known.sum() / max(float((known * frequency2).sum()), TINY))
        values = np.linspace(-end, end, POINTS)
        return cls(values, np.exp(-0.25 * values[:, None] * frequency2))

    def kernel(self, spread: float) -> Floats:
        """Probability of each B (columns) about each mean (rows), normal of a standard deviation in Å²."""
        if spread == 0.0:
            return np.eye(len(self.values))
        density = np.exp(-0.5 * ((self.values - self.values[:, None]) / spread) ** 2)
        return density / density.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class Spreads:
    """Standard deviations of the levels of B in Å², of the scale of micrographs, and of that of particles in one.

    ``particle`` : of B within micrographs
    """

    optics_group: float
    micrograph: float
    micrograph_scale: float
    scale: float
    particle: float = 0.0

    @property
    def of_micrographs(self) -> bool:
        """Whether micrographs differ in B."""
        return self.optics_group > 0 or self.micrograph > 0

    @property
    def of_bfactors(self) -> bool:
        """Whether particles differ in B, by their micrographs or within them."""
        return self.of_micrographs or self.particle > 0

    @property
    def found(self) -> bool:
        """Whether particles differ at all."""
        return self.of_bfactors or self.micrograph_scale > 0


@dataclass(frozen=True)
class Likelihood:
    """Log-likelihood of each B of a grid, ``constant + g matched - ½ g² energy`` for a scale g, ``(nodes, points)``
    each."""

    constant: Floats
    matched: Floats
    energy: Floats

    @classmethod
    def of(cls, bands: Bands, grid: Grid, scale: float, n_nodes: int) -> Likelihood:
        """Of micrographs whose particles have scales of a standard deviation ``scale`` about that of the micrograph."""
        return cls.of_matches(matches(bands.matched, bands.energy, grid.envelope), bands, scale, n_nodes)

    @classmethod
    def of_matches(cls, found: tuple[Floats, Floats], bands: Bands, scale: float, n_nodes: int) -> Likelihood:
        """The same, where :func:`matches` is known."""
        n, d = found
        left = 1.0 + scale**2 * d
        terms = 0.5 * scale**2 * n**2 / left - 0.5 * np.log(left), n / left, d / left
        return cls(*(of_nodes(term * bands.weight[:, None], bands.node, n_nodes) for term in terms))

    def __add__(self, other: Likelihood) -> Likelihood:
        return Likelihood(self.constant + other.constant, self.matched + other.matched, self.energy + other.energy)

    def integrated(self, spread: float) -> Floats:
        """For scales of micrographs of a standard deviation ``spread`` about 1, ``(nodes, points)``."""
        return self.constant + over_scales(self.matched, self.energy, spread)

    def scale(self, spread: float) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the scale at each B, ``(nodes, points)``; 1 and 0 without a spread."""
        variance = spread**2 / (1.0 + spread**2 * self.energy)
        return 1.0 + variance * (self.matched - self.energy), np.sqrt(variance)


def spread_out(log_values: Floats, kernel: Floats) -> Floats:
    """Logarithm of the mean of exp of ``log_values`` ``(n, points)`` by the rows of a kernel, ``(n, points)``."""
    top = log_values.max(axis=1, keepdims=True)
    return top + np.log(np.maximum(times(np.exp(log_values - top), kernel), TINY))


def fit(bands: Bands, tree: Tree, grid: Grid, least: tuple[float, ...] = (SIGNIFICANT,) * len(FOUND)) -> Spreads:
    """The spreads of highest marginal likelihood; one of ``FOUND`` that does not add the ``least`` of its own to it is
    0."""
    there, node = np.unique(bands.node, return_inverse=True)
    bands, group_of = replace(bands, node=node), tree.group[there]
    end = grid.values[-1]
    kernels = [grid.kernel(spread * end) for spread in SPREADS]
    several = len(tree.half) > len(np.unique(tree.half))
    of_groups = range(len(SPREADS) if several else 1)
    table = np.full((len(of_groups), len(SPREADS), len(MICROGRAPH_SCALES)), -np.inf)
    scales, matched = np.zeros(table.shape), matches(bands.matched, bands.energy, grid.envelope)

    def highest(j: int, scale: float) -> float:
        nodes = Likelihood.of_matches(matched, bands, scale, len(there)).integrated(MICROGRAPH_SCALES[j])
        found = np.empty(table.shape[:2])
        for m in range(len(SPREADS)):
            groups = of_nodes(spread_out(nodes, kernels[m]) if m else nodes, group_of, len(tree.half))
            for g in of_groups:
                halves = of_nodes(spread_out(groups, kernels[g]) if g else groups, tree.half, 2)
                found[g, m] = np.logaddexp.reduce(halves, axis=1).sum()
        better = found > table[..., j]
        table[better, j], scales[better, j] = found[better], scale
        return float(found.max())

    for j in range(len(MICROGRAPH_SCALES)):
        _maximise(partial(highest, j))
    best = _significant(table, least)
    of_groups_sd, of_micrographs = (float(SPREADS[i] * end) for i in best[:2])
    return Spreads(of_groups_sd, of_micrographs, float(MICROGRAPH_SCALES[best[2]]), float(scales[best]))


def _maximise(function: Callable[[float], float]) -> None:
    """Call a function of the standard deviation of scales where it is highest, among others."""
    from scipy.optimize import minimize_scalar  # slow to import

    values = [function(float(scale)) for scale in SCALES]
    at = int(np.argmax(values))
    bounds = SCALES[max(at - 1, 0)], SCALES[min(at + 1, len(SCALES) - 1)]
    if np.ptp(values):
        minimize_scalar(lambda x: -function(float(x)), bounds=bounds, options={"xatol": SCALE_TOLERANCE})


def _significant(table: Floats, least: tuple[float, ...]) -> tuple[int, ...]:
    """Where a table of log-likelihoods by spreads is highest once levels that add too little are held at 0."""
    held: set[int] = set()
    while True:
        allowed = table[tuple(slice(0, 1) if axis in held else slice(None) for axis in range(table.ndim))]
        best = np.unravel_index(int(np.argmax(allowed)), allowed.shape)
        used = [axis for axis in range(len(FOUND)) if best[axis]]
        added = {axis: float(allowed.max() - allowed.take([0], axis=axis).max()) for axis in used}
        weak = [axis for axis in used if added[axis] < least[axis]]
        if not weak:
            return tuple(map(int, best))
        held.add(min(weak, key=lambda axis: added[axis] - least[axis]))


@dataclass(frozen=True)
class Beliefs:
    """What is known of the micrographs once all their particles have been seen.

    ``total`` : ``(nodes, points)``, log density of a micrograph's B
    ``likelihood`` : of its particles
    """

    total: Floats
    likelihood: Likelihood
    spreads: Spreads
    grid: Grid

    @classmethod
    def of(cls, likelihood: Likelihood, tree: Tree, spreads: Spreads, grid: Grid) -> Beliefs:
        """From the log-likelihood of the particles of each micrograph."""
        nodes = likelihood.integrated(spreads.micrograph_scale)
        micrograph, group = grid.kernel(spreads.micrograph), grid.kernel(spreads.optics_group)
        up = spread_out(nodes, micrograph)
        groups = of_nodes(up, tree.group, len(tree.half))
        above = spread_out(groups, group)
        halves = of_nodes(above, tree.half, 2)
        of_group = groups + _below(halves[tree.half] - above, group)
        return cls(nodes + _below(of_group[tree.group] - up, micrograph), likelihood, spreads, grid)

    def bfactors(self) -> tuple[Floats, Floats]:
        """Mean and standard deviation ``(nodes,)`` of the B of each micrograph, Å²; 0 where none differ."""
        if not self.spreads.of_micrographs:
            return np.zeros(len(self.total)), np.zeros(len(self.total))
        # between values of the grid B is known to a step of it, evenly
        step = self.grid.values[1] - self.grid.values[0]
        return moments(self.total, self.grid.values[None], step / np.sqrt(12.0))

    def scales(self) -> tuple[Floats, Floats]:
        """Mean and standard deviation ``(nodes,)`` of the scale of each micrograph."""
        return moments(self.total, *self.likelihood.scale(self.spreads.micrograph_scale))


def _below(log_values: Floats, kernel: Floats) -> Floats:
    """Log density of what is spread by a kernel about a value of log density ``(n, points)``."""
    density = np.exp(log_values - log_values.max(axis=1, keepdims=True))
    return np.log(np.maximum(times(density, kernel.T), TINY))


@dataclass(frozen=True)
class Quality:
    """Envelopes of n particles by one log, by the members of their micrographs in the particle's half set.

    ``bfactor_angstrom2`` : ``(n,)``, relative: the mean over each half set, by probability, is 0
    ``sd_angstrom2`` : ``(n,)``, standard deviation
    ``scale`` : ``(n,)``, relative: the mean over each half set, by probability, is 1
    ``scale_sd`` : ``(n,)``, standard deviation
    ``spreads`` : of their levels
    ``n_fitted`` : particles that the spreads are fitted to
    """

    bfactor_angstrom2: Floats32
    sd_angstrom2: Floats32
    scale: Floats32
    scale_sd: Floats32
    spreads: Spreads
    n_fitted: int

    def columns(self) -> dict[str, Floats32]:
        """What a subset of the particles has of them."""
        values = self.bfactor_angstrom2, self.sd_angstrom2, self.scale, self.scale_sd
        return dict(zip(QUALITY, values, strict=True))

    def as_dict(self) -> dict[str, Any]:
        """The spreads, for JSON: those of B in Å²."""
        levels = {level: round(getattr(self.spreads, level), 3) for level in LEVELS}
        return {
            "spread_angstrom2": levels,
            "micrograph_scale_spread": self.spreads.micrograph_scale,
            "scale_spread": self.spreads.scale,
            "n_fitted": self.n_fitted,
        }


def quality(log_round: LogRound, *, seed: int = 0) -> Quality | None:
    """Envelopes by the log of a round; None where particles do not differ, or the log does not say.

    Band sums are read a row group at a time; of all particles a few numbers are in memory.

    Parameters
    ----------
    seed : decides which micrographs are fitted where there are many particles
    """
    if not {*NEEDED} <= {*log_round.columns} or "signal_share" not in log_round.metadata:
        return None
    members = Members.of(log_round)
    if min(members.weight[members.half == h].sum() for h in (0, 1)) < 0.5 * FEWEST:
        return None
    told = Told.of(log_round, members, seed)
    sample = told.sample
    grid = Grid.of(told.frequency2, np.einsum("n,nb->b", sample.weight, sample.energy))
    spreads = fit(sample, members.tree, grid, _least(members))
    found, within = _levels(told, spreads, grid)
    if within is not None and spreads.micrograph**2 <= LEAST_BEYOND_MEANS * within.spread**2 / members.per_micrograph:
        spreads = replace(spreads, micrograph=0.0)
        found, within = _levels(told, spreads, grid)
    if within is not None:
        spreads = replace(spreads, particle=within.spread)
        found = _of_particles(told, found, within)
    if not spreads.found or told.is_noise_of_the_map(spreads.scale, float(grid.values[-1])):
        return None
    bfactor, scale, scale_sd = found.bfactor, found.scale, found.scale_sd
    for h in (0, 1):
        own = members.half == h
        bfactor[own] -= np.average(bfactor[own], weights=members.weight[own])
        mean = np.average(scale[own], weights=members.weight[own])
        scale[own] = np.maximum(scale[own] / mean, LEAST_SCALE)
        scale_sd[own] /= mean
    values = zip((bfactor, found.sd, scale, scale_sd), (2, 2, 4, 4), strict=True)
    written = [np.round(v, digits).astype(np.float32) for v, digits in values]
    return Quality(written[0], written[1], written[2], written[3], spreads, len(told.rows))


@dataclass(frozen=True)
class Envelopes:
    """B-factors in Å² and scales of n particles, and their standard deviations, ``(n,)`` each."""

    bfactor: Floats
    sd: Floats
    scale: Floats
    scale_sd: Floats

    def times(self, bands: Bands, at: NDArray[np.intp], frequency2: Floats) -> tuple[Floats, Floats]:
        """What the bands of some rows say where predictions have these envelopes, as ``matched`` and ``energy``."""
        envelope = self.scale[at, None] * np.exp(-0.25 * self.bfactor[at, None] * frequency2)
        return envelope * bands.matched, envelope**2 * bands.energy


def _levels(told: Told, spreads: Spreads, grid: Grid) -> tuple[Envelopes, Within | None]:
    """The envelopes of micrographs, and how particles differ about them, if they do."""
    found = _of_micrographs(told, spreads, grid)
    given = *found.times(told.sample, told.rows, told.frequency2), told.sample.weight, told.frequency2
    most = float(grid.values[-1])
    return found, Within.of(*given, scale=spreads.scale, most=most, again=told.members.have_own_bfactors)


def _of_micrographs(told: Told, spreads: Spreads, grid: Grid) -> Envelopes:
    """Those of the micrographs of all particles."""
    n_nodes = len(told.members.tree.group)
    likelihood = Likelihood(*np.zeros((3, n_nodes, POINTS)))
    for bands, _ in told.parts() if spreads.found else ():
        likelihood += Likelihood.of(bands, grid, spreads.scale, n_nodes)
    beliefs = Beliefs.of(likelihood, told.members.tree, spreads, grid)
    return Envelopes(*(values[told.members.node] for values in (*beliefs.bfactors(), *beliefs.scales())))


def _of_particles(told: Told, found: Envelopes, within: Within) -> Envelopes:
    """Those of particles about their micrographs', which are ``found``, as far as they are correct."""
    shift, sd = np.zeros((2, len(found.bfactor)))
    for bands, at in told.parts():
        shift[at], sd[at] = within.bfactors(*found.times(bands, at, told.frequency2))
    correct = told.members.weight
    sd = np.sqrt(correct * sd**2 + (1.0 - correct) * within.spread**2)
    return replace(found, bfactor=found.bfactor + correct * shift, sd=np.hypot(found.sd, sd))


@dataclass(frozen=True)
class Members:
    """Where n particles belong.

    ``half`` : ``(n,)``, 0 or 1
    ``weight`` : ``(n,)``, probability of being correct
    ``node`` : ``(n,)``, number of the micrograph within its half set
    ``micrograph`` : ``(n,)``, number of the micrograph
    ``applied`` : columns of the log ``(n,)`` that say which envelopes beside those of the file predictions have
    """

    half: Ints
    weight: Floats
    node: Ints
    micrograph: Ints
    applied: dict[str, Floats]
    tree: Tree

    @classmethod
    def of(cls, log_round: LogRound) -> Members:
        """From the columns of a log."""
        columns = log_round.read(["half", "optics_group"])
        half, group = columns["half"].astype(np.int64) - 1, columns["optics_group"].astype(np.int64)
        named = log_round.labels("micrograph")
        code = np.zeros(len(half), dtype=np.int64) if named is None else named[0].astype(np.int64)
        n_groups = int(group.max()) + 1
        nodes, node = np.unique((code * n_groups + group) * 2 + half, return_inverse=True)
        groups, of_node = np.unique(nodes // 2 % n_groups * 2 + nodes % 2, return_inverse=True)
        micrograph = np.unique(nodes // 2, return_inverse=True)[1]
        weight = log_round.worth()
        known = [name for name in (APPLIED_BFACTOR, APPLIED_SCALE) if name in log_round.columns]
        applied = {name: log_round.values(name).astype(np.float64) for name in known}
        return cls(half, weight, node, micrograph[node], applied, Tree(of_node, groups % 2))

    @property
    def per_micrograph(self) -> float:
        """Correct particles of a micrograph within a half set, in the mean over the particles."""
        n = np.bincount(self.node, weights=self.weight)
        return float(np.square(n).sum() / max(n.sum(), TINY))

    @property
    def have_own_bfactors(self) -> bool:
        """Whether predictions have B-factors that differ within micrographs."""
        applied = self.applied.get(APPLIED_BFACTOR, np.zeros(len(self.node)))
        mean = np.bincount(self.node, weights=applied) / np.maximum(np.bincount(self.node), 1)
        return bool(np.any(np.abs(applied - mean[self.node]) > 0.05))

    def sample(self, seed: int) -> NDArray[np.intp]:
        """Rows of whole micrographs, drawn until there are as many as are fitted, in ascending order."""
        if len(self.half) <= SAMPLE:
            return np.arange(len(self.half))
        sizes = np.bincount(self.micrograph)
        order = hashed_order(np.arange(len(sizes), dtype=np.uint64), seed=seed, stream=13)
        most = 1 + int(np.searchsorted(np.cumsum(sizes[order]), SAMPLE))
        return np.flatnonzero(np.isin(self.micrograph, order[:most]))


@dataclass(frozen=True)
class Told:
    """What the bands of a log say by predictions without envelopes of the particles.

    ``rows`` : those of the ``sample`` that spreads are fitted to
    ``gains`` : ``(2, bands)``, what multiplies the prediction of each half set to match its images in the mean
    """

    log_round: LogRound
    members: Members
    frequency2: Floats
    gains: Floats
    rows: NDArray[np.intp]
    sample: Bands

    @classmethod
    def of(cls, log_round: LogRound, members: Members, seed: int) -> Told:
        """By a log; ``seed`` decides which micrographs are in the sample where there are many particles."""
        rows = members.sample(seed)
        raw = _joined([part for part, _ in _bands(log_round, members, rows)])
        gains = _gains(raw, members.half[rows])
        sample = _without_envelopes(log_round.metadata, raw, members, rows, gains)
        return cls(log_round, members, mean_squared_frequency(log_round.metadata), gains, rows, sample)

    def parts(self) -> Iterator[tuple[Bands, NDArray[np.intp]]]:
        """The bands of all particles and their rows: the sample where it is all, else a row group after the other."""
        if len(self.rows) == len(self.members.half):
            yield self.sample, self.rows
        else:
            for bands, at in _bands(self.log_round, self.members):
                yield _without_envelopes(self.log_round.metadata, bands, self.members, at, self.gains), at

    def is_noise_of_the_map(self, scale: float, most: float) -> bool:
        """Whether what particles differ by is their own noise in the map, as of those that are there twice."""
        share = np.asarray(self.log_round.metadata["signal_share"], dtype=np.float64)
        given = self.sample.matched, self.sample.energy, self.sample.weight, self.frequency2
        return is_noise_of_the_map(*given, signal_share=share, scale=scale, most=most)


def _bands(
    log_round: LogRound, members: Members, rows: NDArray[np.intp] | None = None
) -> Iterator[tuple[Bands, NDArray[np.intp]]]:
    """What the bands say by the log's predictions, a row group after the other, and the rows; of some ``rows`` alone,
    where they are given."""
    names = ["optics_group", *BAND_SUMS, *(name for name in ("noise_power",) if name in log_round.columns)]
    start = 0
    for columns in log_round.row_groups(names):
        n = len(columns["noise_factor"])
        at = np.arange(start, start + n)
        start += n
        if rows is not None:
            at = rows[np.searchsorted(rows, at[0]) : np.searchsorted(rows, at[-1], side="right")]
            columns = {name: values[at - (start - n)] for name, values in columns.items()}
        matched, energy = signal_to_noise(log_round.metadata, columns)
        noise = noise_level(log_round.metadata, columns)[:, None]
        yield Bands(np.sqrt(noise) * matched, noise * energy, members.weight[at], members.node[at]), at


def _without_envelopes(
    metadata: Mapping[str, Any], bands: Bands, members: Members, at: NDArray[np.intp], gains: Floats
) -> Bands:
    """The bands of some rows by predictions with ``gains`` ``(2, bands)`` and without an envelope of the particle."""
    gain = gains[members.half[at]]
    applied = {name: values[at] for name, values in members.applied.items()}
    matched, energy = without_envelope(metadata, applied, gain * bands.matched, gain**2 * bands.energy)
    return replace(bands, matched=matched, energy=energy)


def _least(members: Members) -> tuple[float, ...]:
    """What each spread has to add to the log-likelihood; less if predictions have that kind of envelope already."""
    has = {name: bool(np.any(values != values[0])) for name, values in members.applied.items()}
    by = (APPLIED_BFACTOR, APPLIED_BFACTOR, APPLIED_SCALE)
    return tuple(SIGNIFICANT_AGAIN if has.get(name) else SIGNIFICANT for name in by)


def _joined(parts: list[Bands]) -> Bands:
    names = ("matched", "energy", "weight", "node")
    return Bands(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _gains(bands: Bands, half: Ints) -> Floats:
    """What multiplies the prediction of each half set to match its images in the mean, ``(2, bands)``."""
    found = np.ones((2, bands.energy.shape[1]))
    for h in (0, 1):
        weight = np.where(half == h, bands.weight, 0.0)
        matched, energy = (np.einsum("n,nb->b", weight, values) for values in (bands.matched, bands.energy))
        found[h] = np.maximum(GAIN_COUNT + matched, 0.0) / (GAIN_COUNT + energy)
    return found
