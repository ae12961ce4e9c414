"""Functions of viewing directions and of poses that a point group leaves as they are.

A view and its mirror are different views, so that odd degrees count. Functions are orthonormal in the mean over all
directions, or over all poses: the mean of the square of each is 1 for uniform ones.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import eval_jacobi, gammaln, spherical_in

from cryocore.geometry.rotations import matrix_to_euler, random_rotations
from cryocore.geometry.symmetry import point_group
from cryocore.types import Floats, Floats32

Degrees = NDArray[np.int64]

BLOCK = 8192
SAMPLE = 2
"""Random poses per function from which the invariant ones are found."""
KERNEL_SHARPNESS = 5.0
"""κ of the kernel exp(κ (cos θ - 1)) in the angle θ between views."""


class _Order(NamedTuple):
    """Of the functions d(tilt) cos(m psi + k rot) and d(tilt) sin(m psi + k rot) of a degree."""

    degree: int
    m: int
    k: int


def view_functions(directions: Floats, degree: int, symmetry: str = "C1") -> tuple[Floats32, Degrees]:
    """Real spherical harmonics of degrees 1 to ``degree`` that are invariant under the point group.

    Parameters
    ----------
    directions : (n, 3)  unit vectors in the frame of the object

    Returns
    -------
    values ``(n, p)`` and the degree of each function ``(p,)``; with C1, p = (degree + 1)² - 1.
    """
    orders = tuple(_Order(ell, 0, k) for ell in range(1, degree + 1) for k in range(ell + 1))
    x, y, z = np.asarray(directions, dtype=np.float64).T
    euler = np.stack([np.arctan2(y, x), np.arccos(np.clip(z, -1.0, 1.0)), np.zeros(len(x))], axis=1)
    return _mixed(euler, orders, *_invariant(orders, symmetry))


def in_plane_functions(rotations: Floats, degree: int, symmetry: str = "C1") -> tuple[Floats32, Degrees]:
    """Real Wigner functions of degrees 1 to ``degree`` that change when the image is turned in its plane.

    The functions on SO(3) that are left out are those of the viewing direction alone (:func:`view_functions`); the two
    kinds are orthogonal to each other.

    Parameters
    ----------
    rotations : (n, 3, 3)  object to image

    Returns
    -------
    values ``(n, p)`` and the degree of each function ``(p,)``; with C1, p = 2 Σ l (2 l + 1).
    """
    orders = tuple(
        _Order(ell, m, k) for ell in range(1, degree + 1) for m in range(1, ell + 1) for k in range(-ell, ell + 1)
    )
    return _mixed(np.deg2rad(matrix_to_euler(rotations)), orders, *_invariant(orders, symmetry))


def kernel_weights(degree: int, sharpness: float = KERNEL_SHARPNESS) -> Floats:
    """Weights ``(degree + 1,)`` of the degrees in the kernel exp(κ (cos θ - 1)).

    By the addition theorem the kernel is the sum over all harmonics Y, orthonormal in the mean, of weight(degree of Y)
    Y(v) Y(w); the same sum over the harmonics that are invariant under a point group is the kernel's mean over symmetry
    equivalents.
    """
    return np.asarray(np.exp(-sharpness) * spherical_in(np.arange(degree + 1), sharpness))


def _mixed(euler: Floats, orders: tuple[_Order, ...], mixing: Floats, degrees: Degrees) -> tuple[Floats32, Degrees]:
    """Invariant functions ``(n, p)`` of Euler angles ``(n, 3)``, radians; only what they are made of is computed."""
    used: NDArray[np.bool_] = np.asarray(mixing.any(axis=(1, 2)))
    wanted = [order for order, is_used in zip(orders, used, strict=True) if is_used]
    flat = mixing[used].reshape(-1, len(degrees))
    out = np.empty((len(euler), len(degrees)), dtype=np.float32)
    if wanted:
        for start in range(0, len(euler), BLOCK):
            out[start : start + BLOCK] = _functions(euler[start : start + BLOCK], wanted) @ flat
    return out, degrees


def _functions(euler: Floats, orders: list[_Order] | tuple[_Order, ...]) -> Floats:
    """Cosine and sine of each order in turn, ``(n, 2 * orders)``."""
    rot, tilt, psi = euler.T
    out = np.empty((len(euler), len(orders), 2))
    for i, (ell, m, k) in enumerate(orders):
        scale = np.sqrt(2 * ell + 1) if m == k == 0 else np.sqrt(2 * (2 * ell + 1))
        size, angle = scale * _small_d(ell, m, k, tilt), m * psi + k * rot
        out[:, i, 0], out[:, i, 1] = size * np.cos(angle), size * np.sin(angle)
    return out.reshape(len(euler), -1)


def _small_d(ell: int, m: int, k: int, tilt: Floats) -> Floats:
    """Wigner's d function from a Jacobi polynomial (Varshalovich et al. 1988, 4.3.4)."""
    a, b = abs(m - k), abs(m + k)
    order = ell - (a + b) // 2
    sign = 1.0 if k >= m else (-1.0) ** (m - k)
    log_size = gammaln([order + 1, order + a + b + 1, order + a + 1, order + b + 1]) @ [0.5, 0.5, -0.5, -0.5]
    powers = np.sin(tilt / 2) ** a * np.cos(tilt / 2) ** b
    return np.asarray(sign * np.exp(log_size) * powers * eval_jacobi(order, a, b, np.cos(tilt)))


@cache
def _invariant(orders: tuple[_Order, ...], symmetry: str) -> tuple[Floats, Degrees]:
    """Mixing ``(orders, 2, p)`` of functions that spans those equal to their mean over all symmetry equivalents, degree
    by degree."""
    columns, degrees = [], []
    for ell in sorted({order.degree for order in orders}):
        members = [i for i, order in enumerate(orders) if order.degree == ell]
        of_degree = [orders[i] for i in members]
        real = [2 * i + part for i, o in enumerate(of_degree) for part in range(1 if o.m == o.k == 0 else 2)]
        poses = random_rotations(SAMPLE * len(real) + 8, np.random.default_rng(ell))
        own = _of_poses(poses, of_degree)[:, real]
        mean = np.mean([_of_poses(poses @ operator, of_degree)[:, real] for operator in point_group(symmetry)], axis=0)
        averaging = np.linalg.lstsq(own, mean, rcond=None)[0]
        for vector in _image_of(0.5 * (averaging + averaging.T)):
            column = np.zeros((len(orders), 2))
            within = np.zeros(2 * len(members))
            within[real] = np.where(np.abs(vector) > 1e-9, vector, 0.0)
            column[members] = within.reshape(-1, 2)
            columns.append(column)
            degrees.append(ell)
    mixing = np.stack(columns, axis=-1) if columns else np.zeros((len(orders), 2, 0))
    return mixing, np.array(degrees, dtype=np.int64)


def _image_of(projection: Floats) -> list[Floats]:
    """An orthonormal basis of the image of a projection ``(p, p)``: its columns, each less its part in those before.

    Eigenvectors would do, but which ones of an eigenvalue's many come out depends on the processor.
    """
    basis: list[Floats] = []
    for column in projection.T:
        rest = column
        for vector in basis * 2:
            rest = rest - vector * (vector @ rest)
        if rest @ rest > 1e-6:
            basis.append(rest / np.sqrt(rest @ rest))
    return basis


def _of_poses(poses: Floats, orders: list[_Order]) -> Floats:
    return _functions(np.deg2rad(matrix_to_euler(poses)), orders)
