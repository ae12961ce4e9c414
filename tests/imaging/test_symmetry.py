"""The second interpolation, at the symmetry equivalents of a point group, is undone by its own factor."""

from __future__ import annotations

import numpy as np
import pytest

from cryocore.backend import get_backend
from cryocore.geometry.symmetry import point_group
from cryocore.imaging.accumulate import symmetrise
from cryocore.imaging.grid import FourierGrid, FourierSums
from cryocore.imaging.solve import Solver
from cryocore.imaging.volumes import interpolation_factor, map_to_grid
from tests.phantoms import Blobs


@pytest.mark.gpu
@pytest.mark.parametrize("symmetry", ["C4", "D3", "T"])
def test_backends_agree(symmetry: str) -> None:
    grid, group, rng = FourierGrid.of(12, 2.0, 2.0), point_group(symmetry), np.random.default_rng(0)
    parts, power = (rng.normal(size=(2, *grid.shape, k)).astype(np.float32) for k in (2, 1))
    sums = FourierSums(parts.view(np.complex64)[..., 0].copy(), power[..., 0].copy(), grid)
    cpu = symmetrise(sums, group)
    gpu = symmetrise(sums.on(get_backend("cuda")), group).on(cpu.backend)
    np.testing.assert_allclose(gpu.numerator, cpu.numerator, atol=1e-5 * np.abs(cpu.numerator).max())
    np.testing.assert_allclose(gpu.denominator, cpu.denominator, atol=1e-5 * np.abs(cpu.denominator).max())


@pytest.mark.parametrize("symmetry", ["C1", "C4", "C7", "D2", "D7", "T", "O", "I1", "I2"])
def test_amplitude_does_not_depend_on_the_distance_from_an_axis(symmetry: str) -> None:
    """Sums of a symmetric molecule on an evenly filled grid: the solution is the molecule, near and far."""
    box, group = 48, point_group(symmetry)
    truth = Blobs.random(40, spread=6.0, width=1.6).symmetrised(group).map(box)
    grid = FourierGrid.of(box, 2.0, 2.0)
    line = interpolation_factor(grid)
    # insertion leaves sinc² on the map once; map_to_grid divides by it
    numerator = map_to_grid(truth * (line[:, None, None] * line[:, None] * line) ** 2, grid)
    sums = FourierSums(np.stack([numerator] * 2), np.ones((2, *numerator.shape), np.float32), grid)
    found = Solver(symmetrise(sums, group), group).half(0)
    found += truth.mean() - found.mean()
    position = np.mgrid[0:box, 0:box, 0:box] - box // 2
    for distance in (np.linalg.norm(position, axis=0), np.abs(position[0]), np.hypot(position[1], position[2])):
        for inner, outer in ((0, 6), (6, 11), (11, 17)):
            part = (distance >= inner) & (distance < outer)
            amplitude = (found * truth)[part].sum() / (truth * truth)[part].sum()
            assert amplitude == pytest.approx(1.0, abs=0.015), (inner, outer)
