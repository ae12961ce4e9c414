"""Directional FSC: the correlation of two half maps within cones of Fourier space.

In each of many directions, the FSC counts only the coefficients within 20 degrees of it [1]_. The area ratio is that
of the direction with the smallest mean FSC to that with the largest, 1 where all directions are resolved alike; below
0.5 some are resolved much worse than others.

Coefficients are summed once, per shell and cell of 7 degrees; cones are sums of cells.

References
----------
.. [1] Tan et al. (2017), Nat. Methods 14, 793-796 (3DFSC).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import healpix
import numpy as np

from cryocore.cores import in_threads
from cryocore.geometry.sphere import centres
from cryocore.maps.curves import FscCurves
from cryocore.maps.fsc import resolution_at, shell_resolution
from cryocore.maps.mrc import read_map
from cryocore.maps.transforms import Spectrum, forward, support
from cryocore.types import Floats, Floats32, Ints

CONE_DEG = 20.0
NSIDE = 8
"""Cells in which coefficients are summed."""
NSIDE_CONES = 4
"""Axes of the cones, 14.7 degrees apart."""
BLOCKS = 8
"""Parts that planes are summed in, whatever the number of cores, so that sums are the same to the last bit."""


@dataclass(frozen=True)
class DirectionalFsc:
    """FSC in cones about ``direction`` ``(cones, 3)``: ``curves`` ``(cones, shells)``; ``overall``: in whole shells."""

    direction: Floats
    curves: Floats
    overall: Floats
    resolution_angstrom: Floats

    @cached_property
    def areas(self) -> Floats:
        """Mean FSC over shells of each cone, ``(cones,)``."""
        return mean_fsc(self.curves)

    @property
    def area_ratio(self) -> float:
        """Smallest area over the largest, 0 to 1."""
        return ratio_of(self.areas)

    @cached_property
    def resolutions(self) -> Floats:
        """Resolution (Å) of each cone at FSC 0.143, ``(cones,)``."""
        return np.array([resolution_at(c, self.resolution_angstrom) for c in self.curves])

    @property
    def worst(self) -> int:
        """The cone with the smallest area."""
        return int(np.argmin(self.areas))


def directional_fsc(
    first: Floats32, second: Floats32, mask: Floats32, pixel_size_angstrom: float, last: int | None = None
) -> DirectionalFsc:
    """FSC in cones of two half maps ``(n, n, n)`` under a mask, in the shells up to ``last``.

    Default: all shells below Nyquist. Where a cone holds nothing of a shell, its value is that of the whole shell.
    """
    n = len(first)
    last = (n - 1) // 2 if last is None else min(last, (n - 1) // 2)
    window = support(mask)
    a, b = (forward(v[window] * mask[window], n, window) for v in (first, second))
    pair = _pairs()
    sums = np.zeros((BLOCKS, 3, len(pair) * (last + 1)))

    def add_up(block: int) -> None:
        for kz in range(block - last, last + 1, BLOCKS):
            _add_plane(a[kz], b[kz], kz, pair, sums[block])

    in_threads(add_up, range(BLOCKS))
    axes, cells = cone_axes(), centres(NSIDE)
    inside = (np.abs(axes @ cells.T) >= np.cos(np.deg2rad(CONE_DEG))).astype(np.float64)
    cell_sums = sums.sum(axis=0).reshape(3, len(pair), last + 1)
    overall = _correlation(cell_sums.sum(axis=1, keepdims=True), np.zeros((1, last + 1)))[0]
    curves = _correlation(inside @ cell_sums, np.broadcast_to(overall, (len(axes), last + 1)))
    return DirectionalFsc(axes, curves, overall, shell_resolution(n, pixel_size_angstrom)[: last + 1])


def round_cones(round_dir: Path) -> DirectionalFsc:
    """Directional FSC of the half maps of a round under its mask, in the shells in use."""
    curves = FscCurves.read(round_dir / "fsc.parquet")
    mask, pixel = read_map(round_dir / "mask.mrc")
    first, second = (read_map(round_dir / f"half{h}.mrc")[0] for h in (1, 2))
    return directional_fsc(first, second, mask, pixel, int(np.flatnonzero(curves.masked).max(initial=1)))


def cone_metrics(fsc: DirectionalFsc) -> dict[str, float]:
    """The directional FSC of a round as single values."""
    return {
        "fsc_area_ratio": round(fsc.area_ratio, 6),
        "worst_direction_resolution_angstrom": round(float(fsc.resolutions.max()), 4),
        "best_direction_resolution_angstrom": round(float(fsc.resolutions.min()), 4),
    }


def _add_plane(f: Spectrum, g: Spectrum, kz: int, pair: Ints, sums: Floats) -> None:
    """Add a plane ``(n, n // 2 + 1)`` of half transforms to sums ``(3, cells * shells)``, one of each pair of mates."""
    shells = sums.shape[1] // len(pair)
    ky, kx = np.mgrid[1 - shells : shells, 0:shells]
    shell = np.rint(np.sqrt(kx**2 + ky**2 + kz**2)).astype(np.int64)
    used = (shell < shells) & ((kx > 0) | (ky > 0) | ((ky == 0) & (kz > 0)))
    y, x = ky[used], kx[used]
    cell = pair[healpix.vec2pix(NSIDE, x, y, np.full_like(x, kz))]
    index = cell * shells + shell[used]
    f, g = f[y, x], g[y, x]
    products = (f.real * g.real + f.imag * g.imag, f.real**2 + f.imag**2, g.real**2 + g.imag**2)
    for total, values in zip(sums, products, strict=True):
        total += np.bincount(index, values, minlength=len(total))


def _pairs() -> Ints:
    """The lower number of each HEALPix cell and the one opposite."""
    return np.minimum(np.arange(12 * NSIDE**2), healpix.vec2pix(NSIDE, *-centres(NSIDE).T))


def cone_axes() -> Floats:
    """Axes of the cones ``(96 or so, 3)``, one of each pair of opposite directions."""
    axes = centres(NSIDE_CONES)
    return axes[np.arange(len(axes)) < healpix.vec2pix(NSIDE_CONES, *-axes.T)]


def _correlation(sums: Floats, elsewhere: Floats) -> Floats:
    """FSC ``(cones, shells)`` of sums ``(3, cones, shells)``; 1 in shell 0, ``elsewhere`` where there is nothing."""
    power = np.sqrt(sums[1] * sums[2])
    curves = np.divide(sums[0], power, out=elsewhere.copy(), where=power > 0)
    curves[:, 0] = 1.0
    return np.asarray(curves)


def mean_fsc(curves: Floats) -> Floats:
    """Mean over shells from 1 of curves ``(cones, shells)``."""
    return np.asarray(curves[:, 1:].mean(axis=1))


def ratio_of(areas: Floats) -> float:
    """The smallest over the largest, 0 to 1."""
    return float(max(areas.min(), 0.0) / areas.max()) if areas.max() > 0 else 0.0
