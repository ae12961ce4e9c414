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

import numpy as np
from astropy_healpix import healpy
from numpy.typing import NDArray
from scipy.special import log_ndtr

from cryocore.cores import in_threads
from cryocore.maps.fsc import fsc_weight, resolution_at, shell_resolution
from cryocore.maps.transforms import Spectrum, forward, support
from cryocore.validate.stopping import Samples, fsc_variance, shared_sd

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Ints = NDArray[np.int64]

CONE_DEG = 20.0
NSIDE = 8
"""Cells in which coefficients are summed."""
NSIDE_CONES = 4
"""Axes of the cones, 14.7 degrees apart."""
BLOCKS = 8
"""Parts that planes are summed in, whatever the number of cores, so that sums are the same to the last bit."""
LEAST_SD = 1e-4
"""Differences of a mean FSC that are below this are none."""


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
        return _areas(self.curves)

    @property
    def area_ratio(self) -> float:
        """Smallest area over the largest, 0 to 1."""
        return _ratio(self.areas)

    @cached_property
    def resolutions(self) -> Floats:
        """Resolution (Å) of each cone at FSC 0.143, ``(cones,)``."""
        return np.array([resolution_at(c, self.resolution_angstrom, 0.143) for c in self.curves])

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
    axes, cells = cone_axes(), np.stack(healpy.pix2vec(NSIDE, np.arange(len(pair))), axis=1)
    inside = (np.abs(axes @ cells.T) >= np.cos(np.deg2rad(CONE_DEG))).astype(np.float64)
    cell_sums = sums.sum(axis=0).reshape(3, len(pair), last + 1)
    overall = _correlation(cell_sums.sum(axis=1, keepdims=True), np.zeros((1, last + 1)))[0]
    curves = _correlation(inside @ cell_sums, np.broadcast_to(overall, (len(axes), last + 1)))
    return DirectionalFsc(axes, curves, overall, shell_resolution(n, pixel_size_angstrom)[: last + 1])


def _add_plane(f: Spectrum, g: Spectrum, kz: int, pair: Ints, sums: Floats) -> None:
    """Add a plane ``(n, n // 2 + 1)`` of half transforms to sums ``(3, cells * shells)``, one of each pair of mates."""
    shells = sums.shape[1] // len(pair)
    ky, kx = np.mgrid[1 - shells : shells, 0:shells]
    shell = np.rint(np.sqrt(kx**2 + ky**2 + kz**2)).astype(np.int64)
    used = (shell < shells) & ((kx > 0) | (ky > 0) | ((ky == 0) & (kz > 0)))
    y, x = ky[used], kx[used]
    cell = pair[healpy.vec2pix(NSIDE, x, y, np.full_like(x, kz))]
    index = cell * shells + shell[used]
    f, g = f[y, x], g[y, x]
    products = (f.real * g.real + f.imag * g.imag, f.real**2 + f.imag**2, g.real**2 + g.imag**2)
    for total, values in zip(sums, products, strict=True):
        total += np.bincount(index, values, minlength=len(total))


def _pairs() -> Ints:
    """The lower number of each HEALPix cell and the one opposite."""
    cells = np.arange(12 * NSIDE**2)
    x, y, z = healpy.pix2vec(NSIDE, cells)
    return np.minimum(cells, healpy.vec2pix(NSIDE, -x, -y, -z))


def cone_axes() -> Floats:
    """Axes of the cones ``(96 or so, 3)``, one of each pair of opposite directions."""
    cells = np.arange(12 * NSIDE_CONES**2)
    x, y, z = healpy.pix2vec(NSIDE_CONES, cells)
    opposite = healpy.vec2pix(NSIDE_CONES, -x, -y, -z)
    return np.stack([x, y, z], axis=1)[cells < opposite]


def _correlation(sums: Floats, elsewhere: Floats) -> Floats:
    """FSC ``(cones, shells)`` of sums ``(3, cones, shells)``; 1 in shell 0, ``elsewhere`` where there is nothing."""
    power = np.sqrt(sums[1] * sums[2])
    curves = np.divide(sums[0], power, out=elsewhere.copy(), where=power > 0)
    curves[:, 0] = 1.0
    return np.asarray(curves)


