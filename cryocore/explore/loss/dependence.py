"""Does a number per particle depend on its pose? Four quadratic statistics, and their law under permutation.

Each statistic is a quadratic form in the sums, over particles, of functions of the pose times functions of the loss, so
that a permutation costs one matrix product and no kernel matrix is ever made.

============ ======================================================================================================
``mean``     HSIC (Gretton et al. 2008) with the kernel exp(κ (cos θ - 1)) in the angle between views, and the loss
``narrow``   R² of the loss on all harmonics of the view alike
``in_plane`` HSIC with a kernel on SO(3), less its part in the views alone, and the loss
``shape``    HSIC with the kernel in the angle, and a quantile kernel of the loss without its first term: spread, skew
============ ======================================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryocore.explore.loss.harmonics import in_plane_functions, kernel_weights, view_functions
from cryocore.geometry.symmetry import point_group
from cryocore.statistics import centre_and_spread
from cryocore.types import Floats, Floats32, Ints

TESTS = ("mean", "narrow", "in_plane", "shape")
VIEW_DEGREE, IN_PLANE_DEGREE = 8, 4
"""Degrees for C1; with a point group of m rotations they grow as the fourth root of m, to twice this at most."""
PER_FUNCTION = 10
"""Least number of particles per function of the pose; with fewer the degrees are lowered."""
QUANTILE_TERMS = (2, 3, 4)
"""Terms cos(π j u) / j² of the quantile kernel (of ranks u in 0 to 1); the first is left to ``mean``."""
BATCH = 32
"""Permutations in one matrix product."""
LEAST_EIGENVALUE = 1e-4
"""Of the functions' correlation matrix, relative: directions of function space that the views do not fill are left
out."""
CLIP_SD = 5.0


@dataclass(frozen=True)
class PoseFunctions:
    """Functions of the poses of n particles.

    ``view`` ``(n, p)``, ``in_plane`` ``(n, q)`` : their values
    ``view_weight`` ``(p,)``, ``in_plane_weight`` ``(q,)`` : the kernel's weight of each
    ``view_degree``, ``in_plane_degree`` : the largest degrees
    """

    view: Floats32
    in_plane: Floats32
    view_weight: Floats
    in_plane_weight: Floats
    view_degree: int
    in_plane_degree: int


def pose_functions(rotations: Floats, symmetry: str = "C1") -> PoseFunctions:
    """The functions of poses ``(n, 3, 3)`` that the tests use."""
    n, order = len(rotations), len(point_group(symmetry))
    grown = [min(round(d * order**0.25), 2 * d) for d in (VIEW_DEGREE, IN_PLANE_DEGREE)]
    view_degree = max((d for d in range(1, grown[0] + 1) if d * (d + 2) * PER_FUNCTION <= n * order), default=1)
    in_plane_degree = max(
        (d for d in range(1, grown[1] + 1) if 4 * d * (d + 1) * (d + 2) * PER_FUNCTION <= 6 * n * order), default=1
    )
    view, view_of = view_functions(rotations[:, 2], view_degree, symmetry)
    in_plane, in_plane_of = in_plane_functions(rotations, in_plane_degree, symmetry)
    weights = kernel_weights(max(view_degree, in_plane_degree))
    return PoseFunctions(view, in_plane, weights[view_of], weights[in_plane_of], view_degree, in_plane_degree)


@dataclass(frozen=True)
class Permutations:
    """Statistics of the data ``(tests,)`` and of permuted data ``(permutations, tests)``, in the order of ``TESTS``."""

    statistic: Floats
    null: Floats

    @property
    def p_values(self) -> Floats:
        """(k + 1) / (m + 1), with k of m permutations reaching the statistic, ``(tests,)``."""
        reached = np.count_nonzero(self.null >= self.statistic * (1 - 1e-6), axis=0)
        return np.asarray((reached + 1) / (len(self.null) + 1))


def permutation_tests(
    functions: PoseFunctions,
    loss: Floats,
    *,
    strata: Ints | None = None,
    ranks: Floats | None = None,
    permutations: int = 999,
    seed: int = 0,
) -> Permutations:
    """Compare the statistics of ``loss`` ``(n,)`` with those of permuted losses.

    With ``strata`` ``(n,)`` losses change places only within a stratum, so that dependence through what defines the
    strata does not count. ``ranks`` ``(n,)``, between 0 and 1, are those of the quantile kernel; without them, those
    within each stratum. The result depends on the order of rows through the permutations that are drawn.
    """
    columns = loss_functions(loss, strata, ranks)
    forms = _Forms(functions, strata)
    rng = np.random.default_rng([seed, 21])
    shuffle = _Shuffle(len(loss), strata, rng)
    statistic = forms(columns[:, None])[0]
    null = []
    for start in range(0, permutations, BATCH):
        count = min(BATCH, permutations - start)
        shuffled = np.empty((len(columns), count, len(loss)), dtype=np.float32)
        for i in range(count):
            np.take(columns, next(shuffle), axis=1, out=shuffled[:, i], mode="clip")
        null.append(forms(shuffled))
    return Permutations(statistic, np.concatenate(null))


def loss_functions(loss: Floats, strata: Ints | None = None, ranks: Floats | None = None) -> Floats32:
    """The loss, clipped at five robust standard deviations, and the terms of the quantile kernel, ``(4, n)``.

    All have mean 0 (in each stratum), the first has unit variance.
    """
    centred = within(clipped(loss)[:, None], strata)[:, 0]
    spread = float(np.sqrt(np.mean(centred**2)))
    ranks = ranks_within(centred, strata) if ranks is None else ranks
    terms = [np.sqrt(2) / j * np.cos(np.pi * j * ranks) for j in QUANTILE_TERMS]
    columns = np.stack([centred / (spread or 1.0), *terms], axis=1)
    return np.ascontiguousarray(within(columns, strata).T, dtype=np.float32)


def clipped(loss: Floats) -> Floats:
    """The loss ``(n,)``, held within five robust standard deviations of its median."""
    centre, spread = centre_and_spread(loss)
    reach = CLIP_SD * spread
    return np.clip(loss, centre - reach, centre + reach) if reach > 0 else np.asarray(loss, dtype=np.float64)


def within(values: NDArray[np.floating], strata: Ints | None) -> Floats:
    """Columns ``(n, p)`` less their means, in each stratum where there are some."""
    if strata is None:
        return np.asarray(values - values.mean(axis=0, dtype=np.float64), dtype=values.dtype)
    count = np.maximum(np.bincount(strata), 1)
    means = np.stack([np.bincount(strata, weights=column) / count for column in values.T], axis=1)
    return np.asarray(values - means.astype(values.dtype)[strata])


def whitening(products: Floats) -> Floats:
    """W ``(p, r)`` with W.T @ products @ W = 1 on the r directions that are well filled, of ``products`` ``(p, p)``."""
    size = np.sqrt(np.maximum(np.diag(products), 1e-30))
    values, vectors = np.linalg.eigh(products / np.outer(size, size))
    filled = values > LEAST_EIGENVALUE * max(float(values[-1]), 1e-30) if len(values) else np.zeros(0, dtype=bool)
    return np.asarray(vectors[:, filled] / np.sqrt(values[filled]) / size[:, None])


def ranks_within(values: Floats, strata: Ints | None) -> Floats:
    """Ranks in each stratum, between 0 and 1; ties in the order of rows."""
    codes = np.zeros(len(values), dtype=np.int64) if strata is None else strata
    order = np.lexsort((values, codes))
    sizes = np.bincount(codes)
    first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    ranks = np.empty(len(values))
    ranks[order] = np.arange(len(values)) - first[codes[order]]
    return (ranks + 0.5) / sizes[codes]


class _Forms:
    """The four quadratic forms of functions of the loss ``(4, k, n)``, for k permutations at once."""

    def __init__(self, functions: PoseFunctions, strata: Ints | None) -> None:
        self.functions = functions
        view = within(functions.view, strata)
        self.whitening = whitening((view.T @ view).astype(np.float64))

    def __call__(self, columns: Floats32) -> Floats:
        _, k, n = columns.shape
        views = (columns.reshape(-1, n) @ self.functions.view).astype(np.float64).reshape(4, k, -1)
        turns = (columns[0] @ self.functions.in_plane).astype(np.float64)
        statistics = [
            views[0] ** 2 @ self.functions.view_weight / n,
            np.sum((views[0] @ self.whitening) ** 2, axis=1) / n,
            turns**2 @ self.functions.in_plane_weight / n,
            np.sum(views[1:] ** 2 @ self.functions.view_weight, axis=0) / n,
        ]
        return np.stack(statistics, axis=1)


class _Shuffle:
    """Random orders of n rows, one after the other, that leave every row in its stratum."""

    def __init__(self, n: int, strata: Ints | None, rng: np.random.Generator) -> None:
        self.n, self.rng = n, rng
        self.codes = None if strata is None else np.sort(strata).astype(np.float64)
        self.places = None if strata is None else np.argsort(strata, kind="stable")

    def __next__(self) -> NDArray[np.intp]:
        if self.codes is None or self.places is None:
            return self.rng.permutation(self.n)
        order = np.empty(self.n, dtype=np.intp)
        order[self.places] = self.places[np.argsort(self.codes + self.rng.random(self.n))]
        return order
