"""Oracles: molecules of Gaussian blobs, whose maps, projections and Fourier values are known in closed form."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from cryocore.geometry.rotations import matrix_to_quaternion
from cryocore.tables.particles import PARTICLES_SCHEMA, Optics, Particles

Array = NDArray[np.float64]

BACKENDS = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
"""For ``parametrize``: every backend that a kernel has to be correct on."""


@dataclass(frozen=True)
class Blobs:
    """Gaussians of one width (pixels) at ``centres`` ``(m, 3)`` as (x, y, z) pixels from the origin."""

    centres: Array
    heights: Array
    width: float

    @classmethod
    def random(cls, n: int, spread: float, width: float, seed: int = 0) -> Blobs:
        rng = np.random.default_rng(seed)
        return cls(spread * rng.normal(size=(n, 3)), rng.uniform(0.5, 1.5, n), width)

    def symmetrised(self, group: Array) -> Blobs:
        centres = np.concatenate([self.centres @ g.T for g in group])
        return Blobs(centres, np.tile(self.heights, len(group)) / len(group), self.width)

    def map(self, box: int) -> NDArray[np.float32]:
        along = np.arange(box) - box // 2
        lines = np.exp(-0.5 * ((along[None, :, None] - self.centres[:, None, :]) / self.width) ** 2)
        return np.einsum("m,mz,my,mx->zyx", self.heights, lines[..., 2], lines[..., 1], lines[..., 0]).astype(
            np.float32
        )

    def slices(self, rotations: Array, limit: int, box: int) -> NDArray[np.complex128]:
        """Orthonormally scaled transforms of the projections, ``(n, 2r+1, r+1)``."""
        ky, kx = np.mgrid[-limit : limit + 1, 0 : limit + 1] / box
        fall_off = (2 * np.pi * self.width**2) ** 1.5 * np.exp(-2 * (np.pi * self.width) ** 2 * (kx**2 + ky**2))
        out = np.zeros((len(rotations), *kx.shape), dtype=complex)
        for i, a in enumerate(rotations):
            seen = self.centres @ a.T
            for (x, y, _), height in zip(seen, self.heights, strict=True):
                out[i] += height * np.exp(-2j * np.pi * (kx * x + ky * y))
        return out * fall_off / box


def used_samples(limit: int) -> NDArray[np.bool_]:
    """The half plane's disc with one of each Friedel pair."""
    ky, kx = np.mgrid[-limit : limit + 1, 0 : limit + 1]
    return (kx**2 + ky**2 <= limit**2 + limit) & ((kx > 0) | (ky > 0))


def optics(box: int, pixel_size_angstrom: float = 2.0, **changes: Any) -> Optics:
    return replace(Optics("test", box, pixel_size_angstrom, 300.0, 2.7, 0.1), **changes)


def particles(rotations: Array, group: Optics, *, seed: int = 0, **columns: NDArray[np.generic]) -> Particles:
    """A data set in memory with random defoci and alternating half sets."""
    rng, n = np.random.default_rng(seed), len(rotations)
    quaternions = matrix_to_quaternion(rotations)
    defocus = rng.uniform(8000, 20000, n)
    values = {
        "particle_id": np.arange(1, n + 1, dtype=np.uint64) * np.uint64(7919),
        "source_row": np.arange(n),
        "stack": np.array(["stack.mrcs"] * n),
        "slice": np.arange(n),
        "micrograph": np.array([f"m{i % 5}" for i in range(n)]),
        "half": 1 + np.arange(n) % 2,
        "defocus_u_angstrom": defocus + 150,
        "defocus_v_angstrom": defocus - 150,
        "defocus_angle_deg": rng.uniform(0, 180, n),
        "ctf_scale": np.ones(n),
        **{f"quat_{c}": quaternions[:, i] for i, c in enumerate("wxyz")},
        **columns,
    }
    arrays = {name: pa.array(values.get(name, np.zeros(n))) for name in PARTICLES_SCHEMA.names}
    return Particles(pa.table(arrays).cast(PARTICLES_SCHEMA), (group,))


def in_half_precision(values: np.ndarray) -> np.ndarray:
    """Complex values as voxels hold them, the largest near the top of a half's range."""
    parts = values.view(np.float32)
    unit = np.exp2(np.ceil(np.log2(np.abs(parts).max())) - 15)
    return ((parts / unit).astype(np.float16).astype(np.float32) * unit).view(np.complex64)
