"""How good each micrograph is beyond right and wrong: its B-factor, relative to the others, from one round's log.

What a map predicts of a correct particle is multiplied by an envelope g exp(-B s²/4). By the sums of each band that the
log holds, the log-likelihood of B is

    sum over bands of  q c / sigma² - ½ q² e / sigma²,   q = exp(-B s²/4),

with c and e of the prediction, shrunk to the share of the map that is signal. The scale g, normal about 1, is
integrated. The log-likelihood of a particle counts by its probability of being correct.

The particles of a micrograph have one B, normal about that of the optics group, and this about that of the data set.
The spread of each level maximises the marginal likelihood, on a grid of B. A level whose spread does not raise it
significantly has none, so that where micrographs are alike nothing is found: all are 0. What is written are the
posterior mean and standard deviation. One particle alone says too little of its own B: what the model is wrong by looks
like a spread of it.

Half sets share the spreads alone: everything else is estimated within them. Only differences between particles are
known, as what all have in common is in the map: the mean over each half set, by probability, is 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.hashing import hashed_order
from cryocore.log.bands import (
    BAND_SUMS,
    GAIN_COUNT,
    matches,
    mean_squared_frequency,
    of_nodes,
    signal_to_noise,
    times,
    without_bfactor,
)
from cryocore.log.names import APPLIED_BFACTOR, LIKELY_KIND, MIXTURE, SPOILT
from cryocore.log.rounds import LogRound
from cryocore.statistics import posterior
from cryocore.tables.particles import BFACTORS
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
SCALES = np.array([0.0, 0.1, 0.2, 0.4])
"""Standard deviations of the scale g that are tried."""
SIGNIFICANT = 8.0
"""Log-likelihood that the spread of a level has to add: by chance alone it does so in one of 30,000 data sets, and what
the model is wrong by, such as images of unequal brightness, adds less than 6."""
SIGNIFICANT_AGAIN = 1.0
"""The same of a level by which predictions have B-factors already: what was found stays, unless the data speak against
it."""
LEVELS = ("optics_group", "micrograph")
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
    """Standard deviations of the levels of B in Å², and of the scale g."""

    optics_group: float
    micrograph: float
    scale: float

    @property
    def found(self) -> bool:
        """Whether micrographs differ at all."""
        return self.optics_group > 0 or self.micrograph > 0


def log_likelihood(bands: Bands, grid: Grid, scale: float) -> Floats:
    """Log-likelihood of each B of the grid, ``(n, points)``, over that of no spread of g at infinite B."""
    n, d = matches(bands.matched, bands.energy, grid.envelope)
    found = n - 0.5 * d
    if scale > 0.0:
        left = 1.0 + scale**2 * d
        found += 0.5 * scale**2 * (n - d) ** 2 / left - 0.5 * np.log(left)
    return found * bands.weight[:, None]


def spread_out(log_values: Floats, kernel: Floats) -> Floats:
    """Logarithm of the mean of exp of ``log_values`` ``(n, points)`` by the rows of a kernel, ``(n, points)``."""
    top = log_values.max(axis=1, keepdims=True)
    return top + np.log(np.maximum(times(np.exp(log_values - top), kernel), TINY))


def fit(bands: Bands, tree: Tree, grid: Grid, least: tuple[float, ...] = (SIGNIFICANT,) * len(LEVELS)) -> Spreads:
    """The spreads of highest marginal likelihood; a level that does not add the ``least`` of its own to it has none."""
    end = grid.values[-1]
    kernels = [grid.kernel(spread * end) for spread in SPREADS]
    several = len(tree.half) > len(np.unique(tree.half))
    of_groups = range(len(SPREADS) if several else 1)
    table = np.full((len(of_groups), len(SPREADS), len(SCALES)), -np.inf)
    for k, scale in enumerate(SCALES):
        nodes = of_nodes(log_likelihood(bands, grid, scale), bands.node, len(tree.group))
        for m, g in product(range(len(SPREADS)), of_groups):
            groups = of_nodes(spread_out(nodes, kernels[m]) if m else nodes, tree.group, len(tree.half))
            halves = of_nodes(spread_out(groups, kernels[g]) if g else groups, tree.half, 2)
            table[g, m, k] = np.logaddexp.reduce(halves, axis=1).sum()
    best = _significant(table, least)
    group, micrograph = (float(SPREADS[i] * end) for i in best[:2])
    return Spreads(group, micrograph, float(SCALES[best[2]]))


def _significant(table: Floats, least: tuple[float, ...]) -> tuple[int, ...]:
    """Where a table of log-likelihoods by spreads is highest once levels that add too little are held at 0."""
    held: set[int] = set()
    while True:
        allowed = table[tuple(slice(0, 1) if axis in held else slice(None) for axis in range(table.ndim))]
        best = np.unravel_index(int(np.argmax(allowed)), allowed.shape)
        used = [axis for axis in range(len(LEVELS)) if best[axis]]
        added = {axis: float(allowed.max() - allowed.take([0], axis=axis).max()) for axis in used}
        weak = [axis for axis in used if added[axis] < least[axis]]
        if not weak:
            return tuple(map(int, best))
        held.add(min(weak, key=lambda axis: added[axis] - least[axis]))


@dataclass(frozen=True)
class Beliefs:
    """What is known of the micrographs once all their particles have been seen.

    ``total`` : ``(nodes, points)``, log density of a micrograph's B
    """

    total: Floats
    spreads: Spreads
    grid: Grid

    @classmethod
    def of(cls, nodes: Floats, tree: Tree, spreads: Spreads, grid: Grid) -> Beliefs:
        """From log-likelihoods ``(nodes, points)`` of the particles of each micrograph."""
        micrograph, group = grid.kernel(spreads.micrograph), grid.kernel(spreads.optics_group)
        up = spread_out(nodes, micrograph)
        groups = of_nodes(up, tree.group, len(tree.half))
        above = spread_out(groups, group)
        halves = of_nodes(above, tree.half, 2)
        of_group = groups + _below(halves[tree.half] - above, group)
        return cls(nodes + _below(of_group[tree.group] - up, micrograph), spreads, grid)

    def micrographs(self) -> tuple[Floats, Floats]:
        """Mean and standard deviation ``(nodes,)`` of the B of each micrograph, Å²."""
        return _moments(self.total, self.grid.values)


def _below(log_values: Floats, kernel: Floats) -> Floats:
    """Log density of what is spread by a kernel about a value of log density ``(n, points)``."""
    density = np.exp(log_values - log_values.max(axis=1, keepdims=True))
    return np.log(np.maximum(times(density, kernel.T), TINY))


def _moments(log_density: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation, which between values of the grid are known to a step of it, evenly."""
    density = np.exp(log_density - log_density.max(axis=1, keepdims=True))
    density /= density.sum(axis=1, keepdims=True)
    mean = times(density, values[None])[:, 0]
    variance = np.maximum(times(density, values[None] ** 2)[:, 0] - mean**2, 0.0)
    return mean, np.sqrt(variance + (values[1] - values[0]) ** 2 / 12.0)


