"""Pruned transforms and shells against plain formulas in float64."""

from __future__ import annotations

import numpy as np
import pytest

from cryocore.imaging.grid import FourierGrid
from cryocore.imaging.volumes import (
    grid_to_map,
    interpolation_factor,
    map_to_grid,
    shell_counts,
    shell_means,
)

GRIDS = [(16, 2.0, None), (18, 1.5, None), (15, 2.0, 5), (16, 1.0, None)]


def squares(grid):
    """|k|² of every grid point."""
    along = np.arange(-(grid.radius + 1), grid.radius + 2) ** 2
    return (np.arange(grid.radius + 2) ** 2)[:, None, None] + along[:, None] + along


@pytest.mark.parametrize("box, padding, last", GRIDS)
def test_map_to_grid_is_the_padded_transform(box, padding, last):
    grid = FourierGrid.of(box, 1.0, padding, last)
    volume = np.random.default_rng(box).normal(size=(box,) * 3).astype(np.float32)
    line = interpolation_factor(grid).astype(np.float64)
    padded = np.zeros((grid.size,) * 3)
    padded[:box, :box, :box] = volume / (line[:, None, None] * line[:, None] * line)
    spectrum = np.fft.fftn(np.roll(padded, -(box // 2), axis=(0, 1, 2))) / box
    around = np.arange(-(grid.radius + 1), grid.radius + 2)
    expected = spectrum[np.ix_(np.arange(grid.radius + 2), around, around)]
    found = map_to_grid(volume, grid)
    assert found.dtype == np.complex64
    np.testing.assert_allclose(found, expected, atol=1e-6 * abs(expected).max())


@pytest.mark.parametrize("box, padding, last", GRIDS)
def test_grid_to_map_is_the_cropped_inverse(box, padding, last):
    grid = FourierGrid.of(box, 1.0, padding, last)
    rng, reach = np.random.default_rng(box), grid.radius
    shape = (reach + 1, 2 * reach + 1, 2 * reach + 1)
    values = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    values[squares(grid)[: reach + 1, 1:-1, 1:-1] > reach**2] = 0
    values[0] += values[0, ::-1, ::-1].conj()
    around = np.arange(-reach, reach + 1)
    spectrum = np.zeros((grid.size,) * 3, dtype=np.complex128)
    spectrum[np.ix_(np.arange(reach + 1), around, around)] = values
    spectrum[np.ix_(-np.arange(1, reach + 1), around, around)] = values[1:, ::-1, ::-1].conj()
    padded = np.fft.ifftn(spectrum).real * box
    expected = np.roll(padded, box // 2, axis=(0, 1, 2))[:box, :box, :box]

    given = np.zeros(grid.shape, dtype=np.complex64)
    given[: reach + 1, 1:-1, 1:-1] = values
    found = grid_to_map([given], grid)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6 * abs(expected).max())


@pytest.mark.parametrize("box, padding, last", GRIDS)
def test_shells_hold_the_points_nearest_to_them(box, padding, last):
    grid = FourierGrid.of(box, 1.0, padding, last)
    distance = squares(grid)
    shells = np.rint(np.sqrt(distance) / grid.padding).astype(int)
    shells[(distance > grid.radius**2) | (shells > grid.last_shell)] = grid.last_shell + 1
    # the whole ball: each plane kz > 0 has a symmetry equivalent below
    counts = np.bincount(np.concatenate([shells[:0:-1], shells]).ravel())[: grid.last_shell + 1]
    np.testing.assert_array_equal(2 * shell_counts(grid), counts)
    values = np.random.default_rng(box).random(grid.shape, dtype=np.float32)
    whole, shells = (np.concatenate([a[:0:-1, ::-1, ::-1], a]) for a in (values, shells))
    expected = np.bincount(shells.ravel(), whole.ravel())[: grid.last_shell + 1] / counts
    np.testing.assert_allclose(shell_means(values, grid), expected, rtol=1e-6)
