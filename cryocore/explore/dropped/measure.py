"""Maps of the particles that a round leaves out, of as many of all, and of as many that it selects.

Worse copies of the selected particles give a map that is the selected ones' times an envelope, with noise: in each
shell the signals of both correlate by 1. That correlation is

    FSC(left out, selected) / sqrt(F(left out) F(selected)),     F = 2 f / (1 + f),

with f the FSC between the half maps of a set, and F that of its whole map with its signal (Rosenthal & Henderson 2003).
Below 1 the left out particles hold something else: another view than their poses say, or another state. At low
resolution a molecule looks alike from all sides, so that particles at wrong poses correlate there, and show nothing
where the selected ones still do.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.backend import Backend
from cryocore.errors import InputError
from cryocore.explore.open_maps import open_maps
from cryocore.explore.postprocess.sharpen import times
from cryocore.hashing import hashed_order
from cryocore.maps.fsc import fsc, fsc_weight, half_map_fsc, resolution_at, shell_index
from cryocore.maps.mrc import write_map
from cryocore.maps.transforms import forward, whole
from cryocore.reconstruct.solved import half_maps
from cryocore.reconstruct.stage import within
from cryocore.tables.particles import read_subset
from cryocore.types import Bools, Floats, Floats32

LEFT_OUT, RANDOM, SELECTED = SETS = "left out", "random", "selected"
STREAM = 24
FEWEST = 50
"""Particles of a half set that make a map worth looking at."""
MOST_VOXELS = 0.998
SIGNAL_FSC = 0.15
"""FSC between half maps from which a shell's signal is compared."""
ALIKE = 3.0
"""Standard errors below 1 up to which signals are called alike."""
ENDS_EARLY = 1.5
"""Ratio of the resolutions down to which selected and left out particles show signal, from which worse copies do not
explain it."""


@dataclass(frozen=True)
class Part:
    """A set of particles and what its map is like.

    ``fsc`` : between half maps ``(shells,)``, masked
    ``slices`` : of the mean map, see :func:`filtered_slices`
    """

    name: str
    n_particles: int
    fsc: Floats
    resolution_angstrom: float
    slices: tuple[Floats32, Floats32]


@dataclass(frozen=True)
class Dropped:
    """What a round leaves out, beside others.

    ``parts`` : of ``SETS``, all of as many particles
    ``n_left_out`` : how many are left out in all
    ``across`` : FSC between the maps of left out and selected particles ``(shells,)``
    ``correlation`` with its standard error ``correlation_sd`` : of the signals of both, NaN where no shell shows one;
        over the shells down to ``signal_angstrom``
    ``selected_angstrom`` : down to where the selected ones show signal
    """

    number: int
    parts: tuple[Part, ...]
    n_left_out: int
    shells_angstrom: Floats
    across: Floats
    correlation: float
    correlation_sd: float
    signal_angstrom: float
    selected_angstrom: float
    pixel_size_angstrom: float

    @property
    def verdict(self) -> str:
        """What the left out particles are."""
        if not np.isfinite(self.correlation):
            return "The map of what is left out shows no signal: junk, poses at random, or too few particles to tell."
        found = f"{self.correlation:.2f} ± {self.correlation_sd:.2f}"
        where = f"Down to {self.signal_angstrom:.1f} Å, signals of left out and selected particles correlate by {found}"
        if self.correlation < 1.0 - ALIKE * self.correlation_sd:
            return f"{where}: what is left out is not the same, seen worse. Look for wrong poses, or another state."
        if self.signal_angstrom > ENDS_EARLY * self.selected_angstrom:
            return (
                f"{where}, and beyond, where the selected ones show signal to {self.selected_angstrom:.1f} Å, there "
                "is none: so it is with wrong poses and junk."
            )
        return f"{where}: what is left out are worse copies of what is selected. Keeping them may help."

    @property
    def text(self) -> str:
        """For people."""
        lines = [
            f"Round {self.number} leaves out {self.n_left_out:,} particles",
            f"{'set':10s} {'particles':>9s} {'resolution':>11s} {'mean FSC':>9s}",
        ]
        lines += [
            f"{p.name:10s} {p.n_particles:9,d} {p.resolution_angstrom:9.2f} Å {float(np.mean(p.fsc[1:])):9.3f}"
            for p in self.parts
        ]
        return "\n".join([*lines, self.verdict])

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        names = ("correlation", "correlation_sd", "signal_angstrom", "selected_angstrom")
        values = {name: getattr(self, name) for name in names}
        return {
            "round": self.number,
            "n_left_out": self.n_left_out,
            **{name: None if np.isnan(value) else value for name, value in values.items()},
            "fsc_left_out_with_selected": self.across.round(5).tolist(),
            "verdict": self.verdict,
            "sets": [
                {
                    "name": p.name,
                    "n_particles": p.n_particles,
                    "resolution_angstrom": p.resolution_angstrom,
                    "fsc": p.fsc.round(5).tolist(),
                }
                for p in self.parts
            ],
        }