@dataclass(frozen=True)
class Quality:
    """The B-factors of n particles by one log: those of their micrographs, by the members in the particle's half set.

    ``bfactor_angstrom2`` : ``(n,)``, relative: the mean over each half set, by probability, is 0
    ``sd_angstrom2`` : ``(n,)``, standard deviation
    ``spreads`` : of its levels
    ``n_fitted`` : particles that the spreads are fitted to
    """

    bfactor_angstrom2: Floats32
    sd_angstrom2: Floats32
    spreads: Spreads
    n_fitted: int

    def columns(self) -> dict[str, Floats32]:
        """What a subset of the particles has of them."""
        return dict(zip(BFACTORS, (self.bfactor_angstrom2, self.sd_angstrom2), strict=True))

    def as_dict(self) -> dict[str, Any]:
        """The spreads, for JSON: those of B in Å²."""
        levels = {level: round(getattr(self.spreads, level), 3) for level in LEVELS}
        return {"spread_angstrom2": levels, "scale_spread": self.spreads.scale, "n_fitted": self.n_fitted}


def quality(log_round: LogRound, *, seed: int = 0) -> Quality | None:
    """B-factors by the log of a round; None where particles do not differ, or the log does not say.

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
    rows = members.sample(seed)
    frequency2 = mean_squared_frequency(log_round.metadata)
    raw = _joined([part for part, _ in _bands(log_round, members, rows)])
    gains = _gains(raw, members.half[rows])
    sample = _without_bfactors(log_round.metadata, raw, members, rows, gains)
    grid = Grid.of(frequency2, np.einsum("n,nb->b", sample.weight, sample.energy))
    spreads = fit(sample, members.tree, grid, _least(members))
    if not spreads.found:
        return None
    nodes = np.zeros((len(members.tree.group), POINTS))
    if len(rows) == len(members.half):
        nodes += of_nodes(log_likelihood(sample, grid, spreads.scale), sample.node, len(nodes))
    else:
        for bands, at in _bands(log_round, members):
            part = _without_bfactors(log_round.metadata, bands, members, at, gains)
            nodes += of_nodes(log_likelihood(part, grid, spreads.scale), part.node, len(nodes))
    found, sd = (values[members.node] for values in Beliefs.of(nodes, members.tree, spreads, grid).micrographs())
    for h in (0, 1):
        own = members.half == h
        found[own] -= np.average(found[own], weights=members.weight[own])
    return Quality(np.round(found, 2).astype(np.float32), np.round(sd, 2).astype(np.float32), spreads, len(rows))


@dataclass(frozen=True)
class Members:
    """Where n particles belong.

    ``half`` : ``(n,)``, 0 or 1
    ``weight`` : ``(n,)``, probability of being correct
    ``node`` : ``(n,)``, number of the micrograph within its half set
    ``micrograph`` : ``(n,)``, number of the micrograph
    ``applied`` : ``(n,)``, B-factor beside that of the file that predictions have, Å²; None: they have none
    """

    half: Ints
    weight: Floats
    node: Ints
    micrograph: Ints
    applied: Floats | None
    tree: Tree

    @classmethod
    def of(cls, log_round: LogRound) -> Members:
        """From the columns of a log."""
        columns = log_round.read(["half", "optics_group", MIXTURE])
        half, group = columns["half"].astype(np.int64) - 1, columns["optics_group"].astype(np.int64)
        named = log_round.labels("micrograph")
        code = np.zeros(len(half), dtype=np.int64) if named is None else named[0].astype(np.int64)
        n_groups = int(group.max()) + 1
        nodes, node = np.unique((code * n_groups + group) * 2 + half, return_inverse=True)
        groups, of_node = np.unique(nodes // 2 % n_groups * 2 + nodes % 2, return_inverse=True)
        micrograph = np.unique(nodes // 2, return_inverse=True)[1]
        weight = posterior(columns[MIXTURE].astype(np.float64))
        kinds = log_round.labels(LIKELY_KIND)
        if kinds is not None and SPOILT in kinds[1]:
            weight[kinds[0] == kinds[1].index(SPOILT)] = 0.0
        applied = log_round.column(APPLIED_BFACTOR)
        applied = None if applied is None else applied.astype(np.float64)
        return cls(half, weight, node, micrograph[node], applied, Tree(of_node, groups % 2))

    def sample(self, seed: int) -> NDArray[np.intp]:
        """Rows of whole micrographs, drawn until there are as many as are fitted, in ascending order."""
        if len(self.half) <= SAMPLE:
            return np.arange(len(self.half))
        sizes = np.bincount(self.micrograph)
        order = hashed_order(np.arange(len(sizes), dtype=np.uint64), seed=seed, stream=13)
        most = 1 + int(np.searchsorted(np.cumsum(sizes[order]), SAMPLE))
        return np.flatnonzero(np.isin(self.micrograph, order[:most]))


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
        yield Bands(matched, energy, members.weight[at], members.node[at]), at


def _without_bfactors(
    metadata: Mapping[str, Any], bands: Bands, members: Members, at: NDArray[np.intp], gains: Floats
) -> Bands:
    """The bands of some rows by predictions with ``gains`` ``(2, bands)`` and without a B-factor of the particle."""
    gain = gains[members.half[at]]
    applied = {} if members.applied is None else {APPLIED_BFACTOR: members.applied[at]}
    matched, energy = without_bfactor(metadata, applied, gain * bands.matched, gain**2 * bands.energy)
    return replace(bands, matched=matched, energy=energy)


def _least(members: Members) -> tuple[float, ...]:
    """What each level has to add to the log-likelihood; less if predictions have B-factors already."""
    return (SIGNIFICANT if members.applied is None else SIGNIFICANT_AGAIN,) * len(LEVELS)


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
