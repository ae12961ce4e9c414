"""Local resolution: the FSC of half maps in small windows, the same ones for all lists.

As in Cardone, Heymann & Steven 2013, J. Struct. Biol. 184, 226: both half maps are cut by the same soft sphere, here at
some places of a region.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from cryocore.maps.fsc import fsc, resolution_at, shell_resolution
from cryocore.maps.masks import soft_ball
from cryocore.types import Floats, Floats32, Ints

DIAMETER_RESOLUTIONS = 6.0
"""Diameter of a window over the resolution at an FSC of 0.5: fewer hold too few samples to tell."""
LEAST_RADIUS, EDGE = 6.0, 3.0
"""Voxels."""
MOST_WINDOWS = 300
LOCAL_FSC = 0.5
"""Where the local resolution is read: windows are too small for less."""


@dataclass(frozen=True)
class Windows:
    """Soft spheres in which half maps are compared.

    ``centres`` : voxels ``(m, 3)`` as z, y, x
    ``radius`` : in voxels, to where the soft edge begins
    ``last_frequency`` : cycles per voxel, up to which shells are in use
    """

    centres: Ints
    radius: float
    last_frequency: float

    @classmethod
    def within(cls, region: Floats32, resolution_voxels: float, last_frequency: float, seed: int) -> Self:
        """Windows about points of a region ``(n, n, n)``, 0 to 1, half a window apart.

        ``resolution_voxels`` : that of all particles, which the size of the windows follows
        """
        n = len(region)
        radius = float(np.clip(0.5 * DIAMETER_RESOLUTIONS * resolution_voxels, LEAST_RADIUS, n / 6))
        step, rng = max(1, round(radius)), np.random.default_rng(seed)
        along = (np.arange(start, n, step) for start in rng.integers(0, step, 3))
        points = np.stack(np.meshgrid(*along, indexing="ij"), axis=-1).reshape(-1, 3)
        inside = points[region[tuple(points.T)] > 0.5]
        if not len(inside):
            inside = np.argwhere(region == region.max())[:1]
        chosen = rng.permutation(len(inside))[:MOST_WINDOWS]
        return cls(inside[np.sort(chosen)], radius, last_frequency)

    @property
    def side(self) -> int:
        """Of the cube that holds a window, in voxels."""
        return 2 * int(np.ceil(self.radius + EDGE)) + 2

    @property
    def last_shell(self) -> int:
        """The last shell of a window in use."""
        return min(int(self.last_frequency * self.side), self.side // 2)

    def curves(self, halves: tuple[Floats32, Floats32]) -> Floats:
        """FSC of half maps ``(n, n, n)`` in each window, ``(m, last_shell + 1)``."""
        side, ball = self.side, soft_ball(self.side, self.radius, EDGE)
        padded = [np.pad(half, side // 2) for half in halves]
        found = np.empty((len(self.centres), self.last_shell + 1))
        for curve, centre in zip(found, self.centres, strict=True):
            at = tuple(slice(c, c + side) for c in centre)
            curve[:] = fsc(*(half[at] * ball for half in padded))[: len(curve)]
        return found

    def areas(self, curves: Floats) -> Floats:
        """Mean of each curve over the shells in use from 1 on, ``(m,)``."""
        return np.asarray(curves[:, 1:].mean(axis=1))

    def resolutions(self, curves: Floats, pixel_size_angstrom: float) -> Floats:
        """Local resolution (Å) in each window, ``(m,)``: where its FSC falls below :data:`LOCAL_FSC`."""
        at = shell_resolution(self.side, pixel_size_angstrom)[: self.last_shell + 1]
        return np.array([resolution_at(curve, at, LOCAL_FSC) for curve in curves])
