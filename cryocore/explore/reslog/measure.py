"""Half maps of random subsets of growing size, and their resolution.

Subsets are nested and Fourier sums are additive: each size reads the images that the one before had not, so that a
whole sequence costs one pass over the particles.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.backend import Backend
from cryocore.errors import InputError
from cryocore.explore.open_maps import open_maps
from cryocore.explore.reslog.fit import ResLogFit, fit_bfactor
from cryocore.formats.stacks import Source
from cryocore.imaging.accumulate import accumulate, symmetrise
from cryocore.imaging.grid import FourierGrid, FourierSums
from cryocore.imaging.solve import Solver
from cryocore.maps.fsc import half_map_fsc, resolution_at
from cryocore.reconstruct.stage import within
from cryocore.statistics import effective_number
from cryocore.tables.particles import Particles
from cryocore.types import Floats, Floats32

log = logging.getLogger(__name__)


AT_OTHERS, STREAM = "all particles, poses of others", 45
N_SIZES, SMALLEST_SHARE, FEWEST = 7, 1 / 16, 50
"""Sizes by default: so many, the smallest this share of all particles, and not below so many."""
SMOOTHING_SHELLS = 2.0
"""Standard deviation of the Gaussian that takes the jumps out of a curve before the smooth resolution is read off."""
COARSEST_ANGSTROM = 20.0
"""Resolutions beyond are no part of the fit: there the shape of the molecule decides, not its B-factor."""


@dataclass(frozen=True)
class Point:
    """A subset: so many particles (their effective number, if weighted) reach this resolution at FSC 0.143.

    ``smooth_resolution_angstrom`` is read off the curve after smoothing over shells.
    """

    n_particles: float
    resolution_angstrom: float
    smooth_resolution_angstrom: float
    repeat: int


@dataclass(frozen=True)
class Series:
    """All subsets of one set of particles, and the line through those that can be used.

    ``bfactors`` are the B-factors of the repeats one by one, Å². A ``bound`` is what noise and overall shape reach.
    """

    name: str
    points: tuple[Point, ...]
    fit: ResLogFit | None
    bfactors: tuple[float, ...]
    finest_angstrom: float
    bound: bool = False

    @property
    def bfactor_sd_angstrom2(self) -> float | None:
        """Standard error of B: from the spread of the repeats where there are three or more, else of the regression."""
        if len(self.bfactors) >= 3:
            return float(np.std(self.bfactors, ddof=1) / np.sqrt(len(self.bfactors)))
        return None if self.fit is None else self.fit.bfactor_sd_angstrom2

    @property
    def text(self) -> str:
        """The points, and the B-factor as text."""
        lines = [f"{self.name}: particles, resolution (Å), smooth (Å)"]
        lines += [
            f"{p.n_particles:>10,.0f}  {p.resolution_angstrom:6.2f}  {p.smooth_resolution_angstrom:6.2f}"
            for p in self.points
        ]
        fit, error = self.fit, self.bfactor_sd_angstrom2
        if self.bound:
            best = min(p.smooth_resolution_angstrom for p in self.points)
            lines.append(
                f"Noise and overall shape reach {best:.2f} Å: what comes no further says nothing of the molecule."
            )
        elif fit is None or fit.bfactor_angstrom2 is None or error is None:
            lines.append("No B-factor: fewer than three resolutions between 20 Å and Nyquist, or none that improve.")
        else:
            more = fit.resolution_at(2 * max(p.n_particles for p in self.points))
            lines.append(
                f"B = {fit.bfactor_angstrom2:.0f} ± {error:.0f} Å² ({fit.n_points} points; "
                f"{fit.plain_bfactor_angstrom2:.0f} Å² by ln N alone); twice the particles would reach {more:.2f} Å."
            )
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """Values for JSON."""
        return {
            "name": self.name,
            "bound": self.bound,
            "points": [asdict(p) for p in self.points],
            "fit": self.fit and self.fit.as_dict(),
            "bfactors_angstrom2": list(self.bfactors),
            "bfactor_sd_angstrom2": self.bfactor_sd_angstrom2,
        }


def reslog(
    run_dir: Path,
    backend: Backend,
    *,
    number: str = "last",
    sizes: Sequence[int] | None = None,
    repeats: int = 1,
    seed: int = 0,
    bound: bool = False,
) -> list[Series]:
    """Measure the resolution of random subsets of all particles, and of those in a round's map, with their B-factors.

    Parameters
    ----------
    run_dir : results/<run>; the cache of transforms that it keeps is read, or else the images that its particles name
    number : the round whose particles and mask count, or last
    sizes : particles in the subsets; None: seven, up to all of them
    repeats : independent sequences, each a pass over the particles
    seed : of the subsets
    bound : measure also what all particles reach at the poses of others, as a third set

    Raises
    ------
    InputError  if there is no such round, it lacks its maps, or the cache is of other images.
    """
    opened = open_maps(run_dir, number)
    log, data, grid = opened.log, opened.data, opened.grid
    weights, envelopes = log.column("weight"), log.quality()
    everyone = np.ones(len(data), dtype=np.float32)
    sets = {"all particles": (data, everyone)}
    if envelopes or (weights is not None and not np.array_equal(weights, everyone)):
        chosen = everyone if weights is None else weights.astype(np.float32)
        sets[f"round {log.number}"] = data.with_envelopes(envelopes), chosen
    if bound:
        sets[AT_OTHERS] = at_poses_of_others(data, seed), everyone
    made_of = grid, opened.mask, opened.group, backend, opened.source
    found = []
    for name, (members, chosen) in sets.items():
        wanted = sizes_for(int(np.count_nonzero(chosen)), sizes)
        points = [
            point
            for repeat in range(repeats)
            for point in sequence(members, chosen, wanted, *made_of, (seed, repeat), name)
        ]
        found.append(series(name, points, grid.box * opened.pixel_size_angstrom / grid.last_shell))
    return [replace(s, bound=True, fit=None, bfactors=()) if s.name == AT_OTHERS else s for s in found]


def at_poses_of_others(data: Particles, seed: int) -> Particles:
    """The particles, the orientations of each half set dealt out anew among them."""
    rng, half, order = np.random.default_rng([seed, STREAM]), data.column("half"), np.arange(len(data))
    for h in (1, 2):
        rows = np.flatnonzero(half == h)
        order[rows] = rng.permutation(rows)
    return data.with_columns({f"quat_{axis}": data.column(f"quat_{axis}")[order] for axis in "wxyz"})


def sizes_for(n_particles: int, sizes: Sequence[int] | None = None) -> list[int]:
    """Sizes of subsets, ascending; given ones as far as there are particles.

    >>> sizes_for(6400)
    [400, 635, 1008, 1600, 2540, 4032, 6400]
    """
    if sizes is None:
        low = min(max(round(SMALLEST_SHARE * n_particles), FEWEST), n_particles)
        return sorted({round(v) for v in np.geomspace(low, n_particles, N_SIZES)})
    usable = sorted({int(n) for n in sizes if 2 <= n <= n_particles})
    if left_out := sorted({int(n) for n in sizes} - {*usable}):
        log.warning("sizes %s are left out: there are %d particles", ", ".join(map(str, left_out)), n_particles)
    if not usable:
        raise InputError(
            f"no size lies between 2 and {n_particles} particles", setting="--sizes", fix="Give smaller ones"
        )
    return usable


def series(name: str, points: Sequence[Point], finest_angstrom: float) -> Series:
    """Fit the smooth resolutions that lie between 20 Å and the last shell's."""

    def line(chosen: Sequence[Point]) -> ResLogFit | None:
        used = [p for p in chosen if 1.02 * finest_angstrom < p.smooth_resolution_angstrom < COARSEST_ANGSTROM]
        return fit_bfactor(
            np.array([p.n_particles for p in used]), np.array([p.smooth_resolution_angstrom for p in used])
        )

    single = [line([p for p in points if p.repeat == r]) for r in sorted({p.repeat for p in points})]
    factors = tuple(f.bfactor_angstrom2 for f in single if f and f.bfactor_angstrom2 is not None)
    return Series(name, tuple(points), line(points), factors, finest_angstrom)