def dropped(
    run_dir: Path, backend: Backend, *, number: str = "last", seed: int = 0, out_dir: Path | None = None
) -> Dropped:
    """Reconstruct what a round leaves out, and as many others of all and of those that it selects.

    Parameters
    ----------
    run_dir : results/<run>; the cache of transforms that it keeps is read, or else the images that its particles name
    number : the round, or last
    seed : of what is drawn
    out_dir : folder for the half maps of each set, as SET_half1.mrc and SET_half2.mrc

    Raises
    ------
    InputError  if there is no such round, it leaves out or selects fewer than 50 of a half set, or lacks its maps.
    """
    opened = open_maps(run_dir, number)
    mask, grid, group, pixel = opened.mask, opened.grid, opened.group, opened.pixel_size_angstrom
    files = (opened.folder / f"{name}.parquet" for name in ("weights", "subset"))
    subset = next((file for file in files if file.exists()), None)
    data = opened.data.with_quality(subset)
    selected = read_subset(subset, data)[1]
    sets = drawn(selected, data.column("half"), data.ids, seed)
    parts, compared = [], {}
    for name, members in sets.items():
        progress = f"{name}, {members.sum():,}"
        maps = half_maps(data, members.astype(np.float32), grid, group, backend, opened.source, progress)
        first, second = (np.multiply(half, mask, out=half) for half in maps)
        if out_dir is not None:
            for h, volume in enumerate((first, second), start=1):
                write_map(out_dir / f"{name.replace(' ', '_')}_half{h}.mrc", volume, pixel)
        curves = within(half_map_fsc(first, second, mask, pixel), grid.last_shell)
        resolution = resolution_at(curves.corrected, curves.resolution_angstrom)
        mean = np.asarray(0.5 * (first + second), dtype=np.float32)
        parts.append(Part(name, int(members.sum()), curves.masked, resolution, filtered_slices(mean, curves.masked)))
        if name != RANDOM:
            compared[name] = mean
    one, other = (parts[SETS.index(name)] for name in (LEFT_OUT, SELECTED))
    across = np.where(curves.shell <= grid.last_shell, fsc(compared[LEFT_OUT], compared[SELECTED]), 0.0)
    value, sd, last = signal_correlation(one.fsc, other.fsc, across, samples(mask, len(group)))
    shells = np.where(curves.shell > 0, curves.resolution_angstrom, np.nan)
    return Dropped(
        number=opened.log.number,
        parts=tuple(parts),
        n_left_out=int(np.count_nonzero(~selected)),
        shells_angstrom=curves.resolution_angstrom,
        across=across,
        correlation=value,
        correlation_sd=sd,
        signal_angstrom=float(shells[last]),
        selected_angstrom=float(shells[last_with_signal(other.fsc)]),
        pixel_size_angstrom=pixel,
    )


def filtered_slices(volume: Floats32, curve: Floats) -> tuple[Floats32, Floats32]:
    """Slices (y, x) and (z, x) through the middle of a map ``(n, n, n)``, ``(n, n)`` each.

    Each shell counts by how much of it is signal, by the FSC ``(shells,)``; 1 is what few voxels of the map are beyond.
    """
    n = len(volume)
    filtered = times(forward(volume, n, whole(n)), fsc_weight(curve, merged=True))
    reach = float(np.quantile(np.abs(filtered), MOST_VOXELS)) or 1.0
    return filtered[n // 2] / reach, filtered[:, n // 2] / reach


def drawn(selected: Bools, half: NDArray[np.int8], ids: NDArray[np.uint64], seed: int) -> dict[str, Bools]:
    """The particles of each of ``SETS`` as flags ``(n,)``, as many of each half set in all of them.

    Raises
    ------
    InputError  if fewer than 50 of a half set are left out, or selected.
    """
    chosen = {name: np.zeros(len(ids), dtype=bool) for name in SETS}
    for h in (1, 2):
        members = half == h
        pools = {LEFT_OUT: members & ~selected, RANDOM: members, SELECTED: members & selected}
        size = min(int(np.count_nonzero(pools[name])) for name in (LEFT_OUT, SELECTED))
        if size < FEWEST:
            scarce = min((LEFT_OUT, SELECTED), key=lambda name: np.count_nonzero(pools[name]))
            raise InputError(
                f"{np.count_nonzero(pools[scarce])} particles of half set {h} are {scarce}: too few for a map",
                fix=f"Choose a round where at least {FEWEST} of each half set are",
            )
        for name, pool in pools.items():
            rows = np.flatnonzero(pool)
            chosen[name][rows[hashed_order(ids[rows], seed=seed, stream=STREAM, most=size)]] = True
    return chosen


def samples(mask: Floats32, n_operators: int) -> Floats:
    """Independent samples of each shell within a mask ``(n, n, n)``, ``(shells,)``."""
    n = len(mask)
    counts = np.bincount(shell_index(n).ravel(), minlength=n // 2 + 1)[: n // 2 + 1]
    share = float(np.mean(mask.astype(np.float64) ** 2))
    return np.maximum(counts * share / n_operators, 1.0)


def signal_correlation(first: Floats, second: Floats, across: Floats, n: Floats) -> tuple[float, float, int]:
    """How the signals of two sets correlate: value, standard error, and the last shell that is looked at.

    NaN and 0 where no shell shows a signal of both.

    Parameters
    ----------
    first, second : (shells,)  FSC between the half maps of each set
    across : (shells,)  FSC between the maps of both
    n : (shells,)  independent samples
    """
    last = last_with_signal(np.minimum(first, second))
    if last == 0:
        return float("nan"), float("nan"), 0
    shells = slice(1, last + 1)
    f, g, c, m = first[shells], second[shells], across[shells], n[shells]
    whole = np.sqrt(2 * f / (1 + f) * (2 * g / (1 + g)))
    # relative variances of FSC ~ f with (1 - f²)² / n, and of F by its derivative
    relative = (1 - c**2) ** 2 / (m * whole**2)
    for own in (f, g):
        relative += 0.25 * ((1 - own**2) / (own * (1 + own))) ** 2 / m
    weight = 1.0 / np.maximum(relative, 1e-12)
    value = float(np.sum(weight * c / whole) / weight.sum())
    return value, float(1.0 / np.sqrt(weight.sum())), last


def last_with_signal(curve: Floats) -> int:
    """The last shell before a curve ``(shells,)`` first falls below ``SIGNAL_FSC``; 0 if shell 1 is below."""
    return int(np.argmin(np.append(curve[1:] >= SIGNAL_FSC, False)))
