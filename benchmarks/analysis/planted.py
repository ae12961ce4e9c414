"""Losses whose dependence on the pose is known."""

from __future__ import annotations

import numpy as np

from cryocore.explore.loss.columns import LossColumns
from cryocore.explore.loss.harmonics import in_plane_functions, view_functions
from cryocore.geometry.rotations import random_rotations
from cryocore.geometry.symmetry import point_group
from cryocore.types import Floats

CAPS = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
SHARPNESS = {"uniform": 0.0, "preferred": 6.0}
"""Of the density exp(κ cos θ) of views about either of two directions."""
BUMP_SHARPNESS = 20.0
"""The bump exp(κ (cos θ - 1)) is 30 degrees wide at half its height."""
CASES: tuple[tuple[str, float], ...] = (
    ("null", 0.0),
    ("smooth", 0.01),
    ("smooth", 0.02),
    ("bump", 0.01),
    ("bump", 0.02),
    ("in-plane", 0.01),
    ("spread", 0.25),
)
"""Kinds, and the share of the variance that is planted; for spread, the standard deviation of its logarithm."""
GIVEN = ("energy", "energy and micrograph")
"""Questions under which losses that follow from the geometry alone are null."""
ROOT_ENERGY, ENERGY_SPREAD, INCORRECT = 5.0, 0.15, 0.3
"""√E in the mean, how much of it varies with the view, and the share of incorrect particles."""
PER_MICROGRAPH, MICROGRAPH_SD = 100, 0.5


def rotations(n: int, views: str, rng: np.random.Generator) -> Floats:
    """Poses ``(n, 3, 3)``, uniform or preferring two views."""
    kappa, kept = SHARPNESS[views], np.zeros((0, 3, 3))
    while len(kept) < n:
        drawn = random_rotations(4 * n, rng)
        cosine = np.max(drawn[:, 2] @ CAPS.T, axis=1)
        kept = np.concatenate([kept, drawn[rng.random(len(drawn)) < np.exp(kappa * (cosine - 1.0))]])
    return kept[:n]


def loss(poses: Floats, kind: str, size: float, symmetry: str, rng: np.random.Generator) -> Floats:
    """Losses ``(n,)``: normal noise and a random function of the pose, of a kind and a size of ``CASES``.

    Smooth functions have degree 2 at most, under a point group 4.
    """
    noise = rng.normal(size=len(poses))
    degree = 2 if symmetry == "C1" else 4
    if kind == "null":
        return noise
    if kind == "bump":
        centre = poses[rng.integers(len(poses)), 2]
        near = [poses[:, 2] @ operator @ centre for operator in point_group(symmetry)]
        planted = np.sum(np.exp(BUMP_SHARPNESS * (np.array(near) - 1.0)), axis=0)
    else:
        if kind == "in-plane":
            functions = in_plane_functions(poses, degree, symmetry)[0]
        else:
            functions = view_functions(poses[:, 2], degree, symmetry)[0]
        planted = functions @ rng.normal(size=functions.shape[1])
    planted = (planted - planted.mean()) / planted.std()
    if kind == "spread":
        return np.asarray(noise * np.exp(size * planted))
    return np.asarray(np.sqrt(1.0 - size) * noise + np.sqrt(size) * planted)


def geometry_alone(poses: Floats, symmetry: str, rng: np.random.Generator) -> LossColumns:
    """Losses that depend on the pose through the projection energy and on the micrograph, and on nothing else.

    √E is a random function of the view; correct particles score it, incorrect ones 0, with unit variance and an offset
    of each micrograph.
    """
    n = len(poses)
    functions = view_functions(poses[:, 2], 2 if symmetry == "C1" else 4, symmetry)[0]
    with_view = functions @ rng.normal(size=functions.shape[1])
    with_view = (with_view - with_view.mean()) / with_view.std()
    expected = ROOT_ENERGY * np.exp(ENERGY_SPREAD * with_view) * (1.0 + 0.02 * rng.normal(size=n))
    micrograph = rng.integers(0, n // PER_MICROGRAPH, n)
    offset = MICROGRAPH_SD * rng.normal(size=n // PER_MICROGRAPH)
    loss = expected * (rng.random(n) >= INCORRECT) + offset[micrograph] + rng.normal(size=n)
    ids = rng.permutation(n).astype(np.uint64)
    return LossColumns("z", loss, ids, poses, expected, micrograph=micrograph, symmetry=symmetry)
