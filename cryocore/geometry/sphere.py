"""Viewing directions on the sphere, sorted into HEALPix bins of equal area (ring order)."""

from __future__ import annotations

from dataclasses import dataclass

import healpix
import numpy as np

from cryocore.types import Floats, Ints

PER_BIN = 30
"""Particles that a bin of a figure has on average, or more."""
BLOCK = 16_384
"""Views that are reduced to the asymmetric unit at a time."""
DECIMALS = 9
"""To which directions are rounded: poses on a grid lie on the borders of bins, where a last bit would decide."""
DENSITY_NSIDE = 8
KERNEL_DEG = 8.0
"""Resolution of the bins in which densities are counted, 7 degrees, and standard deviation of what smooths them."""
_REFERENCE = np.array([0.2673, 0.5345, 0.8018])
"""A direction on no symmetry axis or plane: of its symmetry equivalents each direction is represented by the one
nearest to it."""


@dataclass(frozen=True)
class Views:
    """Viewing directions modulo the point group.

    ``bin_index`` : (n,), the bin of each particle, from 0; bins without a particle have no number
    ``centre`` : (bins, 3), the mean direction of those in it
    """

    bin_index: Ints
    centre: Floats


def views_of(directions: Floats, group: Floats, nside: int) -> Views:
    """Sort viewing directions ``(n, 3)`` into bins, all symmetry equivalents under the point group ``(m, 3, 3)`` in
    the same one."""
    pixel = np.empty(len(directions), dtype=np.int64)
    sums = np.zeros((3, 12 * nside**2))
    for start in range(0, len(directions), BLOCK):
        block = slice(start, start + BLOCK)
        equivalents = in_asymmetric_unit(directions[block], group).T
        pixel[block] = healpix.vec2pix(nside, *equivalents)
        for total, values in zip(sums, equivalents, strict=True):
            total += np.bincount(pixel[block], weights=values, minlength=len(total))
    found = np.bincount(pixel, minlength=12 * nside**2) > 0
    centre = sums.T[found] / np.linalg.norm(sums.T[found], axis=1, keepdims=True)
    return Views((np.cumsum(found) - 1)[pixel], centre)


def in_asymmetric_unit(directions: Floats, group: Floats) -> Floats:
    """Of each viewing direction ``(n, 3)`` the symmetry equivalent that represents it, ``(n, 3)``."""
    nearness = np.round(directions @ (group @ _REFERENCE).T, DECIMALS)
    return np.round(np.einsum("nj,njk->nk", directions, group[np.argmax(nearness, axis=1)]), DECIMALS)


def nside_for(n: int, per_bin: int = PER_BIN, coarsest: int = 2) -> int:
    """HEALPix resolution, up to 16, at which ``n`` directions are ``per_bin`` or more in a bin on average.

    >>> nside_for(500), nside_for(4000), nside_for(10**6)
    (2, 2, 16)
    """
    return next((side for side in (16, 8, 4, 2) if 12 * per_bin * side**2 <= n), coarsest)


def densities(directions: Floats, group: Floats) -> Floats:
    """How many views ``(n,)`` lie around each of the directions ``(n, 3)``, per view of an even spread.

    Views and their symmetry equivalents under the point group ``(m, 3, 3)`` are counted in HEALPix bins, and spread by
    a kernel of 8 degrees.
    """
    middles, rounded = centres(DENSITY_NSIDE), np.round(directions, DECIMALS)
    counts = bin_counts(rounded, DENSITY_NSIDE, group)
    kernel = np.exp((middles @ middles.T - 1.0) / np.deg2rad(KERNEL_DEG) ** 2)
    smooth = np.einsum("ij,j->i", kernel / kernel.mean(axis=1, keepdims=True), counts) / max(counts.sum(), 1.0)
    return np.asarray(smooth[healpix.vec2pix(DENSITY_NSIDE, *rounded.T)])


def bin_counts(directions: Floats, nside: int, group: Floats | None = None, weights: Floats | None = None) -> Floats:
    """Particles per bin, ``(12 * nside**2,)``.

    Parameters
    ----------
    directions : (n, 3)  unit vectors in the frame of the object
    nside : resolution of the bins
    group : (m, 3, 3)  each particle counts once from each of its m equivalent directions; None: once
    weights : (n,)  what each particle counts; None: 1
    """
    counts = np.zeros(12 * nside**2)
    for operator in np.eye(3)[None] if group is None else group:
        counts += np.bincount(
            healpix.vec2pix(nside, *(directions @ operator).T), weights=weights, minlength=len(counts)
        )
    return counts


