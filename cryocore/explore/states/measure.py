"""A second state among the particles of a run: whether there is one, what it is like, who is in it, who was kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.special import expit

from cryocore.backend import Backend
from cryocore.errors import InputError
from cryocore.explore.gallery import Seen
from cryocore.explore.states.images import (
    Residuals,
    coarse_grid,
    coarse_map,
    grids_of,
    products,
    residual_parts,
    residuals,
    signal_of,
)
from cryocore.explore.states.search import Mixture, excess, held_out_excess
from cryocore.explore.states.templates import MASKED, Density, Template, templates
from cryocore.hashing import hashed_order
from cryocore.imaging.accumulate import symmetrise
from cryocore.imaging.insertion import Insertion
from cryocore.imaging.prepare import Prepared
from cryocore.imaging.solve import Solver
from cryocore.log.names import MIXTURE
from cryocore.maps.mrc import read_map
from cryocore.types import Bools, Floats, Floats32, Ints

STREAM = 25
MOST = 10_000
"""Particles in which a second state is looked for."""
FEWEST = 200
"""Of each half set."""
SIGNIFICANT = 4.0
"""Standard deviations of the difference map from which a voxel counts."""
SMOOTH_ANGSTROM = 25.0
"""Resolution of the difference map: a few thousand images show no more of a difference that some of them have."""
STEPS = 4
"""Times that the template that stands out most is moved towards what does more."""
STEP, HELD = 8, 168
"""Templates that are made and transformed at a time, and whose grids are held: each 1.6 MB at most. What pose, shift
and defocus change in an image is found once for so many."""
THRESHOLD = 1.7
"""Standard errors of what is held out that chance reaches in less than one of 20 data sets."""
CHUNK = 10_000
KEPT_RATIO = 0.8
KEPT_ERRORS = 3.0
"""A selection favours a state if it keeps less of the other than this share, and by so many standard errors."""


@dataclass(frozen=True)
class Region:
    """Where the states differ: the voxels beyond ``SIGNIFICANT`` of the difference map.

    ``centre_angstrom`` : (x, y, z) from the middle of the box
    ``density_share`` : of the map's density that is there
    """

    volume_angstrom3: float
    centre_angstrom: tuple[float, float, float]
    density_share: float


@dataclass(frozen=True)
class Second:
    """A second state.

    ``kind`` : what becomes of the part of the map, missing or turned; ``part_share`` of its density is in the part
    ``share`` : of the particles in the second state
    ``log_odds`` : of being in it ``(n,)``, NaN of particles that cannot be told
    ``kept`` : share of the particles that the round selects, in the first state and in the second
    ``favours`` : 1 or 2 where the selection favours a state, or else 0
    ``difference`` : second less first state ``(n, n, n)`` at low resolution, in standard deviations of its noise
    ``map`` : ``(n, n, n)``, the run's at the same resolution
    ``agreement`` : correlation of the half sets' difference maps
    """

    kind: str
    part_share: float
    share: float
    log_odds: Floats
    kept: tuple[float, float]
    favours: int
    region: Region | None
    agreement: float
    difference: Floats32
    map: Floats32
    voxel_angstrom: float


@dataclass(frozen=True)
class States:
    """Whether the particles of a round are in more than one state.

    ``standard_errors`` : by which images vary more than noise along the templates that stand out in others
    ``second`` : None where none is found
    """

    number: int
    n_particles: int
    n_templates: int
    finest_angstrom: float
    standard_errors: float
    second: Second | None

    @property
    def sentence(self) -> str:
        """What was found."""
        seen = f"of {self.n_templates} differences down to {self.finest_angstrom:.0f} Å, in {self.n_particles:,} images"
        errors = f"{self.standard_errors:.1f} standard errors, {THRESHOLD:.1f} needed"
        if self.second is None:
            return f"No second state is seen ({seen}, none stands out: {errors})."
        s = self.second
        n = int(np.nansum(expit(s.log_odds)))
        part = f"a part with {100 * s.part_share:.0f} % of the density is {s.kind}"
        where = ""
        if s.region is not None:
            x, y, z = s.region.centre_angstrom
            where = f", about ({x:.0f}, {y:.0f}, {z:.0f}) Å from the middle of the box"
        return f"A second state of some {n:,} particles ({100 * s.share:.0f} %): {part}{where} ({errors})."

    @property
    def warning(self) -> str | None:
        """What a selection does to the states, if it favours one."""
        if self.second is None or not self.second.favours:
            return None
        first, second = self.second.kept
        return (
            f"Round {self.number} keeps {100 * first:.0f} % of the particles in the first state and "
            f"{100 * second:.0f} % of those in the second: it selects a state, and not only good particles."
        )

    @property
    def text(self) -> str:
        """For people."""
        return "\n".join([self.sentence, *self.points, *([self.warning] if self.warning else [])])

    @property
    def points(self) -> tuple[str, ...]:
        """More about a second state."""
        if (s := self.second) is None:
            return ()
        first, second = (f"{100 * kept:.1f} %" for kept in s.kept)
        kept = f"Round {self.number} keeps {first} of the first state and {second} of the second."
        if (r := s.region) is None:
            return (f"Nowhere do the maps differ by {SIGNIFICANT:g} standard deviations.", kept)
        where = f"The maps differ by more than {SIGNIFICANT:g} standard deviations in {r.volume_angstrom3:,.0f} Å³"
        held = f"with {100 * r.density_share:.0f} % of the density; half sets agree by {s.agreement:.2f}."
        return (f"{where}, {held}", kept)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        names = ("number", "n_particles", "n_templates", "finest_angstrom", "standard_errors")
        told: dict[str, Any] = {("round" if n == "number" else n): _rounded(getattr(self, n)) for n in names}
        told |= {
            "threshold": THRESHOLD,
            "sentence": self.sentence,
            "points": [*self.points],
            "warning": self.warning,
            "second": None,
        }
        if (s := self.second) is not None:
            told["second"] = {
                "kind": s.kind,
                "part_share": _rounded(s.part_share),
                "share": s.share,
                "n_expected": int(np.nansum(expit(s.log_odds))),
                "kept_first": _rounded(s.kept[0]),
                "kept_second": _rounded(s.kept[1]),
                "agreement": _rounded(s.agreement),
                "region": None
                if s.region is None
                else {
                    "volume_angstrom3": round(s.region.volume_angstrom3),
                    "centre_angstrom": [round(c, 1) for c in s.region.centre_angstrom],
                    "density_share": _rounded(s.region.density_share),
                },
            }
        return told

    def table(self, ids: Any) -> pa.Table:
        """Log odds of being in the second state, a row for each of the particles ``ids`` ``(n,)``."""
        if self.second is None:
            raise ValueError("there is no second state")
        return pa.table({"particle_id": ids, "state": self.second.log_odds.astype(np.float32)})


def states(seen: Seen, *, seed: int) -> States:
    """Look for a second state among the particles of a round.

    Each particle counts by its probability of being correct. Templates are made of the other half set's map, and what a
    particle's own scale, fall-off, pose, shift and defocus may change is taken out of its residual.

    Parameters
    ----------
    seen : the round, with its maps
    seed : of the particles that are looked at, where there are many

    Raises
    ------
    InputError  if there are fewer than 200 of a half set, or the log has no probabilities.
    """
    if seen.log.run_dir is None or MIXTURE not in seen.log.columns:
        problem = "the log does not say how probably particles are correct, or has no maps beside it"
        raise InputError(problem, file=seen.log.path, fix="Give the directory of a run")
    search = _Search.of(seen)
    weight, rows = search.weight, search.rows
    chosen = rows[np.sort(hashed_order(seen.data.ids[rows], seed=seed, stream=STREAM, most=MOST))]
    half = seen.data.column("half")[chosen]
    for h in (1, 2):
        if (n := np.count_nonzero(half == h)) < FEWEST:
            raise InputError(f"{n} particles of half set {h} are too few to look for states", fix="Use more particles")
    left = search.residuals(chosen)
    along = search.compared(left, weight[chosen], templates(search.density))
    errors = held_out_excess(along.y, along.g, weight[chosen], seen.data.ids[chosen], seed)
    told = States(seen.log.number, len(chosen), len(along.templates), search.finest_angstrom, errors, None)
    if errors < THRESHOLD:
        return told
    best = search.moved(left, weight[chosen], along.best)
    own = (values[:, 0].astype(np.float64) for values in (best.y, best.g))
    return replace(told, second=search.second(best.templates[0], chosen, left, *own))


@dataclass(frozen=True)
class _Compared:
    """Templates, products ``(n, k)`` with them, and their ``excess`` ``(k,)``."""

    templates: list[Template]
    y: Floats32
    g: Floats32
    excess: Floats

    @property
    def best(self) -> _Compared:
        """The template that stands out most, alone."""
        at = [int(np.argmax(self.excess))]
        return _Compared([self.templates[at[0]]], self.y[:, at], self.g[:, at], self.excess[at])


@dataclass(frozen=True)
class _Search:
    """What is compared with what: maps ``(2, n, n, n)``, mask and map at low resolution, and the particles' weights.

    ``signal`` : the maps without what is noise in them, of which templates are made
    """

    seen: Seen
    maps: Floats32
    signal: Floats32
    mask: Floats32
    density: Density
    weight: Floats
    rows: Ints
    noise_factor: Floats
    noise: Floats
    grid: Any

    @classmethod
    def of(cls, seen: Seen) -> _Search:
        grid = coarse_grid(seen)
        folder = Path(str(seen.log.run_dir)) / f"round_{seen.log.number}"
        whole, _ = read_map(folder / "mask.mrc")
        # coefficients of a map are those of its images
        scale = np.float32(len(whole) / grid.box) ** -1
        halves = (read_map(folder / f"half{h}.mrc")[0] * whole for h in (1, 2))
        maps = np.stack([coarse_map(half, grid.box) / scale**2 for half in halves])
        mask = coarse_map(whole, grid.box)
        optics = seen.data.optics
        like = [o.box == optics[0].box and o.pixel_size_angstrom == optics[0].pixel_size_angstrom for o in optics]
        weight = seen.log.worth()
        known = np.asarray(like)[seen.data.column("optics_group")] & (weight > 0)
        noise = [[np.inf if v is None else v for v in row] for row in seen.log.metadata["noise_power"]]
        density = Density.of(maps.mean(axis=0), mask, grid.pixel_size_angstrom, seen.comparison.group)
        factor = seen.log.values("noise_factor").astype(np.float64)
        return cls(
            seen, maps, signal_of(maps), mask, density, weight, np.flatnonzero(known), factor, np.array(noise), grid
        )

    @property
    def backend(self) -> Backend:
        return self.seen.comparison.backend

    @property
    def finest_angstrom(self) -> float:
        return float(self.grid.box * self.grid.pixel_size_angstrom / self.grid.last_shell)

    def residuals(self, rows: Ints) -> Residuals:
        return residuals(self.seen, rows, self.grid, self.noise_factor, self.noise)

    def moved(self, left: Residuals, weight: Floats, best: _Compared) -> _Compared:
        """A template moved towards what stands out more, by residuals of weights ``(n,)``."""
        for _ in range(STEPS):
            near = self.compared(left, weight, self.density.near(best.templates[0])).best
            if near.excess[0] <= best.excess[0]:
                break
            best = near
        return best

    def compared(self, left: Residuals, weight: Floats, made: list[Template]) -> _Compared:
        """Products of residuals with templates; ``weight`` ``(n,)`` is that of their particles."""
        some = (made[i : i + HELD] for i in range(0, len(made), HELD))
        found = [products(left, partial(self.grids, part), self.maps[::-1], self.backend) for part in some]
        y, g = (np.concatenate(values, axis=1) for values in zip(*found, strict=True))
        return _Compared(made, y, g, excess(y, g, weight))

    def grids(self, made: list[Template], half: int) -> NDArray[np.complex64]:
        """Grids of templates for the particles of a half set, 0 or 1."""
        out = np.empty((len(made), *self.grid.shape), dtype=np.complex64)
        for start in range(0, len(made), STEP):
            changes = np.stack([self.change(template, half) for template in made[start : start + STEP]])
            out[start : start + STEP] = grids_of(changes, self.grid)
        return out

    def change(self, template: Template, half: int) -> Floats32:
        """A template for the particles of a half set, of the other's map."""
        return template.of(self.signal[1 - half], self.seen.comparison.group)

    def second(self, template: Template, chosen: Ints, left: Residuals, y: Floats, g: Floats) -> Second:
        """The second state along a template, from products of the chosen particles."""
        weight = self.weight[chosen]
        mixture = Mixture.of(y, g, weight)
        one, two = (self.grids([template], h) for h in (0, 1))
        log_odds = np.full(len(self.seen.data), np.nan)
        log_odds[chosen] = mixture.log_odds(y, g)
        others = np.setdiff1d(self.rows, chosen)
        for start in range(0, len(others), CHUNK):
            some = others[start : start + CHUNK]
            found = products(self.residuals(some), (one, two).__getitem__, self.maps[::-1], self.backend)
            log_odds[some] = mixture.log_odds(*(values[:, 0].astype(np.float64) for values in found))
        halves = self.differences(left, (self.change(template, 0), self.change(template, 1)), y, g, weight, mixture)
        inside = self.mask > MASKED
        noise = float(np.std((halves[0] - halves[1])[inside])) / 2.0
        difference = (0.5 * (halves[0] + halves[1]) * (self.mask > 0) / max(noise, 1e-30)).astype(np.float32)
        volume = self.maps.mean(axis=0)
        kept, favours = self.kept(log_odds)
        return Second(
            template.kind,
            template.share,
            mixture.share,
            log_odds,
            kept,
            favours,
            _region(difference, inside, volume, self.grid.pixel_size_angstrom),
            float(np.corrcoef(halves[0][inside], halves[1][inside])[0, 1]),
            difference,
            volume,
            self.grid.pixel_size_angstrom,
        )

    def differences(
        self,
        left: Residuals,
        change: tuple[Floats32, Floats32],
        y: Floats,
        g: Floats,
        weight: Floats,
        mixture: Mixture,
    ) -> Floats32:
        """Second less first state by the images of each half set ``(2, n, n, n)``."""
        second = expit(mixture.log_odds(y, g))
        value, slope = second - mixture.share, mixture.amplitude * second * (1.0 - second)
        expected = float(np.average(value**2, weights=weight))
        images = residual_parts(left, change, self.maps[::-1], value / expected, slope / expected, self.backend)
        insertion, to_device = Insertion(self.grid, self.backend), self.backend.to_device
        for start in range(0, len(left), CHUNK):
            at = slice(start, start + CHUNK)
            batch = Prepared(to_device(images[at]), to_device(left.ctf[at]), left.frame)
            insertion.add(batch, left.rotations[at], (weight * expected)[at].astype(np.float32), left.half[at])
        group = self.seen.comparison.group
        solver = Solver(symmetrise(insertion.sums(), group), group)
        return np.stack([low_passed(solver.half(h), self.grid.pixel_size_angstrom) for h in (0, 1)])

    def kept(self, log_odds: Floats) -> tuple[tuple[float, float], int]:
        """Shares of both states that the round selects, and which it favours, 0 for none."""
        selected = self.seen.log.values("selected").astype(bool)
        known = np.isfinite(log_odds)
        second = expit(log_odds[known])
        shares, errors = [], []
        for of_state in (1.0 - second, second):
            share, error = _share(selected[known], np.asarray(self.weight[known] * of_state))
            shares.append(share)
            errors.append(error)
        first, other = shares
        apart = abs(first - other) > KEPT_ERRORS * float(np.hypot(errors[0], errors[1]))
        if not apart or min(shares) > KEPT_RATIO * max(shares):
            return (first, other), 0
        return (first, other), 1 if first > other else 2


