"""Faults planted in the kernels of the package are named by the emulator, or give other numbers than the CPU."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from cryocore.backend import Backend, Kernel, base, cuda, get_backend, host
from cryocore.geometry.rotations import random_rotations
from cryocore.imaging.blocked import pack
from cryocore.imaging.grid import FourierGrid
from cryocore.imaging.image_geometry import ImageGeometry, slice_basis
from cryocore.imaging.insertion import Insertion
from cryocore.imaging.prepare import Prepared
from cryocore.imaging.slices import project
from tests.phantoms import optics

cupy = pytest.importorskip("cupy")

pytestmark = pytest.mark.emulator

N, GRID = 3, FourierGrid.of(12, 2.0, 2.0)
FRAME = ImageGeometry.of(optics(12), GRID)
HALF = np.array([0, 1, 1], dtype=np.int32)
POSES = random_rotations(N, np.random.default_rng(0))


def values(*shape: int, dtype: type = np.float32) -> np.ndarray:
    """Random numbers, the same for a shape."""
    rng = np.random.default_rng(1)
    return (rng.normal(size=shape) + (1j * rng.normal(size=shape) if dtype is np.complex64 else 0)).astype(dtype)


def images(backend: Backend) -> Prepared:
    """Some images and CTFs."""
    shape = N, 2 * FRAME.limit + 1, FRAME.limit + 1
    return Prepared(backend.to_device(values(*shape, dtype=np.complex64)), backend.to_device(values(*shape)), FRAME)


def volumes(backend: Backend) -> np.ndarray:
    """Two half maps."""
    return backend.to_device(values(2, *GRID.shape, dtype=np.complex64))


def projected(backend: Backend) -> np.ndarray:
    """Slices at the poses."""
    return backend.to_host(project(volumes(backend), POSES, HALF, FRAME, backend))


def inserted(backend: Backend) -> np.ndarray:
    """Sums of the images."""
    insertion = Insertion(GRID, backend)
    insertion.add(images(backend), POSES, np.ones(N, dtype=np.float32), HALF)
    return insertion.sums().on(host()).denominator


def summed(backend: Backend) -> np.ndarray:
    """What is left of each image, summed by a block."""
    batch, limit = images(backend), FRAME.limit
    pairs = np.array([(kx, ky) for kx in range(1, limit) for ky in range(-3, 4)], dtype=np.int16)
    pairs = np.concatenate([pairs, np.zeros((-len(pairs) % 16, 2), dtype=np.int16)])
    precision = np.ones((2 * limit + 1, limit + 1), dtype=np.float32)
    precision[limit, 0] = 0
    loss, grids = backend.xp.empty((N, 2), dtype=np.float32), pack(volumes(backend), backend)
    given = [backend.to_device(a) for a in (slice_basis(POSES, FRAME), HALF, pairs, precision)]
    args = (grids.values, *given[:2], batch.image, batch.ctf, given[2], len(pairs), given[3], N, limit, grids.radius)
    backend.launch(Kernel("residual.cu", "residual_slices"), (*args, batch.image, loss), items=N)
    return backend.to_host(loss)


FAULTS: dict[str, tuple[Callable[[Backend], np.ndarray], str, str, str]] = {
    "missing barrier": (
        summed,
        "scratch[thread] = value;\n    __syncthreads();",
        "scratch[thread] = value;",
        "nobody has",
    ),
    "lost atomic": (inserted, "atomicAdd(denominator + at, power)", "denominator[at] += power", "race on word"),
    "strips that overlap": (inserted, "step = gridDim.y * blockDim.y", "step = blockDim.y", ""),
    "off by one": (projected, "kx < width; kx +=", "kx <= width; kx +=", "race on word|outside all arrays"),
    "wrong stride": (projected, "(2 * r + 1) + ky", "(2 * r + 2) + ky", "writes outside all arrays"),
    "early return": (summed, "float sums[2] =", "if (threadIdx.x > 99) return;\n    float sums[2] =", "threads ended"),
    "no half set": (projected, "half[index] * g.volume", "(half[index] + 1) * g.volume", "reads outside all arrays"),
    "other half set": (projected, "half[index] * g.volume", "(1 - half[index]) * g.volume", ""),
}


@pytest.mark.parametrize("work", [projected, inserted, summed])
def test_the_kernels_as_they_are_have_none(work: Callable[[Backend], np.ndarray]) -> None:
    expected = work(get_backend("cpu"))
    np.testing.assert_allclose(work(get_backend("cuda")), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", FAULTS)
def test_planted_faults_are_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    work, right, wrong, message = FAULTS[name]
    planted: list[str] = []

    def source(file: str) -> str:
        text = base.kernel_source(file)
        if right in text:
            planted.append(file)
        return text.replace(right, wrong)

    expected = work(get_backend("cpu"))
    cuda.module_of.cache_clear()
    monkeypatch.setattr(cuda, "kernel_source", source)
    try:
        if message:
            with pytest.raises(cupy.EmulatorError, match=message):
                work(get_backend("cuda"))
        else:
            assert np.abs(work(get_backend("cuda")) - expected).max() > 0.1 * np.abs(expected).max()
    finally:
        cuda.module_of.cache_clear()
    assert planted