def spread_over(directions: Floats, nside: int, group: Floats) -> Floats:
    """Shares ``(n, 12 * nside**2)`` of each direction ``(n, 3)`` in the bins that it and its equivalents under the
    point group ``(m, 3, 3)`` lie in."""
    shares = np.zeros((len(directions), 12 * nside**2))
    for operator in group:
        np.add.at(
            shares, (np.arange(len(directions)), healpix.vec2pix(nside, *(directions @ operator).T)), 1 / len(group)
        )
    return shares


def centres(nside: int) -> Floats:
    """Directions of the middles of all bins, ``(12 * nside**2, 3)``."""
    return np.stack(healpix.pix2vec(nside, np.arange(12 * nside**2)), axis=1)


def sphere_image(values: Floats, nside: int, height: int = 181) -> tuple[Floats, Floats, Floats]:
    """Values of bins on a grid of longitude and latitude (radians), for a Mollweide plot.

    Returns the grids ``(height + 1, 2 * height + 1)`` of the corners' longitudes and latitudes and the values
    ``(height, 2 * height)``.
    """
    longitude = np.linspace(-np.pi, np.pi, 2 * height + 1)
    latitude = np.linspace(-np.pi / 2, np.pi / 2, height + 1)
    lon, lat = (0.5 * (edges[1:] + edges[:-1]) for edges in (longitude, latitude))
    lon, lat = np.meshgrid(lon, lat)
    bins = healpix.vec2pix(nside, np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat))
    return *np.meshgrid(longitude, latitude), values[bins]


def bin_outlines(nside: int, per_edge: int = 4) -> list[list[tuple[Floats, Floats]]]:
    """Longitudes and latitudes (radians) of the corners of polygons that bins are made of, ``per_edge`` points an edge.

    A bin that the longitude π goes through is two polygons. In the projection that HEALPix is defined by (Górski et
    al. 2005) all bins are squares that stand on a corner.
    """
    along = np.arange(per_edge) / per_edge
    half = np.pi / 4 / nside
    x = half * np.concatenate([along, 1 - along, -along, along - 1])
    y = half * np.concatenate([1 - along, -along, along - 1, along])
    found = []
    for centre in zip(*_flattened(*centres(nside).T), strict=True):
        polygons = []
        for turn in (-2 * np.pi, 0.0, 2 * np.pi):
            across = np.clip(centre[0] + x + turn, -np.pi, np.pi)
            if np.ptp(across) > 1e-9:
                polygons.append(_on_sphere(across, centre[1] + y, centre[0] + turn))
        found.append(polygons)
    return found


def _flattened(x: Floats, y: Floats, z: Floats) -> tuple[Floats, Floats]:
    """Directions in the plane of the HEALPix projection."""
    longitude = np.arctan2(y, x)
    narrow = np.sqrt(3.0 * np.maximum(1.0 - np.abs(z), 0.0))
    facet = np.pi / 4 * (2 * np.floor(2 * longitude / np.pi) + 1)
    polar = np.abs(z) > 2 / 3
    across = np.where(polar, facet + (longitude - facet) * narrow, longitude)
    up = np.where(polar, np.sign(z) * np.pi / 4 * (2 - narrow), 3 * np.pi / 8 * z)
    return across, up


def _on_sphere(across: Floats, up: Floats, middle: float) -> tuple[Floats, Floats]:
    """Longitudes and latitudes of points of that plane, of the facet that holds ``middle``."""
    narrow = np.clip(2 - 4 * np.abs(up) / np.pi, 0.0, 1.0)
    facet = np.pi / 4 * (2 * np.floor(2 * middle / np.pi) + 1)
    polar = np.abs(up) > np.pi / 4
    offset = np.divide(across - facet, narrow, out=np.zeros_like(across), where=narrow > 1e-9)
    longitude = np.where(polar, facet + np.clip(offset, -np.pi / 4, np.pi / 4), across)
    height = np.where(polar, np.sign(up) * (1 - narrow**2 / 3), 8 * up / (3 * np.pi))
    return np.clip(longitude, -np.pi, np.pi), np.arcsin(np.clip(height, -1.0, 1.0))