@dataclass(frozen=True)
class ConeChange:
    """The directional FSC of two rounds.

    ``gain`` is the one number by which the signal-to-noise ratios of the earlier round explain the overall FSC of the
    later one: fewer particles from everywhere change the area ratio as well, to ``expected_ratio``.

    ``loss`` ``(cones,)`` is the mean FSC of each cone less what the gain predicts, over the shells with signal, and
    ``loss_sd`` its standard deviation by chance; ``p_value`` the chance of a loss as significant in some cone, were the
    gain all that happened.
    """

    before: DirectionalFsc
    after: DirectionalFsc
    gain: float
    expected_ratio: float
    loss: Floats
    loss_sd: Floats
    p_value: float

    @property
    def most_lost(self) -> int:
        """The cone with the most significant loss."""
        return int(np.argmin(self.loss / self.loss_sd))


def cone_change(
    before: DirectionalFsc, after: DirectionalFsc, samples: Samples, overlap: float, n_mates: int = 1
) -> ConeChange:
    """Compare the directional FSC of two rounds under one mask.

    Parameters
    ----------
    samples : of whole shells; see ``cryocore.validate.stopping.independent_samples``
    overlap : correlation of the noise of the rounds' maps; see ``cryocore.validate.stopping.noise_overlap``
    n_mates : order of the point group; mates of a cone are copies
    """
    used = np.flatnonzero(fsc_weight(before.overall)[1:] > 0) + 1
    gain = _gain(before.overall[used], float(after.overall[used].mean()))
    expected = before.curves.copy()
    expected[:, used] = _scaled(before.curves[:, used], gain)
    n = _in_cone(samples, used)
    slope = gain / np.maximum(1.0 + (gain - 1.0) * np.clip(before.curves[:, used], 0.0, 1.0), 1e-3) ** 2
    shells = shared_sd(
        slope**2 * fsc_variance(before.curves[:, used], n), fsc_variance(after.curves[:, used], n), overlap
    )
    sd = np.maximum(np.sqrt(samples.shells_coupled * np.sum(shells**2, axis=1)) / len(used), LEAST_SD)
    loss = (after.curves - expected)[:, used].mean(axis=1)
    # as many independent cones as fill the half sphere
    n_cones = max(1.0 / (1.0 - np.cos(np.deg2rad(CONE_DEG))) / n_mates, 1.0)
    p_value = -np.expm1(n_cones * log_ndtr(-(loss / sd).min()))
    return ConeChange(before, after, gain, _ratio(_areas(expected)), loss, sd, float(p_value))


def area_ratio_sd(fsc: DirectionalFsc, samples: Samples) -> float:
    """Standard deviation by chance of the area ratio: that of the worst cone's area over the largest."""
    shells = np.arange(1, fsc.curves.shape[1])
    variance = fsc_variance(fsc.curves[fsc.worst, 1:], _in_cone(samples, shells)).sum()
    return float(np.sqrt(samples.shells_coupled * variance) / len(shells) / max(fsc.areas.max(), LEAST_SD))


def _in_cone(samples: Samples, shells: NDArray[np.integer]) -> Floats:
    """Independent samples of some shells within a cone and the one opposite.

    Of two patches with the area of n coupled ones each, coefficients at the rim have fewer neighbours: where the
    coupling is Gaussian, the patches count as (sqrt(n) + 1 / pi)² each to first order in the rim's share.
    """
    patch = 0.5 * samples.per_shell[shells] * (1.0 - np.cos(np.deg2rad(CONE_DEG)))
    return np.asarray(2.0 * np.maximum(np.sqrt(patch) + 1.0 / np.pi, np.sqrt(0.5)) ** 2)


def _scaled(curves: Floats, gain: float) -> Floats:
    """FSC after the signal-to-noise ratio FSC / (1 - FSC) is multiplied by ``gain``."""
    limited = np.clip(curves, -0.3, 1.0)
    return np.asarray(gain * limited / np.maximum(1.0 + (gain - 1.0) * limited, 1e-3))


def _gain(curve: Floats, mean: float) -> float:
    """The gain that gives a curve this mean, between 0.01 and 100."""
    low, high = np.log(0.01), np.log(100.0)
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if _scaled(curve, float(np.exp(middle))).mean() < mean else (low, middle)
    return float(np.exp(middle))


def _areas(curves: Floats) -> Floats:
    return np.asarray(curves[:, 1:].mean(axis=1))


def _ratio(areas: Floats) -> float:
    return float(max(areas.min(), 0.0) / areas.max()) if areas.max() > 0 else 0.0
