"""What particles that may be incorrect say of each direction of Fourier space.

If n particles with probabilities p of being correct count alike, what they say goes with (sum p)² / n; at best, each
weighted by its probability, with the sum of p².
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryocore.geometry.sampling import sampling_matrix
from cryocore.geometry.sphere import views_of
from cryocore.types import Bools, Floats, Ints

NSIDE = 8
"""Views are counted in bins of 7 degrees."""
COVERED = 0.5
"""A list covers a direction if it says this share of what weighted particles say of it."""


@dataclass(frozen=True)
class Coverage:
    """Particles with probabilities ``(n,)`` of being correct, in bins of views that sample 768 directions.

    ``matrix`` : ``(bins, 768)``
    """

    likely: Floats
    bin_index: Ints
    matrix: Floats

    @classmethod
    def of(cls, likely: NDArray[np.floating], views: Floats, group: Floats) -> Coverage:
        """Of viewing directions ``(n, 3)`` under a point group ``(m, 3, 3)``; NaN counts as incorrect."""
        bins = views_of(views, group, NSIDE)
        return cls(
            np.nan_to_num(likely).astype(np.float64),
            bins.bin_index,
            sampling_matrix(bins.centre, group).astype(np.float64),
        )

    @property
    def available(self) -> Floats:
        """What all particles say of each direction, each weighted by its probability, ``(768,)``."""
        return self._in_directions(self.likely**2)

    def of_list(self, listed: Bools) -> tuple[Floats, Floats]:
        """What a list ``(n,)`` says of each direction, and the mean probability there, ``(768,)`` each."""
        count, total = self._in_directions(listed.astype(np.float64)), self._in_directions(self.likely * listed)
        mean = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
        return mean * total, mean

    def _in_directions(self, values: Floats) -> Floats:
        counts = np.bincount(self.bin_index, weights=values, minlength=len(self.matrix))
        return np.asarray(np.einsum("b,bd->d", counts, self.matrix))


def uncovered(likely: NDArray[np.floating], listed: Bools, views: Floats, group: Floats) -> float:
    """Share of the directions of Fourier space that all particles cover, each weighted by its probability, and a list
    ``(n,)`` does not."""
    coverage = Coverage.of(likely, views, group)
    return float(np.mean(coverage.of_list(listed)[0] < COVERED * coverage.available))
