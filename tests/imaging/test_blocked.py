"""Volumes in blocks against the order written out voxel by voxel."""

from __future__ import annotations

import numpy as np
import pytest

from cryocore.backend import get_backend
from cryocore.imaging.blocked import SIDE, pack
from tests.phantoms import BACKENDS


def z_order(z: int, y: int, x: int) -> int:
    """Place inside a block: bits of x, y and z in turn, x first."""
    return sum(((v >> bit) & 1) << (3 * bit + axis) for axis, v in enumerate((x, y, z)) for bit in range(3))


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("radius", [3, 7, 10])
@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
def test_blocks_hold_every_voxel_in_its_place(name: str, radius: int, dtype: type) -> None:
    backend, width = get_backend(name), 2 * radius + 3
    shape = (2, radius + 2, width, width)
    values = np.arange(1, 1 + np.prod(shape)).reshape(shape)
    volumes = (values * (1 - 0.5j)).astype(dtype) if dtype is np.complex64 else values.astype(dtype)
    packed = pack(backend.to_device(volumes), backend)
    found = backend.to_host(packed.values)
    across = -(-width // SIDE)
    for n, z, y, x in np.random.default_rng(0).integers(0, shape, (300, 4)):
        block = (z // SIDE * across + y // SIDE) * across + x // SIDE
        assert found[n, block * SIDE**3 + z_order(z % SIDE, y % SIDE, x % SIDE)] == volumes[n, z, y, x]
    assert packed.radius == radius
    assert np.count_nonzero(found) == volumes.size
