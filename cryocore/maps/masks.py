"""Soft masks: a ball, and one that follows the molecule."""

from __future__ import annotations

import logging

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from cryocore.conventions import centre
from cryocore.maps.fsc import shell_index

Floats32 = NDArray[np.float32]
Bools = NDArray[np.bool_]

LOW_PASS_ANGSTROM = 15.0
LOW_PASS_SHELLS = 12.0
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
    """A ball about the origin ``(n, n, n)``: 1 up to ``radius``, a raised cosine to 0 at ``radius + edge`` (pixels)."""
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
    outer = _soft(radius - (n // 2 - 1 - edge), edge)
    if not REASONABLE[0] <= share <= REASONABLE[1]:
        log.warning(
            "The automatic mask would fill %.2g %% of the box's ball; a soft ball is used instead.", 100 * share
        )
        if REASONABLE[0] <= _molecule(-density, radius, pixel_size_angstrom)[1] <= REASONABLE[1]:
            log.warning("The molecule looks dark: were the particles extracted with inverted contrast (white)?")
        return outer
    growth = max(DILATION_ANGSTROM / pixel_size_angstrom, 2.0, DILATION_SHARE * n / cut_off)
    return np.minimum(_soft(_distance(parts, growth + edge) - growth, edge), outer)


def _molecule(density: Floats32, radius: Floats32, pixel_size_angstrom: float) -> tuple[Bools, float, float]:
    """The large parts that stand out of the noise, their share of the box's ball, and the low-pass shell."""
    n = density.shape[0]
    ball = radius <= n // 2 - 1
    finest = min(n * pixel_size_angstrom / LOW_PASS_ANGSTROM, LOW_PASS_SHELLS)
    smooth, threshold, cut_off = _smooth_and_cut(density, radius, finest)
    parts = _large_parts((smooth > threshold) & ball)
    return parts, float(parts.sum() / ball.sum()), cut_off


def _radius(n: int) -> Floats32:
    axis = np.square(np.arange(n, dtype=np.float32) - centre(n))
    return np.sqrt(axis[:, None, None] + axis[:, None] + axis)


def _soft(distance: Floats32, edge: float) -> Floats32:
    """1 where ``distance`` <= 0, 0 from ``edge`` on, a raised cosine between."""
    if edge <= 0:
        return (distance <= 0).astype(np.float32)
    return (0.5 + 0.5 * np.cos(np.pi * np.clip(distance / edge, 0.0, 1.0))).astype(np.float32)


def _smooth_and_cut(volume: Floats32, radius: Floats32, cut_off_shell: float) -> tuple[Floats32, float, float]:
    """The low-passed map, the density between solvent and molecule, and the shell of the low-pass.

    The Gaussian low-pass (amplitude 1/e at ``cut_off_shell``) tightens until the noise allows the threshold.
    """
    n = volume.shape[0]
    spectrum, shells = scipy.fft.rfftn(volume), shell_index(n).astype(np.float32)
    outside, ball = (radius > 0.42 * n) & (radius <= n // 2), radius <= n // 2
    while True:
        fall = np.exp(-np.square(shells / np.float32(cut_off_shell)))
        smooth = scipy.fft.irfftn(spectrum * fall, s=volume.shape)
        solvent = float(np.median(smooth[outside]))
        noise = NOISE_DEVIATIONS * 1.4826 * float(np.median(np.abs(smooth[outside] - solvent)))
        height = float(np.percentile(smooth[ball], 99.5)) - solvent
        if noise <= 2.0 * PLATEAU_SHARE * height or cut_off_shell <= FEWEST_SHELLS:
            return smooth, solvent + max(PLATEAU_SHARE * height, noise), cut_off_shell
        cut_off_shell = max(0.75 * cut_off_shell, FEWEST_SHELLS)


def _large_parts(binary: Bools) -> Bools:
    labels, count = ndimage.label(binary)
    if count == 0:
        return binary
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return ndimage.binary_fill_holes((sizes >= COMPONENT_SHARE * sizes.max())[labels])


def _distance(binary: Bools, reach: float) -> Floats32:
    """Distance (pixels) to the nearest true voxel, exact up to ``reach``."""
    margin = int(np.ceil(reach)) + 1
    window = tuple(
        slice(max(s.start - margin, 0), s.stop + margin) for s in ndimage.find_objects(binary.astype(np.int8))[0]
    )
    distance = np.full(binary.shape, np.inf, dtype=np.float32)
    distance[window] = ndimage.distance_transform_edt(~binary[window])
    return distance
