"""The ruler: one mask, one grid and one seed, by which the maps of all lists are measured."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.backend import Backend, host
from cryocore.explore.audit.local import Windows
from cryocore.explore.open_maps import OpenRound
from cryocore.formats.stacks import Source
from cryocore.imaging.accumulate import accumulate, symmetrise
from cryocore.imaging.grid import FourierGrid, FourierSums
from cryocore.imaging.solve import Solver, own_divisor
from cryocore.maps.curves import FscCurves
from cryocore.maps.fsc import fsc, half_map_fsc, resolution_at, shell_index, shell_resolution
from cryocore.maps.mrc import write_map
from cryocore.maps.transforms import forward, inverse, whole
from cryocore.reconstruct.stage import within, write_sampling
from cryocore.tables.particles import Particles
from cryocore.types import Bools, Floats, Floats32
from cryocore.validate.stopping import Samples, independent_samples

CUT_FSC = 0.5
"""FSC of the half maps of all particles at the resolution beyond which phases are replaced, by default."""
MOST_OF_BAND = 0.75
"""The cut lies within this share of the shells in use."""
MARGIN_SHELLS = 2
"""Between the cut and the first shell that is looked at: interpolation carries signal so far."""


@dataclass(frozen=True)
class Measured:
    """A list's map by the ruler.

    ``fsc`` : masked, between the half maps ``(shells,)``
    ``area`` : its mean over the shells in use from 1 on
    ``local_areas``, ``local_resolutions_angstrom`` : of each window, see :class:`Windows`
    """

    n_particles: int
    fsc: Floats
    area: float
    resolution_angstrom: float
    local_areas: Floats
    local_resolutions_angstrom: Floats

    def as_dict(self) -> dict[str, Any]:
        """For JSON, rounded."""
        return asdict(self) | {
            "fsc": np.round(self.fsc, 6).tolist(),
            "area": round(self.area, 6),
            "resolution_angstrom": round(self.resolution_angstrom, 4),
            "local_areas": np.round(self.local_areas, 5).tolist(),
            "local_resolutions_angstrom": np.round(self.local_resolutions_angstrom, 3).tolist(),
        }

    @classmethod
    def of(cls, values: dict[str, Any]) -> Measured:
        """The inverse of :meth:`as_dict`."""
        made: dict[str, Any] = {k: np.array(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**made)


@dataclass(frozen=True)
class Ruler:
    """What all lists are measured by.

    ``mask`` : ``(n, n, n)``
    ``group`` : rotations of the point group ``(m, 3, 3)``
    ``cut`` : shell beyond which the phases of images are replaced
    ``windows`` : where maps are compared by parts
    """

    mask: Floats32
    grid: FourierGrid
    group: Floats
    cut: int
    seed: int
    windows: Windows

    @classmethod
    def of(
        cls,
        opened: OpenRound,
        curves: FscCurves,
        *,
        cut_angstrom: float | None,
        seed: int,
        region: Floats32 | None = None,
    ) -> Ruler:
        """That of a run, whose half maps of all particles have these curves.

        ``region`` : where windows are ``(n, n, n)``, 0 to 1; None: within the mask
        """
        grid = opened.grid
        side = grid.box * grid.pixel_size_angstrom
        known = resolution_at(curves.corrected, curves.resolution_angstrom, CUT_FSC)
        cut = int(np.clip(round(side / (cut_angstrom or known)), 2, int(MOST_OF_BAND * grid.last_shell)))
        where = opened.mask if region is None else region
        windows = Windows.within(where, known / grid.pixel_size_angstrom, grid.last_shell / grid.box, seed)
        return cls(opened.mask, grid, opened.group, cut, seed, windows)

    @cached_property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that are others where anything of the ruler is."""
        grid = self.grid
        numbers = (grid.box, grid.pixel_size_angstrom, grid.size, grid.last_shell, self.cut, self.seed)
        state = hashlib.sha256(np.array([*numbers, self.windows.radius], dtype=np.float64).tobytes())
        for values in (self.mask, self.group, self.windows.centres):
            state.update(np.ascontiguousarray(values).tobytes())
        return state.hexdigest()[:16]

    @cached_property
    def samples(self) -> Samples:
        """Independent samples of the shells of maps under the mask."""
        return independent_samples(self.mask, len(self.group))

    @property
    def resolution_angstrom(self) -> Floats:
        """Of the shells ``(shells,)``; infinite for shell 0."""
        return shell_resolution(self.grid.box, self.grid.pixel_size_angstrom)

    @property
    def cut_angstrom(self) -> float:
        """Resolution of the cut."""
        return float(self.resolution_angstrom[self.cut])

    @property
    def beyond(self) -> NDArray[np.intp]:
        """Shells beyond the cut that are looked at."""
        return np.arange(self.cut + MARGIN_SHELLS + 1, self.grid.last_shell + 1)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "digest": self.digest,
            "mask_sha256": hashlib.sha256(np.ascontiguousarray(self.mask).tobytes()).hexdigest()[:16],
            "mask_voxels": round(float(self.mask.sum(dtype=np.float64)), 1),
            "box": self.grid.box,
            "pixel_size_angstrom": self.grid.pixel_size_angstrom,
            "last_shell": self.grid.last_shell,
            "operators": len(self.group),
            "cut_shell": self.cut,
            "cut_angstrom": round(self.cut_angstrom, 4),
            "seed": self.seed,
            "windows": len(self.windows.centres),
            "window_angstrom": round(self.window_angstrom, 1),
            "window_centres_voxels": self.windows.centres.tolist(),
        }

    @property
    def window_angstrom(self) -> float:
        """Diameter of the windows."""
        return 2.0 * self.windows.radius * self.grid.pixel_size_angstrom

    def halves(self, sums: FourierSums) -> tuple[Floats32, Floats32]:
        """The half maps of Fourier sums."""
        solver = Solver(symmetrise(sums, self.group), self.group)
        return solver.half(0), solver.half(1)

    def measure(self, halves: tuple[Floats32, Floats32], n_particles: int) -> Measured:
        """What half maps come to."""
        curves = self.curves(halves)
        masked, corrected = curves.masked, curves.corrected
        area = float(np.mean(masked[1 : self.grid.last_shell + 1]))
        local = self.windows.curves((halves[0] * self.mask, halves[1] * self.mask))
        of_windows = self.windows.areas(local), self.windows.resolutions(local, self.grid.pixel_size_angstrom)
        return Measured(n_particles, masked, area, resolution_at(corrected, curves.resolution_angstrom), *of_windows)

    def curves(self, halves: tuple[Floats32, Floats32]) -> FscCurves:
        """All curves of half maps, within the shells in use."""
        return within(half_map_fsc(*halves, self.mask, self.grid.pixel_size_angstrom), self.grid.last_shell)

    def noise_fsc(self, halves: tuple[Floats32, Floats32]) -> Floats:
        """Masked FSC beyond the cut ``(shells,)``, 0 elsewhere, of maps from which the shells before were taken.

        The mask then carries none of the signal there into the shells that are looked at.
        """
        n = len(self.mask)
        low = shell_index(n) < self.beyond[0]
        parts = []
        for half in halves:
            spectrum = forward(half, n, whole(n))
            spectrum[low] = 0.0
            parts.append(inverse(spectrum, n, whole(n)) * self.mask)
        curve = np.zeros(n // 2 + 1)
        curve[self.beyond] = fsc(*parts)[self.beyond]
        return curve

    def noise_correlation(self, curve: Floats) -> tuple[float, float]:
        """Mean of a curve of :meth:`noise_fsc` over coefficients beyond the cut, and its standard error by chance."""
        n = self.samples.per_shell[self.beyond]
        return float(np.average(curve[self.beyond], weights=n)), float(np.sqrt(self.samples.shells_coupled / n.sum()))

    def write_round(
        self, folder: Path, sums: FourierSums, curves: FscCurves | None = None
    ) -> tuple[Floats32, Floats32]:
        """Write the half maps of sums as a round has them, so that particles can be scored by them.

        ``curves`` : those that bands are weighed by; None: that of these half maps
        """
        full = symmetrise(sums, self.group)
        solver = Solver(full, self.group)
        halves = solver.half(0), solver.half(1)
        pixel = self.grid.pixel_size_angstrom
        for name, volume in (("half1", halves[0]), ("half2", halves[1]), ("mask", self.mask)):
            write_map(folder / f"{name}.mrc", volume, pixel)
        (self.curves(halves) if curves is None else curves).write(folder / "fsc.parquet")
        write_sampling(folder / "sampling.npz", own_divisor(full), self.grid.padding, self.grid.last_shell)
        return halves


@dataclass
class Lists:
    """Maps of lists of particles, all of weight 1.

    A list that has more than half of all particles is summed as all of them less those it has not: ``everything`` are
    the sums of all, made when they are first needed.
    """

    data: Particles
    grid: FourierGrid
    backend: Backend
    source: Source
    everything: FourierSums | None = None

    def sums(self, members: Bools, progress: str) -> FourierSums:
        """Fourier sums of the particles of a list ``(n,)``."""
        if 2 * np.count_nonzero(members) <= len(members):
            return self._add(members.astype(np.float32), None, progress)
        if self.everything is None:
            everything = self._add(np.ones(len(members), dtype=np.float32), None, "all particles")
            self.everything = everything.on(host())  # a GPU may have room for one set
        if members.all():
            return self.everything
        kept = self.everything
        start = replace(kept, numerator=kept.numerator.copy(), denominator=kept.denominator.copy())
        return self._add(members.astype(np.float32) - 1.0, start, progress)

    def _add(self, weights: Floats32, start: FourierSums | None, progress: str) -> FourierSums:
        return accumulate(self.data, weights, self.grid, self.backend, start, self.source, progress)
