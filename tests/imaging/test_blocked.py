"""Volumes and voxels in blocks against the order written out voxel by voxel."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

import numpy as np
import pytest

from cryocore.backend import get_backend
from cryocore.imaging.blocked import pack
from cryocore.imaging.blocks import SIDE
from cryocore.imaging.grid import FourierGrid
from cryocore.imaging.voxels import LARGEST, MOST_SHARE, pack_voxels
from tests.phantoms import BACKENDS


def z_order(z: int, y: int, x: int) -> int:
    """Place inside a block: bits of x, y and z in turn, x first."""
    return sum(((v >> bit) & 1) << (3 * bit + axis) for axis, v in enumerate((x, y, z)) for bit in range(3))


def place(z: int, y: int, x: int, width: int) -> int:
    """Index of a voxel of a volume of that width."""
    across = -(-width // SIDE)
    return ((z // SIDE * across + y // SIDE) * across + x // SIDE) * SIDE**3 + z_order(z % SIDE, y % SIDE, x % SIDE)


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("radius", [3, 7, 10])
def test_blocks_hold_every_voxel_in_its_place(name: str, radius: int) -> None:
    backend, width = get_backend(name), 2 * radius + 3
    shape = (2, radius + 2, width, width)
    values = np.arange(1, 1 + np.prod(shape)).reshape(shape)
    volumes = (values * (1 - 0.5j)).astype(np.complex64)
    packed = pack(backend.to_device(volumes), backend)
    found = backend.to_host(packed.values)
    for n, z, y, x in np.random.default_rng(0).integers(0, shape, (300, 4)):
        assert found[n, place(z, y, x, width)] == volumes[n, z, y, x]
    assert packed.radius == radius
    assert np.count_nonzero(found) == volumes.size


@pytest.mark.parametrize("name", BACKENDS)
def test_voxels_hold_a_map_and_its_density_in_half_precision(name: str) -> None:
    """The map rounded as NumPy rounds it; a density that is linear in |kx| stays so between the points of its grid."""
    backend, grid = get_backend(name), FourierGrid.of(20, 2.0, 1.5)
    coarse = FourierGrid(20, 2.0, 20, grid.last_shell)
    rng = np.random.default_rng(0)
    size = 10.0 ** rng.uniform(-6, 3, (2, *grid.shape))
    maps = (size * (rng.standard_normal(size.shape) + 1j * rng.standard_normal(size.shape))).astype(np.complex64)
    along = np.abs(np.arange(-coarse.radius - 1, coarse.radius + 2))
    density = np.broadcast_to(np.float32(1) + along, (2, *coarse.shape)).astype(np.float32)
    density[1] *= 1e12
    share = 0.01
    there = backend.to_device(maps)
    voxels = pack_voxels(there, 2, grid, backend, backend.to_device(density), share)
    found = backend.to_host(voxels.values).view(np.float16).astype(np.float64)
    unit = backend.to_host(voxels.unit).astype(np.float64)
    for h in range(2):
        largest = max(np.abs(maps[h].real).max(), np.abs(maps[h].imag).max()) / unit[h]
        assert LARGEST / 2 < largest <= LARGEST
    assert np.all(np.exp2(np.rint(np.log2(unit))) == unit)
    middle, seen = grid.radius + 1, 0
    for h, z, y, x in rng.integers(0, maps.shape, (2000, 4)):
        re, im, inverse, nothing = found[h, place(z, y, x, grid.shape[1])]
        if (x - middle) ** 2 + (y - middle) ** 2 + z**2 > (grid.radius + 3) ** 2:
            assert re == im == inverse == 0.0
            continue
        for value, exact in ((re, maps[h, z, y, x].real), (im, maps[h, z, y, x].imag)):
            rounded = np.float16(exact / unit[h])
            assert value == (0.0 if abs(rounded) < np.finfo(np.float16).tiny else rounded)
        assert nothing == 0.0
        k = np.array([x - middle, y - middle, z]) / grid.padding
        if np.linalg.norm(k) > coarse.radius + 0.5:
            continue
        seen += 1
        expected = min((1e12 if h else 1.0) * (1 + abs(k[0])), MOST_SHARE / share)
        assert inverse * voxels.density_unit == pytest.approx(expected, rel=2**-10)
    assert seen > 500
    without = pack_voxels(there, 2, grid, backend)
    left = backend.to_host(without.values).reshape(2, -1, 4)
    assert not left[..., 2].any()
    np.testing.assert_array_equal(left[..., :2], backend.to_host(voxels.values)[..., :2])


def test_a_grid_is_let_go_before_the_next_is_made() -> None:
    grid, made = FourierGrid.of(16, 2.0, 1.75), []

    def grids() -> Iterator[np.ndarray]:
        for _ in range(3):
            assert not any(one() is not None for one in made)
            values = np.zeros(grid.shape, dtype=np.complex64)
            made.append(weakref.ref(values))
            yield values
            del values

    pack_voxels(grids(), 3, grid, get_backend("cpu"))
    assert len(made) == 3
