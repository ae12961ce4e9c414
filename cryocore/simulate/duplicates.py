"""Particles that are there twice on purpose: their image is cut from the picture of another one, some pixels beside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cryocore.config.plant import PlantedErrors
from cryocore.errors import InputError
from cryocore.types import Floats32, Ints

STREAM = 1
"""Number of the random stream that duplicates are drawn from: what else is drawn does not depend on them."""

Backdrop = Callable[[int, np.random.Generator], tuple[Floats32, float]]


@dataclass(frozen=True)
class Duplicates:
    """The rows ``(m,)`` of duplicates and of their originals, and where the images are cut.

    ``offset`` ``(m, 2)`` is that of the duplicate's box from its original's, whole pixels as (x, y). A pair has a
    generator of its own, so that both images are cut from one picture, whenever each is made.
    """

    row: Ints
    original: Ints
    offset: Ints
    seed: int

    def __len__(self) -> int:
        return len(self.row)

    @property
    def reach(self) -> int:
        """Pixels by which the largest picture is larger than a box."""
        return int(np.abs(self.offset).max(initial=0))

    def originals(self, ids: NDArray[np.uint64]) -> pa.Array:
        """The id of the particle that each of ``ids`` ``(n,)`` is a duplicate of, null for all others."""
        found = np.zeros(len(ids), dtype=np.uint64)
        found[self.row] = ids[self.original]
        return pa.array(found, pa.uint64(), mask=~np.isin(np.arange(len(ids)), self.row))

    def backdrops(self, rows: Ints, box: int, draw: Backdrop) -> Iterator[tuple[int, Floats32, float]]:
        """What is behind the particles of pairs among ``rows`` ``(n,)``: place in rows, pixels (box, box) and scale.

        ``draw`` makes a square of noise of some side, and a scale, from a generator.
        """
        for of_duplicate, members in ((True, self.row), (False, self.original)):
            for i in np.flatnonzero(np.isin(rows, members)).tolist():
                pair = int(np.flatnonzero(members == rows[i])[0])
                x, y = self.offset[pair].tolist()
                picture, scale = draw(box + max(abs(x), abs(y)), np.random.default_rng((self.seed, STREAM, pair)))
                # the picture reaches from the lower of the two boxes to the higher, along both axes
                x, y = (max(x, 0), max(y, 0)) if of_duplicate else (max(-x, 0), max(-y, 0))
                yield i, picture[y : y + box, x : x + box], scale


def draw_duplicates(
    micrograph: Ints, kinds: NDArray[np.str_], settings: PlantedErrors, pixel_size_angstrom: float, *, seed: int
) -> Duplicates:
    """Choose duplicates and originals among the correct particles of ``kinds`` ``(n,)``, two of a micrograph each.

    No particle is in two pairs. Distances are uniform in their range, in any direction, to the nearest whole pixel.

    Raises
    ------
    InputError  if micrographs have too few correct particles.
    """
    n = round(settings.duplicate * len(kinds))
    rng = np.random.default_rng((seed, STREAM))
    order = rng.permutation(np.flatnonzero(kinds == "none")) if n else np.zeros(0, dtype=np.int64)
    order = order[np.argsort(micrograph[order], kind="stable")]
    place = np.arange(len(order)) - np.searchsorted(micrograph[order], micrograph[order])  # within the micrograph
    first = np.flatnonzero(place[:-1] % 2 == 0)
    first = first[micrograph[order[first]] == micrograph[order[first + 1]]]
    if len(first) < n:
        problem = f"{n} duplicates are wanted, and {len(first)} pairs of correct particles share a micrograph"
        raise InputError(problem, fix="Lower input.plant.duplicate, or input.simulate.n_micrographs")
    chosen = np.sort(rng.permutation(first)[:n])
    distance = rng.uniform(*settings.duplicate_angstrom, size=n) / pixel_size_angstrom
    direction = rng.uniform(0.0, 2.0 * np.pi, size=n)
    offset = np.rint(distance[:, None] * np.stack([np.cos(direction), np.sin(direction)], axis=1)).astype(np.int64)
    return Duplicates(order[chosen], order[chosen + 1], offset, seed)
