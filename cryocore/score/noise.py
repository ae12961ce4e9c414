"""Noise power: per optics group or micrograph from the mean residual of a sample, and per particle from its own."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryocore.config.score import Score
from cryocore.hashing import hashed_uniform
from cryocore.score.chunks import CHUNK, chunk_sums
from cryocore.score.comparison import Comparison
from cryocore.score.scores import BandStatistics, residual
from cryocore.tables.io import atomic_path, open_arrays
from cryocore.tables.particles import Particles, require_same_particles
from cryocore.tables.shards import Shard
from cryocore.types import Floats

SAMPLE = 1000
"""Particles per optics group from which the noise is estimated before the pass."""
MICROGRAPH_SAMPLE = 64
"""The same per micrograph."""
MOST_POWER = 4.0
"""Power of a particle in a band, over the median, beyond which it is not noise that others have as well."""
FEWEST = 20
"""Particles below which a micrograph has the noise of its group; others are drawn to it as by so many particles."""


@dataclass(frozen=True)
class Noise:
    """Noise power per coefficient, infinite in bands that the images do not reach.

    ``groups`` : ``(optics groups, bands)``
    ``members`` : ``(sets, bands)``, the optics groups or the micrographs
    ``member`` : ``(n,)``, the set of each particle of the data set
    """

    groups: Floats
    members: Floats
    member: NDArray[np.intp]

    def of(self, rows: NDArray[np.intp]) -> Floats:
        """Noise power of some particles, ``(len(rows), bands)``."""
        return self.members[self.member[rows]]


def write_noise(path: Path, noise: Noise, data: Particles) -> None:
    """Keep the noise of a data set for the shards that are scored with it."""
    with atomic_path(path) as temporary:
        np.savez(temporary, ids=data.ids, **asdict(noise))


def read_noise(path: Path, part: Particles, shard: Shard) -> Noise:
    """Kept noise, for the particles of a shard; refused if they are others."""
    with open_arrays(path, "noise") as file:
        ids = file["ids"]
        rows = shard.row_range(len(ids))
        require_same_particles(ids[rows], part.ids, file=path)
        return Noise(file["groups"], file["members"], file["member"][rows])


def estimate_noise(data: Particles, weights: NDArray[np.float32], comparison: Comparison) -> Noise:
    """Mean residual of a sample of each optics group and, where asked for, of each micrograph, drawn to its group's.

    In each band, a particle counts with at most ``MOST_POWER`` times the median of the first particles of its group:
    a few images with something in them, such as gold beads, do not make noise of all. Memory is that of a chunk of
    particles and of one spectrum per set.
    """
    reference, per, seed = comparison.reference, comparison.settings.noise, comparison.seed
    group = data.column("optics_group").astype(np.intp)
    member, of_set = (group, np.arange(len(data.optics))) if per == "optics_group" else micrographs(data)
    chosen = sample_rows(data.ids, member, SAMPLE if per == "optics_group" else MICROGRAPH_SAMPLE, seed)
    sums, counts = np.zeros((len(of_set), reference.n_bands)), np.bincount(member[chosen], minlength=len(of_set))
    alone = replace(comparison, settings=Score(n_random_poses=0, n_perturbed_poses=0, n_perturbed_shifts=0))
    most = np.full((len(data.optics), reference.n_bands), np.nan)
    for start in range(0, len(chosen), CHUNK):
        rows = chosen[start : start + CHUNK]
        found = residual(BandStatistics.of(chunk_sums(data.take(rows), weights[rows], alone, progress="noise").own))
        for g in np.unique(group[rows]):
            if np.isnan(most[g]).all():
                typical = np.median(found[group[rows] == g], axis=0)
                most[g] = np.where(typical > 0, MOST_POWER * typical, np.inf)
        np.add.at(sums, member[rows], np.minimum(found, most[group[rows]]))
    coefficients = np.stack([samples.coefficients for samples in reference.samples])
    reached = coefficients > 0
    per_group = [of_set == g for g in range(len(data.optics))]
    totals = np.stack([sums[s].sum(axis=0) / max(counts[s].sum(), 1) for s in per_group])
    groups = np.where(reached, totals / np.maximum(coefficients, 1), np.inf)
    if per == "optics_group":
        return Noise(groups, groups, member)
    own = sums / (np.maximum(counts, 1)[:, None] * np.maximum(coefficients, 1)[of_set])
    n = np.where(counts >= FEWEST, counts, 0)[:, None]
    drawn = (n * own + FEWEST * np.where(reached, groups, 0.0)[of_set]) / (n + FEWEST)
    return Noise(groups, np.where(reached[of_set], drawn, np.inf), member)


def micrographs(data: Particles) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The micrograph of each particle as a number, and the optics group of each; groups do not share micrographs."""
    name = np.unique(data.column("micrograph").astype(str), return_inverse=True)[1].astype(np.intp)
    n_groups = len(data.optics)
    found, member = np.unique(name * n_groups + data.column("optics_group"), return_inverse=True)
    return member, found % n_groups


def sample_rows(ids: NDArray[np.uint64], member: NDArray[np.intp], largest: int, seed: int) -> NDArray[np.intp]:
    """Rows of at most ``largest`` particles of each set, drawn by their ids, in ascending order."""
    order = np.lexsort((hashed_uniform(ids, 1, seed=seed, stream=3)[:, 0], member))
    sizes = np.bincount(member)
    rank = np.arange(len(ids)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.sort(order[rank < largest])


def noise_factor(own: BandStatistics, sigma2: Floats, signal: Floats, coefficients: NDArray[np.int64]) -> Floats:
    """A particle's residual power over the noise power, ``(n,)``, each band as far as it is noise.

    Parameters
    ----------
    own : band sums of n particles
    sigma2 : (n, bands) noise power
    signal : (bands,) share of the map that is signal
    coefficients : (n, bands) number of coefficients
    """
    weight = np.where(np.isfinite(sigma2), np.maximum(1.0 - signal, 1e-3), 0.0)
    expected = np.sum(weight * coefficients, axis=1)
    found = np.sum(weight * residual(own) / sigma2, axis=1)
    return np.divide(found, expected, out=np.ones_like(found), where=(expected > 0) & (found > 0))
