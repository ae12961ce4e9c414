"""Band sums of the kernels: at any pose, with a particle's self-contribution taken out; against real space."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pytest
from scipy.ndimage import gaussian_filter

from benchmarks.performance import scoring
from cryocore.backend import get_backend
from cryocore.backend.base import kernel_source
from cryocore.geometry.rotations import random_rotations, rotations_by_angle
from cryocore.imaging.grid import FourierGrid
from cryocore.imaging.image_geometry import ImageGeometry
from cryocore.imaging.prepare import prepare
from cryocore.imaging.slices import project
from cryocore.imaging.volumes import map_to_grid
from cryocore.imaging.voxels import pack_voxels
from cryocore.score.bands import LANES, band_edges, band_samples
from cryocore.score.reference import NEIGHBOUR_DEG, NEIGHBOUR_PAIRS, mask_overlap, neighbour_correlation
from cryocore.score.sums import Batch, own_sums, pose_sums, shift_sums
from cryocore.tables.particles import Particles
from tests.phantoms import BACKENDS, in_half_precision, optics

BOX = 32


def test_bands_are_filled_up_with_the_origin() -> None:
    frame = ImageGeometry.of(optics(BOX), FourierGrid.of(BOX, 2.0, 2.0))
    samples = band_samples(frame, band_edges(8, frame.limit))
    pairs, start = samples.lanes
    assert np.all(start % LANES == 0)
    for band, (low, high) in enumerate(zip(samples.start[:-1], samples.start[1:], strict=True)):
        inside = pairs[start[band] : start[band + 1]]
        assert np.array_equal(inside[: high - low], samples.pairs[low:high])
        assert not inside[high - low :].any()
        assert len(inside) - (high - low) < LANES


def test_kernels_and_bands_agree_on_the_lanes() -> None:
    sizes = re.findall(r"#define (?:HOST_)?LANES (\w+)", kernel_source("score.cu"))
    assert sorted(sizes) == ["1", str(LANES), "HOST_LANES"]


@pytest.mark.parametrize("name", BACKENDS)
def test_sums_at_other_poses_are_those_of_slices(name: str) -> None:
    """Without a share of their own, particles are compared with plain slices; at their own pose both kernels agree."""
    backend = get_backend(name)
    particles, volume, images = scoring.data_set(BOX, backend)
    particles, images = particles.take(np.arange(30)), images[:30]
    grid = FourierGrid.of(BOX, scoring.PIXEL_ANGSTROM, scoring.PADDING)
    frame = ImageGeometry.of(particles.optics[0], grid)
    reference = scoring.reference_of(volume, grid, frame, backend)
    samples, rotations = reference.samples[0], particles.rotations
    n, half = len(particles), np.zeros(len(particles), dtype=np.int32)
    prepared = prepare(images, particles, frame, backend)
    poses = random_rotations(2 * n, np.random.default_rng(1)).reshape(n, 2, 3, 3)
    poses[:, 0] = rotations
    without, within = (
        Batch(prepared, rotations, half, np.full(n, h, np.float32), reference, samples, backend)
        for h in (0.0, reference.self_contribution)
    )
    host = backend.to_host
    sums = {
        weight: (host(own_sums(batch)), host(pose_sums(batch, poses)))
        for weight, batch in ((0.0, without), (1.0, within))
    }
    for own, others in sums.values():
        np.testing.assert_allclose(others[:, 0], own[..., 1:3], rtol=1e-5, atol=1e-5 * np.abs(own[..., 1:3]).max())
    np.testing.assert_array_equal(host(pose_sums(within, poses, 5)), sums[1.0][1][:, :, :5])
    np.testing.assert_array_equal(
        host(shift_sums(within, np.zeros((n, 1, 2)), 5)), host(shift_sums(within, np.zeros((n, 1, 2))))[:, :, :5]
    )
    assert np.abs(sums[1.0][0] - sums[0.0][0]).max() > 1e-3 * np.abs(sums[0.0][0]).max()
    grids = backend.to_device(in_half_precision(map_to_grid(volume, grid))[None])
    x = backend.to_host(prepared.ctf * project(grids, poses[:, 1], half, frame, backend)).astype(np.complex128)
    y, (kx, ky) = backend.to_host(prepared.image), samples.pairs.T.astype(int)
    x, y = x[:, ky + frame.limit, kx], y[:, ky + frame.limit, kx]
    for i, values in enumerate((np.abs(x) ** 2, (np.conj(y) * x).real)):
        expected = 2 * np.add.reduceat(values, samples.start[:-1], axis=1)
        np.testing.assert_allclose(sums[0.0][1][:, 1, :, i], expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", BACKENDS)
def test_slices_of_neighbouring_views_are_compared_about_their_mean(name: str) -> None:
    """Against slices that are kept and multiplied in NumPy."""
    backend, grid = get_backend(name), FourierGrid.of(BOX, 2.0, 1.5)
    frame, edges = ImageGeometry.of(optics(BOX), grid), band_edges(8, grid.last_shell - 1)
    samples = band_samples(frame, edges)
    maps = np.random.default_rng(0).standard_normal((2, BOX, BOX, BOX), dtype=np.float32)
    grids = np.stack([in_half_precision(map_to_grid(gaussian_filter(m, 1.5), grid)) for m in maps])
    mean = np.random.default_rng(1).normal(0.0, 1.0, (2, samples.n_bands)) * np.abs(grids).mean()
    voxels = pack_voxels(backend.to_device(grids), 2, grid, backend)
    correlation, power = neighbour_correlation(voxels, mean, frame, samples, backend)
    rng, n = np.random.default_rng(0), NEIGHBOUR_PAIRS
    first = random_rotations(n, rng)
    second = rotations_by_angle(rng.normal(size=(n, 3)), np.full(n, NEIGHBOUR_DEG)) @ first
    (kx, ky), size = samples.pairs.T.astype(int), np.diff(samples.start)
    for h in range(2):
        half, on_device = np.full(n, h, dtype=np.int32), backend.to_device(grids)
        slices = [backend.to_host(project(on_device, r, half, frame, backend)) for r in (first, second)]
        u, v = (s[:, ky + frame.limit, kx].astype(np.complex128) - np.repeat(mean[h], size) for s in slices)
        inner, a, b = (
            np.add.reduceat(x.sum(axis=0), samples.start[:-1])
            for x in ((u.conj() * v).real, np.abs(u) ** 2, np.abs(v) ** 2)
        )
        np.testing.assert_allclose(correlation[h], np.clip(inner / np.sqrt(a * b), 0, 1), atol=1e-4)
        np.testing.assert_allclose(power[h], 0.5 * (a + b) / n, rtol=1e-4)
    assert correlation[:, 0].min() > correlation[:, -1].max()


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("k", [1, 8, 11])
def test_displaced_shifts_are_those_of_a_particle_whose_shift_is_displaced(name: str, k: int) -> None:
    """With a self-contribution too, since the prediction without the particle stays that of its own pose and shift."""
    backend = get_backend(name)
    particles, volume, images = scoring.data_set(BOX, backend)
    n = 12
    particles, images = particles.take(np.arange(n)), images[:n]
    grid = FourierGrid.of(BOX, scoring.PIXEL_ANGSTROM, scoring.PADDING)
    frame = ImageGeometry.of(particles.optics[0], grid)
    reference = scoring.reference_of(volume, grid, frame, backend)
    half = np.zeros(n, dtype=np.int32)
    moves = np.random.default_rng(2).normal(0.0, 6.0, (n, k, 2))
    for weight in (0.0, 1.0):
        self_contribution = np.full(n, weight * reference.self_contribution, np.float32)
        common = (particles.rotations, half, self_contribution, reference, reference.samples[0], backend)
        batch = Batch(prepare(images, particles, frame, backend), *common)
        still, own = (backend.to_host(s) for s in (shift_sums(batch, np.zeros((n, k, 2))), own_sums(batch)))
        for at in range(k):
            np.testing.assert_allclose(still[:, at], own[..., 2], rtol=1e-4, atol=1e-5 * np.abs(own[..., 2]).max())
        if weight:
            continue
        found = backend.to_host(shift_sums(batch, moves))
        for at in range(k):
            moved = prepare(images, displaced(particles, moves[:, at]), frame, backend)
            expected = backend.to_host(own_sums(Batch(moved, *common)))[..., 2]
            np.testing.assert_allclose(found[:, at], expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())


def displaced(particles: Particles, moves: np.ndarray) -> Particles:
    """The particles with their shifts moved by ``(n, 2)`` Å."""
    table = particles.table
    for i, axis in enumerate("xy"):
        name = f"shift_{axis}_angstrom"
        at = pa.array(particles.shifts_angstrom[:, i] + moves[:, i])
        table = table.set_column(table.schema.get_field_index(name), name, at)
    return Particles(table, particles.optics)


def test_scores_agree_with_real_space() -> None:
    found = scoring.measure(BOX)
    assert found["correlation"] > 0.999999
    assert found["largest_difference"] < 1e-3


def test_a_coefficient_reaches_as_far_as_the_transform_of_the_mask() -> None:
    """Of a ball it is 3 (sin q - q cos q) / q³; in steps of a quarter of a shell, up to six shells."""
    n, radius = 64, 16
    r = np.sqrt(sum((np.indices((n, n, n)) - n // 2) ** 2))
    q = 2 * np.pi * np.arange(24) / 4 * radius / n
    expected = np.ones(24)
    expected[1:] = 3 * (np.sin(q[1:]) - q[1:] * np.cos(q[1:])) / q[1:] ** 3
    found = mask_overlap((r <= radius).astype(np.float32))
    assert found.shape == (24,)
    np.testing.assert_allclose(found, expected, atol=0.01)
