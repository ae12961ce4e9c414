"""Soft masks: a ball, and one that follows the molecule."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import ArrayLike

from cryocore.backend.fourier import map_of_transform, transform_of_map
from cryocore.conventions import centre
from cryocore.maps.transforms import Window, support
from cryocore.statistics import centre_and_spread
from cryocore.types import Bools, Floats32

LOW_PASS_ANGSTROM = 15.0
LOW_PASS_SHELLS = 12.0
LOW_PASS_LEFT = 48
FEWEST_SHELLS = 4.0
PLATEAU_SHARE = 0.25
NOISE_DEVIATIONS = 5.0
COMPONENT_SHARE = 0.1
DILATION_ANGSTROM = 6.0
DILATION_SHARE = 0.25
EDGE_PIXELS = 6.0
REASONABLE = (0.003, 0.6)
"""Share of the ball inscribed in the box that a molecule may fill."""

log = logging.getLogger(__name__)


def soft_ball(n: int, radius: float, edge: float) -> Floats32:
    """A ball about the origin ``(n, n, n)``: 1 up to ``radius``, a raised cosine to 0 at ``radius + edge`` (pixels).

    >>> soft_ball(12, radius=2, edge=3)[6, 6, 6:].round(2).tolist()
    [1.0, 1.0, 1.0, 0.75, 0.25, 0.0]
    """
    return _soft(_radius(n) - radius, edge)


def automatic_mask(volume: ArrayLike, pixel_size_angstrom: float) -> Floats32:
    """A soft mask ``(n, n, n)``, 0 to 1, around the molecule of a map.

    The map is low-passed to 15 Å or 12 shells, and further until the molecule stands out of the noise outside. It is
    cut at a quarter of the molecule's density or well above that noise, whichever is higher; the large connected
    parts are filled, grown by the largest of 6 Å, 2 pixels and a quarter of the low-pass, and given a cosine edge.
    Where the result cannot be a molecule (too small, too large) a ball takes its place, and the log says so.
    """
    density = np.asarray(volume, dtype=np.float32)
    n = density.shape[0]
    radius = _radius(n)
    parts, share, cut_off = _molecule(density, radius, pixel_size_angstrom)
    edge = min(EDGE_PIXELS, n / 8)
    outer = n // 2 - 1 - edge
    if not REASONABLE[0] <= share <= REASONABLE[1]:
        log.warning(
            "The automatic mask would fill %.2g %% of the box's ball; a soft ball is used instead.", 100 * share
        )
        if REASONABLE[0] <= _molecule(-density, radius, pixel_size_angstrom)[1] <= REASONABLE[1]:
            log.warning("The molecule looks dark: were the particles extracted with inverted contrast (white)?")
        return _soft(radius - outer, edge)
    growth = max(DILATION_ANGSTROM / pixel_size_angstrom, 2.0, DILATION_SHARE * n / cut_off)
    around = _around(parts, growth + edge)
    from scipy import ndimage  # slow to import, and few rounds make a mask

    grown = _soft(ndimage.distance_transform_edt(~parts[around]).astype(np.float32) - growth, edge)
    mask = np.zeros_like(density)
    mask[around] = np.minimum(grown, _soft(radius[around] - outer, edge))
    return mask


def _molecule(density: Floats32, radius: Floats32, pixel_size_angstrom: float) -> tuple[Bools, float, float]:
    """The large parts that stand out of the noise, their share of the box's ball, and the low-pass shell."""
    n = density.shape[0]
    ball = radius <= n // 2 - 1
    finest = min(n * pixel_size_angstrom / LOW_PASS_ANGSTROM, LOW_PASS_SHELLS)
    smooth, threshold, cut_off = _smooth_and_cut(density, finest)
    parts = _large_parts((smooth > threshold) & ball)
    return parts, float(parts.sum() / ball.sum()), cut_off


def _radius(n: int) -> Floats32:
    axis = np.square(np.arange(n, dtype=np.float32) - centre(n))
    return np.sqrt(axis[:, None, None] + axis[:, None] + axis)


def _soft(distance: Floats32, edge: float) -> Floats32:
    """1 where ``distance`` <= 0, 0 from ``edge`` on, a raised cosine between."""
    if edge <= 0:
        return (distance <= 0).astype(np.float32)
    share = np.clip(distance / edge, 0.0, 1.0)
    share *= np.pi
    np.cos(share, out=share)
    share *= 0.5
    share += 0.5
    return share.astype(np.float32, copy=False)


def _smooth_and_cut(volume: Floats32, cut_off_shell: float) -> tuple[Floats32, float, float]:
    """The low-passed map, the density between solvent and molecule, and the shell of the low-pass.

    The Gaussian low-pass (amplitude 1/e at ``cut_off_shell``) tightens until the noise allows the threshold. It leaves
    so little beyond :data:`LOW_PASS_LEFT` shells that the noise is measured on a coarser map.
    """
    n = len(volume)
    coarse = min(n, 2 * LOW_PASS_LEFT)
    radius = (coarse - 1) // 2 - 1
    transform = transform_of_map(volume, n, radius)
    along = np.arange(-(radius + 1), radius + 2) ** 2
    squares = along[:, None] + along
    distance = _radius(coarse) * (n / coarse)
    outside, ball = (distance > 0.42 * n) & (distance <= n // 2), distance <= n // 2
    shells = np.rint(np.sqrt(np.arange(3 * (radius + 1) ** 2 + 1)))
    passed = np.empty_like(transform)
    while True:
        fall = np.exp(-np.square(shells / cut_off_shell)).astype(np.float32)
        for kz, plane in enumerate(transform):
            np.multiply(plane, np.take(fall[kz**2 :], squares), out=passed[kz])
        smooth = map_of_transform([passed], coarse, coarse, radius, scale=n**-3)
        solvent, spread = centre_and_spread(smooth[outside])
        noise = NOISE_DEVIATIONS * spread
        height = float(np.percentile(smooth[ball], 99.5)) - solvent
        if noise <= 2.0 * PLATEAU_SHARE * height or cut_off_shell <= FEWEST_SHELLS:
            if coarse < n:
                smooth = map_of_transform([passed], n, n, radius, scale=n**-3)
            return smooth, solvent + max(PLATEAU_SHARE * height, noise), cut_off_shell
        cut_off_shell = max(0.75 * cut_off_shell, FEWEST_SHELLS)


def _large_parts(binary: Bools) -> Bools:
    from scipy import ndimage  # slow to import, and few rounds make a mask

    around = support(binary)
    labels, count = ndimage.label(binary[around])
    if count == 0:
        return binary
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    parts = (sizes >= COMPONENT_SHARE * sizes.max())[labels]
    inside = support(parts)
    parts[inside] = ndimage.binary_fill_holes(parts[inside])
    large = np.zeros_like(binary)
    large[around] = parts
    return large


def _around(binary: Bools, reach: float) -> Window:
    """The window of all that is within ``reach`` (pixels) of a true voxel."""
    margin = int(np.ceil(reach)) + 1
    z, y, x = (slice(max(s.start - margin, 0), s.stop + margin) for s in support(binary))
    return z, y, x
