"""Logs whose truth is known: scores drawn from their laws instead of from images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from cryocore.geometry.rotations import random_rotations, viewing_direction

Array = NDArray[np.float64]
KINDS = ("misoriented", "junk", "slightly_misoriented", "miscentred")
COARSE = 6
"""Dimensions in which slightly misoriented poses look alike."""


@dataclass(frozen=True)
class PlantedLog:
    """Columns of a log, which particles are correct, and the kind of each: 0 or one more than its place in KINDS."""

    columns: dict[str, NDArray[Any]]
    correct: NDArray[np.bool_]
    kind: NDArray[np.integer]


def planted_log(
    n: int,
    rates: dict[str, float],
    *,
    strength: float = 4.0,
    k: float = 1.0,
    alternatives: int = 8,
    seed: int = 0,
    spread: float = 0.0,
) -> PlantedLog:
    """A log of ``n`` particles of which ``rates`` are incorrect, by kind.

    Every particle is a Gaussian vector of unit noise about ``k`` times the prediction that is true of it. Its own
    prediction and those of its alternative poses are vectors of length ``strength`` on average in a space of a few
    dimensions, so that all scores are what their definitions say. The last dimensions are the fine ones, which alone
    tell slightly misoriented poses apart. The true pose of a slightly misoriented one lies among its alternative poses,
    and is none of them. Images are scaled as a whole, by factors whose logarithm has the standard deviation ``spread``:
    the noise tells, and the predictions do not follow.
    """
    rng = np.random.default_rng(seed)
    kind = rng.permutation(np.repeat([0, 1, 2, 3, 4], _counts(n, rates)))
    length = np.clip(rng.normal(strength, 0.15 * strength, n), 0.3 * strength, None)
    shared = 0.45  # of the energy is that of the mean over all poses
    own = _directions(rng, n, 1, shared)[:, 0]
    random_poses = _directions(rng, n, alternatives, shared)
    near = _turned(rng, own, alternatives + 1)
    near, between = near[:, 1:], near[:, 0]
    displaced = _mixed(own, _scrambled(rng, n, alternatives), rng.uniform(0.2, 0.8, (n, alternatives)))
    true = own.copy()
    true[kind == 1] = _directions(rng, int((kind == 1).sum()), 1, shared)[:, 0]
    true[kind == 2] = 0.0
    true[kind == 3] = between[kind == 3]
    rows = np.flatnonzero(kind == 4)
    true[rows] = displaced[rows, rng.integers(0, alternatives, len(rows))]
    image = k * length[:, None] * true + rng.normal(size=own.shape)
    brightness = np.exp(spread * rng.normal(size=n)) if spread else np.ones(n)
    length = length / brightness

    def llr(directions: Array) -> Array:
        return length[:, None] * np.einsum("nd,nkd->nk", image, directions) - 0.5 * length[:, None] ** 2

    mean = np.zeros(own.shape[1])
    mean[0] = np.sqrt(shared)
    centred = own - mean
    norm = np.linalg.norm(centred, axis=1)
    fine = np.where(np.arange(own.shape[1]) < COARSE, 0.0, centred)
    fine_norm = np.linalg.norm(fine, axis=1)
    own_llr = llr(own[:, None])[:, 0]
    views = viewing_direction(random_rotations(n, rng))
    columns = {
        "particle_id": rng.permutation(np.arange(1, n + 1, dtype=np.uint64) * np.uint64(2654435761)),
        "half": (1 + np.arange(n) % 2).astype(np.int8),
        "weight": np.ones(n, dtype=np.float32),
        "micrograph": np.array([f"m{i % 20}" for i in range(n)]),
        "view_x": views[:, 0],
        "view_y": views[:, 1],
        "view_z": views[:, 2],
        "defocus_u_angstrom": rng.uniform(8000, 20000, n),
        "defocus_v_angstrom": rng.uniform(8000, 20000, n),
        "z": np.einsum("nd,nd->n", image, own),
        "zc": np.einsum("nd,nd->n", image, centred) / norm,
        "expected_z": length,
        "expected_zc": length * norm,
        "ldac": np.einsum("nd,nd->n", image, fine) / fine_norm,
        "expected_ldac": length * fine_norm,
        "local": own_llr - _log_mean_exp(llr(near)),
        "shift": own_llr - _log_mean_exp(llr(displaced)),
        "mean_pose_gain": llr(near).mean(axis=1) - own_llr,
        "mean_shift_gain": llr(displaced).mean(axis=1) - own_llr,
        "noise_factor": brightness**2,
        "random_pose_z": np.einsum("nd,nkd->nk", image, random_poses),
    }
    columns["dual"] = columns["zc"] + 0.1 * columns["local"]
    columns["l2_loss"] = -columns["z"]
    columns["probability"] = expit(columns["ldac"] - 0.5 * columns["expected_ldac"])
    return PlantedLog(columns, kind == 0, kind)


def permuted(log: PlantedLog, order: NDArray[np.integer[Any]]) -> dict[str, NDArray[Any]]:
    """The columns with their rows in another order."""
    return {name: values[order] for name, values in log.columns.items()}


def _counts(n: int, rates: dict[str, float]) -> list[int]:
    incorrect = [round(rates.get(kind, 0.0) * n) for kind in KINDS]
    return [n - sum(incorrect), *incorrect]


def _directions(rng: np.random.Generator, n: int, k: int, shared: float) -> Array:
    """Unit vectors ``(n, k, 24)`` whose first component, the mean over all poses, is the same for all."""
    rest = rng.normal(size=(n, k, 23))
    rest *= np.sqrt(1 - shared) / np.linalg.norm(rest, axis=2, keepdims=True)
    return np.concatenate([np.full((n, k, 1), np.sqrt(shared)), rest], axis=2)


def _turned(rng: np.random.Generator, own: Array, k: int) -> Array:
    """Vectors ``(n, k, 24)`` as long as the own ones whose fine dimensions keep up to 0.7 of them.

    As there are three axes to turn about, the vectors of a particle lie in three directions from the own one.
    """
    fine = own[:, None, COARSE:]
    others = np.einsum("nkt,ntd->nkd", *(rng.normal(size=(len(own), *s)) for s in ((k, 3), (3, fine.shape[2]))))
    length = np.linalg.norm(fine, axis=2, keepdims=True)
    along = np.sum(others * fine, axis=2, keepdims=True) / length**2
    others -= along * fine
    kept = rng.uniform(0.0, 0.7, (len(own), k, 1))
    turned = kept * fine + np.sqrt(1 - kept**2) * length * others / np.linalg.norm(others, axis=2, keepdims=True)
    return np.concatenate([np.repeat(own[:, None, :COARSE], k, axis=1), turned], axis=2)


def _scrambled(rng: np.random.Generator, n: int, k: int) -> Array:
    rest = rng.normal(size=(n, k, 24))
    return rest / np.linalg.norm(rest, axis=2, keepdims=True)


def _mixed(own: Array, others: Array, share: Array) -> Array:
    """Unit vectors between the own direction and others ``(n, k, d)``."""
    mixed = share[..., None] * own[:, None] + (1 - share[..., None]) * others
    return mixed / np.linalg.norm(mixed, axis=2, keepdims=True)


def _log_mean_exp(values: Array) -> Array:
    top = values.max(axis=1)
    return top + np.log(np.mean(np.exp(values - top[:, None]), axis=1))