def low_passed(volume: Floats32, voxel_angstrom: float) -> Floats32:
    """A map ``(n, n, n)`` smoothed by a Gaussian whose transform has half its height at ``SMOOTH_ANGSTROM``."""
    width = np.sqrt(2.0 * np.log(2.0)) * SMOOTH_ANGSTROM / (2.0 * np.pi * voxel_angstrom)
    return np.asarray(gaussian_filter(volume, width), dtype=np.float32)


def _share(selected: Bools, weight: Floats) -> tuple[float, float]:
    """Share of weighted particles that are selected, and its standard error."""
    total = float(weight.sum())
    share = float(np.sum(weight * selected)) / max(total, 1e-30)
    return share, float(np.sqrt(share * (1.0 - share) * np.sum(weight**2))) / max(total, 1e-30)


def _region(difference: Floats32, inside: Bools, volume: Floats32, voxel_angstrom: float) -> Region | None:
    """Where a difference map in standard deviations of its noise is beyond ``SIGNIFICANT``; None if nowhere."""
    beyond = inside & (np.abs(difference) > SIGNIFICANT)
    if not beyond.any():
        return None
    places = np.argwhere(beyond) - len(difference) // 2
    z, y, x = (float(c) for c in np.average(places, axis=0, weights=np.abs(difference[beyond])) * voxel_angstrom)
    density = np.clip(volume, 0.0, None) * inside
    share = float(density[beyond].sum() / density.sum())
    return Region(float(beyond.sum()) * voxel_angstrom**3, (x, y, z), share)


def _rounded(value: float) -> float:
    return round(value, 4) if isinstance(value, float) else value
