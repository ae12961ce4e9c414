"""Losses drawn from their laws: the geometry of every particle, and whether it is correct, are known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cryocore.explore.loss.columns import LossColumns
from cryocore.geometry.rotations import random_rotations
from cryocore.geometry.symmetry import point_group

Floats = NDArray[np.float64]


def poses(n: int, preference: float, rng: np.random.Generator) -> Floats:
    """Poses ``(n, 3, 3)`` whose views prefer the poles and the equator, or are uniform (0)."""
    kept = np.zeros((0, 3, 3))
    while len(kept) < n:
        drawn = random_rotations(4 * n, rng)
        off = np.minimum(1.0 - np.abs(drawn[:, 2, 2]), np.abs(drawn[:, 2, 2]))
        kept = np.concatenate([kept, drawn[rng.random(len(drawn)) < np.exp(-preference * off)]])
    return kept[:n]


def law(
    n: int,
    *,
    preference: float = 0.0,
    incorrect: float = 0.0,
    strength: float = 6.0,
    contrast: float = 0.1,
    loss: str = "z",
    symmetry: str = "C1",
    defocus_groups: float = 0.0,
    seed: int = 0,
) -> LossColumns:
    """The columns of n particles, of which a share is incorrect.

    ``strength`` is √E in the mean, ``contrast`` by how much it grows from the equator to the poles, relatively, and
    ``defocus_groups`` how much larger it is in the second half of the micrographs. A correct particle scores √E, an
    incorrect one 0, both with unit variance; llr, ncc and l2_loss are functions of these.
    """
    rng = np.random.default_rng(seed)
    rotations = poses(n, preference, rng)
    rotations = rotations @ point_group(symmetry)[rng.integers(len(point_group(symmetry)), size=n)]
    micrograph = rng.integers(0, max(n // 100, 2), n)
    late = micrograph >= max(n // 100, 2) // 2
    defocus = np.where(late & (defocus_groups > 0), 20_000.0, 10_000.0) + rng.uniform(0, 5000, n)
    expected = strength * (1 + contrast * (2 * rotations[:, 2, 2] ** 2 - 1)) * (1 + defocus_groups * late)
    expected *= 1 + 0.02 * rng.normal(size=n)
    correct = rng.random(n) >= incorrect
    z = expected * correct + rng.normal(size=n)
    energy = 1000.0 + 30 * rng.normal(size=n) + expected**2
    values = {
        "z": z,
        "llr": expected * z - 0.5 * expected**2,
        "ncc": z / np.sqrt(energy),
        "l2_loss": energy - 2 * expected * z + expected**2,
    }
    ids = rng.permutation(np.arange(1, n + 1, dtype=np.uint64) * np.uint64(2654435761))
    return LossColumns(
        loss, values[loss], ids, rotations, expected, defocus, micrograph, energy, correct.astype(np.int8), symmetry
    )
