"""P, its adjoint, C and S against closed forms, on every backend at hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cryocore.backend import Backend, CpuBackend, get_backend, host
from cryocore.geometry.rotations import random_rotations
from cryocore.imaging.aberrations import phase_tables
from cryocore.imaging.ctf import ctf
from cryocore.imaging.grid import FourierGrid, FourierSums
from cryocore.imaging.image_geometry import ImageGeometry, slice_basis
from cryocore.imaging.insertion import Insertion
from cryocore.imaging.prepare import Prepared, prepare
from cryocore.imaging.slices import project
from cryocore.imaging.volumes import (
    fold_friedel,
    grid_to_map,
    interpolation_factor,
    map_to_grid,
)
from tests.phantoms import BACKENDS, Blobs, optics, particles, used_samples


def frame_of(box: int, padding: float = 2.0, **changes: object) -> ImageGeometry:
    return ImageGeometry.of(optics(box, **changes), FourierGrid.of(box, 2.0, padding))


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize(
    ("box", "padding", "tolerance"), [(48, 2.0, 0.012), (49, 2.0, 0.012), (48, 1.5, 0.025), (48, 1.0, 0.06)]
)
def test_projection_matches_closed_form(name: str, box: int, padding: float, tolerance: float) -> None:
    backend, blobs = get_backend(name), Blobs.random(30, spread=4.0, width=1.8)
    rotations = random_rotations(6, np.random.default_rng(1))
    frame = frame_of(box, padding)
    grid = map_to_grid(blobs.map(box), FourierGrid.of(box, 2.0, padding))
    half = np.zeros(6, dtype=np.int32)
    found = backend.to_host(project(backend.to_device(grid[None]), rotations, half, frame, backend))
    used = used_samples(frame.limit)
    expected = blobs.slices(rotations, frame.limit, box)
    assert np.all(found[:, ~used] == 0)
    assert np.linalg.norm(found[:, used] - expected[:, used]) < tolerance * np.linalg.norm(expected[:, used])


@pytest.mark.parametrize("name", BACKENDS)
def test_insertion_is_the_adjoint_of_projection(name: str) -> None:
    backend, box, n = get_backend(name), 32, 40
    rng = np.random.default_rng(2)
    rotations, frame = random_rotations(n, rng), frame_of(box)
    shape = (2, *FourierGrid.of(box, 2.0, 2.0).shape)
    volume = (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)
    volume[:, 0] = [fold_friedel(plane) for plane in volume[:, 0]]
    data, half = particles(rotations, frame.optics), (np.arange(n) % 2).astype(np.int32)
    images = rng.normal(size=(n, box, box)).astype(np.float32)
    batch, weights = prepare(images, data, frame, backend), rng.uniform(0.2, 2.0, n).astype(np.float32)
    slices = backend.to_host(project(backend.to_device(volume), rotations, half, frame, backend))
    image, contrast = backend.to_host(batch.image), backend.to_host(batch.ctf)
    left = np.sum((weights[:, None, None] * contrast * slices * np.conj(image)).real, dtype=np.float64)

    insertion = Insertion(FourierGrid.of(box, 2.0, 2.0), backend)
    insertion.add(batch, rotations, weights, half)
    sums = insertion.sums().on(host())
    # in the plane kz = 0 both hold both mates of each pair
    products = (volume * np.conj(sums.numerator.astype(np.complex128))).real
    assert left == pytest.approx(products.sum() - 0.5 * products[:, 0].sum(), rel=2e-5)
    total = np.sum(weights[:, None, None] * contrast.astype(np.float64) ** 2)
    power = sums.denominator.astype(np.float64)
    assert power.sum() - 0.5 * power[:, 0].sum() == pytest.approx(total, rel=1e-5)


def summed(
    box: int, n: int, backend: Backend, parts: int, weights: np.ndarray | None = None, add: Any = Insertion.add
) -> FourierSums:
    """The sums of noise at random poses, to which ``add`` adds so many batches."""
    rng = np.random.default_rng(3)
    rotations, frame = random_rotations(n, rng), frame_of(box)
    data, half = particles(rotations, frame.optics), (np.arange(n) % 2).astype(np.int32)
    images = rng.normal(size=(n, box, box)).astype(np.float32)
    weights = np.ones(n, np.float32) if weights is None else weights
    insertion = Insertion(FourierGrid.of(box, 2.0, 2.0), backend)
    for rows in np.array_split(np.arange(n), parts):
        batch = prepare(images[rows], data.take(rows), frame, backend)
        add(insertion, batch, rotations[rows], weights[rows], half[rows])
    return insertion.sums().on(host())


def add_one_by_one(
    insertion: Insertion, batch: Prepared, rotations: np.ndarray, weights: np.ndarray, half: np.ndarray
) -> None:
    """The definition: each sample, folded into the half space, on the eight voxels round it."""
    r, radius, basis = batch.frame.limit, insertion.grid.radius, slice_basis(rotations, batch.frame)
    ky, kx = (k.astype(np.float32) for k in np.nonzero(used_samples(r)))
    ky -= np.float32(r)
    at = ky[:, None] * basis[:, None, 3:] + kx[:, None] * basis[:, None, :3]
    inside = np.sum(at**2, axis=-1) <= (radius + 0.5) ** 2
    which, at = np.nonzero(inside)[0], at[inside]
    contrast = batch.ctf[:, used_samples(r)][inside].astype(np.float64)
    sample = weights[which] * contrast * batch.image[:, used_samples(r)][inside]
    folded = at[:, 2] < 0
    at[folded] *= -1
    sample[folded] = np.conj(sample[folded])
    low = np.floor(at).astype(int)
    for corner in np.ndindex(2, 2, 2):
        share = np.prod(np.where(corner, at - low, 1 - (at - low)), axis=-1)
        x, y, z = (low + corner).T
        voxels = half[which], z, y + radius + 1, x + radius + 1
        np.add.at(insertion.numerator, voxels, share * sample)
        np.add.at(insertion.denominator, voxels, share * weights[which] * contrast**2)


def test_sums_do_not_depend_on_threads_or_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cryocore.backend.insertion.WAITING_LEAST", 1 << 20)
    monkeypatch.setattr("cryocore.backend.insertion.WAITING_SHARE", 0.0)
    one = summed(32, 160, CpuBackend(threads=1), parts=1)
    assert np.abs(one.numerator).max() > 0
    for threads, parts in ((3, 1), (2, 5)):
        other = summed(32, 160, CpuBackend(threads=threads), parts=parts)
        assert np.array_equal(one.numerator, other.numerator)
        assert np.array_equal(one.denominator, other.denominator)


@pytest.mark.parametrize("name", BACKENDS)
def test_samples_add_up_to_those_added_one_by_one(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Whatever waits, in bins of either size, with weights of either sign."""
    box, n = 32, 60
    weights = np.random.default_rng(4).uniform(-1, 2, n).astype(np.float32)
    weights[::7] = 0
    expected = summed(box, n, CpuBackend(threads=1), 1, weights, add_one_by_one)
    scale = np.abs(expected.numerator).max(), np.abs(expected.denominator).max()
    monkeypatch.setattr("cryocore.backend.insertion.WAITING_SHARE", 0.0)
    for waiting, side, parts in ((1 << 27, 4, 1), (1, 4, 9), (1 << 20, 5, 3), (1, 2, 1)):
        monkeypatch.setattr("cryocore.backend.insertion.WAITING_LEAST", waiting)
        monkeypatch.setattr("cryocore.backend.insertion.bin_side", lambda radius, side=side: side)
        found = summed(box, n, get_backend(name, threads=2), parts, weights)
        # float32 sums of some hundred terms in two orders: 1e-7 times the root of their number, several times over
        assert np.abs(found.numerator - expected.numerator).max() < 1e-5 * scale[0]
        assert np.abs(found.denominator - expected.denominator).max() < 1e-5 * scale[1]


