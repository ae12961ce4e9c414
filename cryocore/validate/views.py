"""Viewing directions on the sphere: how many particles look from where."""

from __future__ import annotations

import healpix
import numpy as np
from numpy.typing import NDArray

from cryocore.types import Floats

Counts = NDArray[np.int64]


def nside_for(n: int) -> int:
    """HEALPix resolution (2 to 16) that leaves about thirty particles per cell.

    >>> nside_for(500), nside_for(4000), nside_for(10**6)
    (2, 2, 16)
    """
    fitting = [side for side in (4, 8, 16) if n >= 30 * 12 * side**2]
    return fitting[-1] if fitting else 2


def cell_counts(directions: Floats, nside: int, group: Floats | None = None) -> Counts:
    """Particles per HEALPix cell (ring order), ``(12 * nside**2,)``.

    Parameters
    ----------
    directions : (n, 3)  unit vectors in the frame of the object
    nside : resolution of the cells
    group : (m, 3, 3)  each particle counts once from each of its m equivalent directions; None: once
    """
    counts = np.zeros(12 * nside**2, dtype=np.int64)
    for mate in np.eye(3)[None] if group is None else group:
        x, y, z = (directions @ mate).T
        counts += np.bincount(healpix.vec2pix(nside, x, y, z), minlength=len(counts))
    return counts


def sphere_image(values: Floats, nside: int, height: int = 181) -> tuple[Floats, Floats, Floats]:
    """Values of cells on a grid of longitude and latitude (radians), for a Mollweide plot.

    Returns the grids ``(height + 1, 2 * height + 1)`` of the corners' longitudes and latitudes and the values
    ``(height, 2 * height)``.
    """
    longitude = np.linspace(-np.pi, np.pi, 2 * height + 1)
    latitude = np.linspace(-np.pi / 2, np.pi / 2, height + 1)
    lon, lat = (0.5 * (edges[1:] + edges[:-1]) for edges in (longitude, latitude))
    lon, lat = np.meshgrid(lon, lat)
    cells = healpix.vec2pix(nside, np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat))
    return *np.meshgrid(longitude, latitude), values[cells]
