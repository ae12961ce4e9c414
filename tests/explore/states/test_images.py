"""Residuals at low resolution, and their products with templates."""

from __future__ import annotations

import numpy as np
import pytest

from cryocore.backend import get_backend
from cryocore.explore.states.images import (
    Residuals,
    coarse_map,
    grids_of,
    products,
    residual_parts,
    signal_of,
    template_slices,
)
from cryocore.geometry.rotations import random_rotations
from cryocore.imaging.accumulate import symmetrise
from cryocore.imaging.grid import FourierGrid
from cryocore.imaging.image_geometry import ImageGeometry
from cryocore.imaging.insertion import Insertion
from cryocore.imaging.prepare import Prepared
from cryocore.imaging.solve import Solver
from cryocore.imaging.volumes import map_to_grid
from cryocore.score.bands import disc
from cryocore.tables.particles import Optics
from cryocore.types import Floats32
from tests.explore.states.test_templates import blobs

CPU = get_backend("cpu", threads=1)
GRID = FourierGrid.of(24, 4.0, 2.0, 11)
FRAME = ImageGeometry.of(Optics("x", 24, 4.0, 300.0, 2.7, 0.1), GRID)


def noise(n: int) -> Residuals:
    """Residuals of n particles that are noise alone."""
    rng = np.random.default_rng(1)
    used = disc(FRAME)[1]
    shape = (n, *used.shape)
    values = np.sqrt(0.5) * (rng.normal(size=shape) + 1j * rng.normal(size=shape)) * used
    contrast = np.broadcast_to(rng.uniform(0.5, 1.0, (n, 1, 1)) * used, shape).astype(np.float32)
    half = (np.arange(n) % 2).astype(np.int32)
    quadrature = rng.normal(size=shape).astype(np.float32) * used
    given = values.astype(np.complex64), contrast, quadrature.astype(np.float32), random_rotations(n, rng), half
    return Residuals(*given, np.arange(n), FRAME, GRID)


@pytest.fixture(scope="module")
def maps() -> Floats32:
    return np.stack([blobs(), blobs()])


def test_many_small_maps_are_transformed_as_one() -> None:
    volumes = np.random.default_rng(0).normal(size=(3, 24, 24, 24)).astype(np.float32)
    expected = np.stack([map_to_grid(volume, GRID) for volume in volumes])
    np.testing.assert_allclose(grids_of(volumes, GRID), expected, atol=1e-5 * np.abs(expected).max())


def test_a_coarse_map_is_the_map_at_low_resolution() -> None:
    z, y, x = np.indices((48,) * 3) - 24
    fine = np.exp(-((x - 3) ** 2 + y**2 + (z + 2) ** 2) / 72.0).astype(np.float32)
    z, y, x = np.indices((24,) * 3) - 12
    expected = np.exp(-((x - 1.5) ** 2 + y**2 + (z + 1) ** 2) / 18.0)
    np.testing.assert_allclose(coarse_map(fine, 24), expected, atol=2e-3)


def test_a_half_map_keeps_its_signal_and_loses_noise() -> None:
    noisy = np.stack([blobs(), blobs()]) + np.random.default_rng(0).normal(0.0, 0.05, (2, 24, 24, 24)).astype(
        np.float32
    )
    kept = signal_of(noisy)
    before, after = (np.sum((part[0] - blobs()) ** 2) for part in (noisy, kept))
    assert after < 0.3 * before
    assert abs(np.sum(kept[0] * blobs()) / np.sum(blobs() ** 2) - 1) < 0.05


def test_products_of_noise_have_the_variance_that_is_said(maps: Floats32) -> None:
    left = noise(1500)
    changes = np.stack([np.roll(blobs(), shift, axis=2) * 0.05 for shift in (1, 4)])
    y, g = products(left, lambda _: grids_of(changes, GRID), maps, CPU)
    ratio = np.mean(y**2 / g, axis=0)
    assert np.all(g > 0) and np.all(np.abs(ratio - 1) < 4 * np.sqrt(2 / 1500))


def test_what_a_particle_may_be_by_itself_is_no_state(maps: Floats32) -> None:
    """A map that is scaled or moved as a whole has next to no power left, another part of it has."""
    left = noise(40)
    x = np.arange(24) - 12
    part = blobs() * (x > 2)
    moved = np.roll(blobs(), 1, axis=2) - np.roll(blobs(), -1, axis=2)
    kept = []
    for change in (blobs(), moved, part):
        grids = grids_of(change[None], GRID)
        g = products(left, {0: grids, 1: grids}.__getitem__, maps, CPU)[1]
        flat, contrast = template_slices(left, np.arange(40), grids, CPU)
        kept.append(float(g.sum() / np.sum((flat[:, 0] * contrast) ** 2)))
    assert kept[0] < 1e-4 and kept[1] < 0.05 and kept[2] > 0.2


def test_noise_alone_makes_no_difference_map(maps: Floats32) -> None:
    """Images weighted by what they have of a template show it, unless that is taken out."""
    left = noise(3000)
    change = 0.02 * blobs() * (np.arange(24) > 14)
    y, g = (
        values[:, 0].astype(np.float64) for values in products(left, lambda _: grids_of(change[None], GRID), maps, CPU)
    )
    shown = {}
    for name, slope in (("as it is", np.zeros(3000)), ("without", np.ones(3000))):
        images = residual_parts(left, (change, change), maps, y, slope, CPU)
        insertion = Insertion(GRID, CPU)
        insertion.add(Prepared(images, left.ctf, FRAME), left.rotations, np.ones(3000, dtype=np.float32), left.half)
        solver = Solver(symmetrise(insertion.sums(), np.eye(3)[None]), np.eye(3)[None])
        found = solver.half(0) + solver.half(1)
        shown[name] = float(np.corrcoef(found.ravel(), change.ravel())[0, 1])
    assert shown["as it is"] > 0.15 and abs(shown["without"]) < 0.05
    assert np.all(g > 0)