@pytest.mark.parametrize("name", BACKENDS)
def test_prepared_image_is_centred_and_ctf_is_the_formula(name: str) -> None:
    backend, box, pixel, n = get_backend(name), 48, 2.0, 8
    rng = np.random.default_rng(4)
    data = particles(
        random_rotations(n, rng),
        optics(box, pixel),
        shift_x_angstrom=rng.integers(-5, 6, n) * pixel,
        shift_y_angstrom=rng.integers(-5, 6, n) * pixel,
        phase_shift_deg=rng.uniform(0, 90, n),
        ctf_bfactor=rng.uniform(0, 80, n),
        ctf_scale=rng.uniform(0.5, 1.0, n),
    )
    images = rng.normal(size=(n, box, box)).astype(np.float32)
    frame = ImageGeometry.of(data.optics[0], FourierGrid.of(box, pixel, 2.0))
    batch = prepare(images, data, frame, backend)
    used, r = used_samples(frame.limit), frame.limit
    ky, kx = np.mgrid[-r : r + 1, 0 : r + 1]
    for i in range(n):
        shift = np.rint(data.shifts_angstrom[i] / pixel).astype(int)
        centred = np.roll(np.fft.ifftshift(images[i]), shift[::-1], axis=(0, 1))
        expected = np.fft.rfft2(centred)[ky, kx] / box
        np.testing.assert_allclose(backend.to_host(batch.image)[i][used], expected[used], atol=3e-4)
        u, v, angle, phase, bfactor, scale = (
            float(data.column(c)[i])
            for c in (
                "defocus_u_angstrom",
                "defocus_v_angstrom",
                "defocus_angle_deg",
                "phase_shift_deg",
                "ctf_bfactor",
                "ctf_scale",
            )
        )
        fx, fy = kx / (box * pixel), ky / (box * pixel)
        formula = scale * np.exp(-bfactor / 4 * (fx**2 + fy**2)) * ctf(fx, fy, data.optics[0], u, v, angle, phase)
        np.testing.assert_allclose(backend.to_host(batch.ctf)[i][used], formula[used], atol=2e-4)


