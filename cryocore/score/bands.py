"""Resolution bands: groups of neighbouring shells of the map whose sums the log stores."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cryocore.backend import constant
from cryocore.imaging.image_geometry import ImageGeometry
from cryocore.types import Floats

LANES = constant("shared/blocked.cuh", "HOST_LANES")
"""Samples that the kernels take at a time on the host."""
SINGLE_SHELLS = 8
"""The innermost shells, where maps change fastest, have bands of their own."""


def band_edges(n_bands: int, last_shell: int) -> NDArray[np.int32]:
    """First shell of each band and, at the end, one past the last; fewer bands where there are too few shells.

    >>> band_edges(4, 100).tolist(), band_edges(24, 6).tolist()
    ([1, 2, 35, 68, 101], [1, 2, 3, 4, 5, 6, 7])
    """
    if n_bands >= last_shell:
        return np.arange(1, last_shell + 2, dtype=np.int32)
    single = min(SINGLE_SHELLS, n_bands // 3)
    rest = np.linspace(1 + single, last_shell + 1, n_bands - single + 1)
    return np.concatenate([np.arange(1, 1 + single), np.rint(rest)]).astype(np.int32)


@dataclass(frozen=True)
class BandSamples:
    """The image coefficients of each band: ``pairs`` int16 ``(m, 2)`` as (kx, ky), sorted by band; ``start`` int32."""

    pairs: NDArray[np.int16]
    start: NDArray[np.int32]

    @cached_property
    def lanes(self) -> tuple[NDArray[np.int16], NDArray[np.int32]]:
        """Pairs and starts as the kernels read them: bands filled up to a multiple of LANES with (0, 0).

        Prepared images and CTFs are 0 there, so that these samples add nothing.
        """
        size = np.diff(self.start)
        start = np.concatenate([[0], np.cumsum(-(-size // LANES) * LANES)]).astype(np.int32)
        pairs = np.zeros((start[-1], 2), dtype=np.int16)
        pairs[np.arange(len(self.pairs)) + np.repeat(start[:-1] - self.start[:-1], size)] = self.pairs
        return pairs, start

    @property
    def n_bands(self) -> int:
        """Number of bands, those without coefficients counted."""
        return len(self.start) - 1

    def first(self, n_bands: int) -> BandSamples:
        """The innermost bands alone."""
        return BandSamples(self.pairs[: self.start[n_bands]], self.start[: n_bands + 1])

    @property
    def coefficients(self) -> NDArray[np.int64]:
        """Number of coefficients per band, both Friedel mates counted."""
        return 2 * (self.start[1:] - self.start[:-1]).astype(np.int64)


def disc(frame: ImageGeometry) -> tuple[NDArray[np.int64], NDArray[np.bool_], Floats]:
    """Coefficients of a frame's half disc: (kx, ky) ``(2, 2r+1, r+1)``; of each whether it is used, and its shell.

    One of each Friedel pair is used. Shells are those of the map.
    """
    r = frame.limit
    ky, kx = np.mgrid[-r : r + 1, 0 : r + 1]
    squared = kx**2 + ky**2
    used = (squared <= r * r + r) & ((kx > 0) | (ky > 0))
    return np.stack([kx, ky]), used, np.rint(np.sqrt(squared) * frame.scale)


def band_samples(frame: ImageGeometry, edges: NDArray[np.int32]) -> BandSamples:
    """Sort the coefficients of a frame's disc, one of each Friedel pair, into the bands of the map."""
    places, used, shell = disc(frame)
    band = np.searchsorted(edges, shell[used], side="right") - 1
    pairs = places[:, used].T.astype(np.int16)
    inside = (band >= 0) & (band < len(edges) - 1)
    order = np.flatnonzero(inside)[np.argsort(band[inside], kind="stable")]
    start = np.concatenate([[0], np.cumsum(np.bincount(band[inside], minlength=len(edges) - 1))])
    return BandSamples(np.ascontiguousarray(pairs[order]), start.astype(np.int32))


def band_means(values: NDArray[np.float64], edges: NDArray[np.int32]) -> NDArray[np.float64]:
    """Mean over each band of values per shell, shells weighted by their number of image coefficients."""
    weight = np.arange(len(values), dtype=np.float64)
    sums = np.add.reduceat(np.append(values * weight, 0.0), edges)[:-1]
    return sums / np.add.reduceat(np.append(weight, 0.0), edges)[:-1]
