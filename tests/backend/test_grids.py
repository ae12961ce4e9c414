"""What a GPU makes of whole grids, against the CPU; the CPU itself in tests/imaging/test_volumes.py."""

from __future__ import annotations

import numpy as np
import pytest

from cryocore.backend import get_backend, host
from cryocore.geometry.symmetry import point_group
from cryocore.imaging.accumulate import symmetrise
from cryocore.imaging.grid import FourierGrid, FourierSums
from cryocore.imaging.solve import Solver, own_divisor, sampling_density
from cryocore.imaging.volumes import shell_means

GRIDS = [FourierGrid.of(16, 2.0, 2.0), FourierGrid.of(15, 2.0, 1.5, 5), FourierGrid.of(16, 2.0, 1.0)]


def sums_on(grid: FourierGrid) -> FourierSums:
    """Sums whose denominators have holes."""
    rng = np.random.default_rng(grid.size)
    numerator = rng.normal(size=(2, *grid.shape, 2)).astype(np.float32).view(np.complex64)[..., 0]
    denominator = rng.exponential(size=(2, *grid.shape)).astype(np.float32)
    denominator[rng.random(denominator.shape) < 0.3] = 0.0
    denominator[:, :, :, : grid.radius // 2] = 0.0
    return FourierSums(numerator, denominator, grid)


@pytest.mark.gpu
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_shells(grid: FourierGrid) -> None:
    gpu, values = get_backend("cuda"), sums_on(grid).denominator[0]
    found, expected = shell_means(gpu.to_device(values), grid, gpu), shell_means(values, grid)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.gpu
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_densities(grid: FourierGrid) -> None:
    sums = sums_on(grid)
    there = sums.on(get_backend("cuda"))
    for of in (sampling_density, own_divisor):
        found = of(there)
        assert isinstance(found, np.ndarray)
        np.testing.assert_allclose(found, of(sums), rtol=2e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("symmetry", ["C1", "C3"])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_maps(grid: FourierGrid, symmetry: str) -> None:
    group, sums = point_group(symmetry), sums_on(grid)
    here, there = (Solver(symmetrise(s, group), group) for s in (sums, sums.on(get_backend("cuda"))))
    fsc = np.linspace(1.0, 0.0, grid.box // 2 + 1)
    for found, expected in ((there.half(1), here.half(1)), (there.merged(fsc), here.merged(fsc))):
        assert isinstance(found, np.ndarray)
        np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())


def test_sums_stay_where_they_are() -> None:
    sums = sums_on(GRIDS[0])
    assert sums.backend is host()
    assert sums.on(host()) is sums