def test_phase_flipped_and_premultiplied_images_are_undone() -> None:
    backend, box, n = get_backend("cpu"), 48, 6
    rng = np.random.default_rng(5)
    rotations, images = random_rotations(n, rng), rng.normal(size=(n, box, box)).astype(np.float32)
    plain = frame_of(box)
    data = particles(rotations, plain.optics)
    reference = prepare(images, data, plain, CpuBackend())
    ky, kx = np.mgrid[0:box, 0 : box // 2 + 1]
    ky = np.where(ky > box // 2, ky - box, ky)
    for kind in ("phase_flipped", "premultiplied"):
        changed = images.copy()
        for i in range(n):
            values = (
                float(data.column(c)[i]) for c in ("defocus_u_angstrom", "defocus_v_angstrom", "defocus_angle_deg")
            )
            contrast = ctf(kx / (2.0 * box), ky / (2.0 * box), plain.optics, *values)
            factor = np.sign(contrast) if kind == "phase_flipped" else contrast
            changed[i] = np.fft.irfft2(np.fft.rfft2(images[i]) * factor, s=(box, box))
        frame = frame_of(box, **{kind: True})
        batch = prepare(changed, particles(rotations, frame.optics), frame, backend)
        clear = np.abs(reference.ctf) > 0.06
        assert clear.mean() > 0.5
        np.testing.assert_allclose(batch.image[clear], reference.image[clear], atol=2e-3)
        np.testing.assert_allclose(batch.ctf[clear], reference.ctf[clear], atol=1e-6)
        if kind == "premultiplied":
            assert np.all(batch.ctf[np.abs(reference.ctf) < 0.04] == 0)


def test_map_survives_the_grid_and_back() -> None:
    box = 40
    volume = Blobs.random(20, spread=4.0, width=1.7).map(box)
    grid = FourierGrid.of(box, 2.0, 2.0)
    values, line = map_to_grid(volume, grid), interpolation_factor(grid)
    back = grid_to_map([values], grid) * ((line[:, None, None] * line[:, None]) * line)
    np.testing.assert_allclose(back, volume, atol=2e-3 * volume.max())


def test_beam_tilt_is_an_odd_phase_and_zernikes_follow_their_order() -> None:
    tilted = optics(32, beam_tilt_mrad=(1.0, -0.5))
    even, odd = phase_tables(tilted, 15)
    assert even is None
    assert odd is not None
    np.testing.assert_allclose(odd[:, 0], -odd[::-1, 0], atol=1e-6)
    # RELION's sign; λ of 300 kV is 0.0197 Å
    assert odd[15, 10] == pytest.approx(-2e4 * 2.7 * 0.019687**2 * (10 / 64) ** 3, rel=1e-3)
    # Z(1,-1), Z(1,1), then Z(3,-3), Z(3,-1), Z(3,1), Z(3,3); Z(3,1) = (3 rho^3 - 2 rho) cos phi
    _, cubic = phase_tables(optics(32, odd_zernike=(0.0, 0.0, 0.0, 0.0, 2.0, 0.0)), 15)
    assert cubic is not None
    rho = 10 / 64.0
    assert cubic[15, 10] == pytest.approx(2.0 * (3 * rho**3 - 2 * rho) / np.pi, rel=1e-5)
    quadratic, _ = phase_tables(optics(32, even_zernike=(0.0, 0.0, 1.5)), 15)
    assert quadratic is not None
    assert quadratic[15, 10] == pytest.approx(1.5 * (2 * rho**2 - 1) / np.pi, rel=1e-5)