def sequence(
    data: Particles,
    weights: Floats32,
    sizes: Sequence[int],
    grid: FourierGrid,
    mask: Floats32,
    group: Floats,
    backend: Backend,
    source: Source,
    seed: tuple[int, int],
    name: str,
) -> list[Point]:
    """The resolutions of nested subsets of one random order, as many of either half set as in the whole.

    ``seed`` is that of the order and the number of the repeat; ``name`` is of the bar of progress.
    """
    rank = _ranks(weights > 0, data.column("half"), seed)
    points, sums, before = [], None, 0
    for size in sizes:
        part = np.where((rank >= before) & (rank < size), weights, np.float32(0.0))
        sums = accumulate(data, part, grid, backend, sums, source, progress=f"{name}, {size}")
        members = np.where(rank < size, weights, np.float32(0.0))
        points.append(_point(sums, members, mask, group, seed[1]))
        before = size
    return points


def _ranks(members: NDArray[np.bool_], half: NDArray[np.int8], seed: tuple[int, int]) -> NDArray[np.int64]:
    """Place ``(n,)`` of each member in a random order that fills both half sets evenly; others come last."""
    rng = np.random.default_rng(seed)
    place = np.full(len(members), np.inf)
    for h in (1, 2):
        rows = np.flatnonzero(members & (half == h))
        place[rng.permutation(rows)] = (np.arange(len(rows)) + 0.5) / max(len(rows), 1)
    rank = np.empty(len(members), dtype=np.int64)
    rank[np.argsort(place, kind="stable")] = np.arange(len(members))
    return rank


def _point(sums: FourierSums, members: Floats32, mask: Floats32, group: Floats, repeat: int) -> Point:
    solver = Solver(symmetrise(sums, group), group)
    grid = sums.grid
    # damping helps few particles more than many, which would look like another B-factor
    halves = solver.half(0, damped=False), solver.half(1, damped=False)
    curves = half_map_fsc(*halves, mask, grid.pixel_size_angstrom)
    curves = within(curves, grid.last_shell)
    shells, corrected = curves.resolution_angstrom, curves.corrected
    return Point(
        n_particles=effective_number(members),
        resolution_angstrom=resolution_at(corrected, shells, 0.143),
        smooth_resolution_angstrom=resolution_at(smoothed(corrected), shells, 0.143),
        repeat=repeat,
    )


def smoothed(curve: Floats) -> Floats:
    """A curve ``(shells,)`` after Gaussian smoothing over shells; a straight line stays what it is."""
    reach = np.arange(-4, 5)
    kernel = np.exp(-0.5 * (reach / SMOOTHING_SHELLS) ** 2)
    padded = np.pad(curve, len(reach) // 2, mode="reflect", reflect_type="odd")
    return np.convolve(padded, kernel / kernel.sum(), mode="valid")
