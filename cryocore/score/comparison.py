"""What particles are compared with in a pass, and whose maps score whom."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cryocore.backend import Backend
from cryocore.config.score import Score
from cryocore.formats.stacks import Source
from cryocore.hashing import hashed_uniform
from cryocore.imaging.volumes import map_to_grid
from cryocore.imaging.voxels import pack_voxels
from cryocore.score.reference import Reference
from cryocore.types import Floats32

ALTERNATIVE_SHARE = 0.99
"""Of what the map distinguishes poses by: alternative poses are compared in the innermost bands that hold so much of
it."""


@dataclass(frozen=True)
class Folds:
    """Half maps that lack one fold of the particles each: it is those that they score.

    ``maps`` : ``(k, 2, n, n, n)``, masked, by fold and half set
    """

    maps: Floats32
    seed: int

    def __len__(self) -> int:
        return len(self.maps)

    def of(self, ids: NDArray[np.uint64]) -> NDArray[np.intp]:
        """The fold of each particle, ``(n,)``, by the id of its image."""
        return fold_of(ids, len(self), self.seed)


def informative_bands(signal: NDArray[np.float64], power: NDArray[np.float64], noise: NDArray[np.float64]) -> int:
    """How many of the innermost bands distinguish poses.

    What a band tells is W² e / σ² of its centred slices.

    Parameters
    ----------
    signal : ``(bands,)``, share of the map that is signal
    power : ``(2, bands)``, of the half maps' slices
    noise : ``(optics groups, bands)``, infinite in bands that the images do not reach; 0 in groups without particles

    >>> informative_bands(np.array([1.0, 0.9, 0.1, 0.0]), np.full((2, 4), 2.0), np.ones((1, 4)))
    2
    """
    inverse = np.divide(1.0, noise, out=np.zeros_like(noise), where=noise > 0)
    told = np.cumsum(signal**2 * power.mean(axis=0) * inverse.mean(axis=0))
    return int(np.searchsorted(told, ALTERNATIVE_SHARE * told[-1])) + 1


def fold_of(ids: NDArray[np.uint64], n_folds: int, seed: int) -> NDArray[np.intp]:
    """The fold of each particle, ``(n,)``, from 0: a function of the id of its image and the seed."""
    return (hashed_uniform(ids, 1, seed=seed, stream=5)[:, 0] * n_folds).astype(np.intp)


@dataclass(frozen=True)
class Comparison:
    """What the particles of a pass are compared with.

    ``poses`` : the quaternions ``(m, 4)`` of the whole data set, from which random poses are drawn
    ``group`` : the rotations ``(g, 3, 3)`` of the point group, modulo which alternative poses are no closer to the own
    pose than they should
    ``alternative_bands`` : how many of the innermost bands alternative poses are summed in, if any are
    ``folds`` : who scores in place of the reference's own maps, if anyone
    """

    reference: Reference
    settings: Score
    seed: int
    backend: Backend
    source: Source
    poses: NDArray[np.float64]
    group: NDArray[np.float64]
    alternative_bands: int = 0
    folds: Folds | None = None

    def with_maps(self, maps: Floats32) -> Comparison:
        """The same with masked half maps ``(2, n, n, n)`` to score all particles, none of which is in them."""
        grid = self.reference.voxels.grid
        backend = self.backend
        grids = (map_to_grid(backend.to_device(half), grid, backend) for half in maps)
        voxels = pack_voxels(grids, len(maps), grid, backend)
        return replace(self, reference=replace(self.reference, voxels=voxels), folds=None)
