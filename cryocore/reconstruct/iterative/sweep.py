"""One pass over the images: what each particle costs, and the gradient of all of them in one pair of grids."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.backend import Backend
from cryocore.formats.stacks import Source, batch_size, batches
from cryocore.geometry.symmetry import point_group
from cryocore.imaging.blocked import pack
from cryocore.imaging.grid import FourierGrid
from cryocore.imaging.image_geometry import ImageGeometry
from cryocore.imaging.insertion import Insertion
from cryocore.imaging.prepare import Prepared, prepare
from cryocore.reconstruct.iterative.operators import residual, samples_of
from cryocore.score.bands import disc
from cryocore.score.noise import Noise, noise_factor
from cryocore.score.reference import Reference
from cryocore.score.scores import BandStatistics, Weighting, centre, energy, z
from cryocore.score.sums import Batch, own_sums
from cryocore.tables.particles import Particles
from cryocore.types import Floats, Floats32

Rows = NDArray[np.int64]
Weigh = Callable[[Rows, Floats, float], Floats]
"""Weights ``(n,)`` of particles from their rows, distances and the real numbers that each distance is the mean of."""


@dataclass(frozen=True)
class Problem:
    """What is solved: particles with weights ``(n,)``, on a grid, in a point group."""

    data: Particles
    weights: Floats32
    grid: FourierGrid
    symmetry: str
    backend: Backend
    source: Source

    @property
    def group(self) -> Floats:
        """The rotations ``(m, 3, 3)`` of the point group."""
        return point_group(self.symmetry)

    @cached_property
    def half(self) -> NDArray[np.int32]:
        """Half set of each particle, 0 or 1, ``(n,)``."""
        return np.asarray(self.data.column("half"), dtype=np.int32) - 1

    @cached_property
    def frames(self) -> tuple[ImageGeometry, ...]:
        """How the images of each optics group sit on the grid."""
        return tuple(ImageGeometry.of(o, self.grid) for o in self.data.optics)


@dataclass(frozen=True)
class Likelihood:
    """What residuals are measured by: the noise power of bands that begin at the shells ``edges``."""

    problem: Problem
    noise: Noise
    edges: NDArray[np.int32]

    @cached_property
    def precision(self) -> list[Any]:
        """One over the noise power of each coefficient of each optics group, ``(2r+1, r+1)``; 0 where not used."""
        groups = zip(self.problem.frames, self.noise.groups, strict=True)
        return [self.problem.backend.to_device(precision(f, self.edges, power)) for f, power in groups]

    @cached_property
    def samples(self) -> list[Any]:
        """Those coefficients, ``(m, 2)`` as (kx, ky), as the kernels have them."""
        backend = self.problem.backend
        return [backend.to_device(samples_of(backend.to_host(p))) for p in self.precision]

    @cached_property
    def n_real(self) -> list[int]:
        """Real numbers in an image of each optics group: its coefficients in use, both Friedel mates."""
        return [2 * int((p > 0).sum()) for p in self.precision]

    @cached_property
    def shell_noise(self) -> Floats:
        """Noise power of each shell of the map, from 0, as that of all optics groups together, ``(shells,)``."""
        problem = self.problem
        band = np.searchsorted(self.edges, np.arange(problem.grid.last_shell + 1), side="right") - 1
        members = np.bincount(problem.data.column("optics_group"), minlength=len(problem.frames))
        inverse = members @ (1.0 / self.noise.groups) / members.sum()
        reached = np.flatnonzero(inverse)
        return np.asarray(1.0 / inverse[np.clip(band, reached[0], reached[-1])])


def precision(frame: ImageGeometry, edges: NDArray[np.int32], noise_power: Floats) -> Floats32:
    """One over the noise power of the coefficients in use, ``(2r+1, r+1)``, from that of the bands."""
    _, used, shell = disc(frame)
    # bands leave out the outermost shell; images may not reach the outermost bands
    reached = np.flatnonzero(np.isfinite(noise_power))
    band = np.clip(np.searchsorted(edges, shell, side="right") - 1, reached[0], reached[-1])
    return np.where(used, 1.0 / noise_power[band], 0.0).astype(np.float32)


@dataclass(frozen=True)
class View:
    """A batch of prepared images of one optics group, and where they look: ``(n, 3, 3)`` and half sets ``(n,)``."""

    batch: Prepared
    group: int
    rotations: Floats
    half: NDArray[np.int32]


@dataclass(frozen=True)
class MatchedResidual:
    """What robust losses weigh by: by how much images fall short of the signal that the map predicts.

    With the residual r = y - x and the prediction x of the masked map, shrunk by its share of signal and without its
    mean over directions, ``<r, x> / |x|`` in units of the noise is normal with unit variance: all of r that is not
    along x is noise, whatever the pose. The particle's self-contribution is taken out of x. The sign is turned, so that
    an incorrect particle falls short by |x|.
    """

    reference: Reference
    noise: Noise
    signal: Floats

    def shortfall(self, view: View, weights: Floats32, backend: Backend) -> Floats:
        """By how many standard deviations each image falls short, ``(n,)``; ``weights`` are those in the map."""
        g, half = view.group, view.half
        seen = self.reference
        self_contribution = (weights * seen.self_contribution).astype(np.float32)
        batch = Batch(view.batch, view.rotations, half, self_contribution, seen, seen.samples[g], backend)
        own = BandStatistics.of(backend.to_host(own_sums(batch)))
        sigma2 = np.broadcast_to(self.noise.groups[g], own.a.shape)
        coefficients = np.broadcast_to(self.reference.samples[g].coefficients, own.a.shape)
        factor = noise_factor(own, sigma2, self.signal, coefficients)
        weighting = Weighting(
            sigma2 * factor[:, None],
            self.signal,
            self.reference.rotational_average[half],
            self.reference.view_correlation[half],
        )
        centred = centre(own, weighting.mean)
        return np.asarray(np.sqrt(energy(centred[1], weighting)) - z(*centred, weighting))


@dataclass(frozen=True)
class Ledger:
    """What the last pass found of each particle, ``(n,)`` each; NaN where it has not been seen.

    ``plain`` mean squared residual in units of the noise; ``cross`` the same under the map of the other half set;
    ``distance`` what the loss weighs by, its sign kept; ``weight`` in the fit.
    """

    plain: Floats
    cross: Floats
    distance: Floats
    weight: Floats

    @classmethod
    def empty(cls, n: int) -> Ledger:
        """Of n particles that have not been seen."""
        return cls(*np.full((4, n), np.nan))


def sweep(
    likelihood: Likelihood,
    rows: Rows,
    grids: Any,
    ledger: Ledger,
    weigh: Weigh,
    matched: MatchedResidual | None,
    progress: str,
) -> tuple[Floats, Any]:
    """Go over some particles once.

    Parameters
    ----------
    rows : particles, any order; particles without weight are seen as well
    grids : (2, *grid.shape) complex64 of the half maps
    ledger : its entries of these rows are written
    weigh : what a particle weighs, beside its weight in the problem
    matched : gives the distances; None: the plain residual

    Returns
    -------
    values : (2,)   half the weighted squared residuals of each half set, in units of the noise
    gradient : (2, *grid.shape) complex64   of the values with respect to the grids, as autograd defines it
    """
    problem = likelihood.problem
    grid, backend, values = problem.grid, problem.backend, np.zeros(2)
    insertion, packed = Insertion(grid, backend), pack(grids, backend)
    size = batch_size(max(o.box for o in problem.data.optics))
    for at, images in batches(
        problem.data, rows, size, progress=progress, source=problem.source, memory=backend.memory
    ):
        part = problem.data.take(at)
        g, half, weights = int(part.column("optics_group")[0]), problem.half[at], problem.weights[at]
        view = View(prepare(images, part, problem.frames[g], backend), g, part.rotations, half)
        if matched is not None:
            known = ledger.weight[at]
            fitted = np.where(np.isfinite(known), known, weights).astype(np.float32)
            short = matched.shortfall(view, fitted, backend)
        given = view.batch, view.rotations, half, likelihood.precision[g], likelihood.samples[g]
        total, cross = residual(packed, *given, backend).T
        n_real = likelihood.n_real[g]
        ledger.plain[at], ledger.cross[at] = total / n_real, cross / n_real
        distance, behind = (ledger.plain[at], n_real) if matched is None else (short * np.abs(short), 1)
        ledger.distance[at] = distance
        ledger.weight[at] = weights * weigh(at, distance, behind)
        values += 0.5 * np.bincount(half, weights=ledger.weight[at] * total, minlength=2)
        insertion.add(view.batch, view.rotations, -2.0 * ledger.weight[at].astype(np.float32), half)
    insertion.flush()
    return values, insertion.numerator
