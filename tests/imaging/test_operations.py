"""Images moved, turned and filtered: against analytic images, NumPy's own moves, and projections."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cryocore.conventions import euler_to_matrix
from cryocore.imaging.ctf import ctf
from cryocore.imaging.operations import band_passed, low_passed, rotated, translated, with_ctf
from cryocore.tables.particles import Optics

N = 48
KRIOS = Optics("krios", N, 1.5, voltage_kv=300.0, cs_mm=2.7, amplitude_contrast=0.1)


def blob(x: float, y: float, n: int = N, turn_deg: float = 0.0) -> Any:
    """An elongated Gaussian at (x, y) from the origin, turned with the image."""
    v, u = np.mgrid[:n, :n] - n // 2 * 1.0
    angle = np.deg2rad(turn_deg)
    c, s = np.cos(angle), np.sin(angle)
    a, b = c * u + s * v - x, -s * u + c * v - y
    return np.exp(-0.5 * ((a / 4.0) ** 2 + (b / 2.0) ** 2))


@pytest.mark.parametrize("n", [48, 47])
def test_whole_pixels_are_moved_as_by_numpy(n: int) -> None:
    images = np.random.default_rng(0).normal(size=(2, 3, n, n))
    if n % 2 == 0:  # nothing at the last frequency, which has no phase
        images = low_passed(images, 1.0, 2.3)
    np.testing.assert_allclose(translated(images, (3.0, -5.0)), np.roll(images, (-5, 3), axis=(-2, -1)), atol=1e-12)


def test_each_image_is_moved_by_its_own() -> None:
    image, shifts = blob(0.0, 0.0), np.array([[2.5, 0.0], [-1.25, 3.5]])
    moved = translated(np.stack([image, image]), shifts)
    np.testing.assert_allclose(moved, [blob(2.5, 0.0), blob(-1.25, 3.5)], atol=1e-6)


@pytest.mark.parametrize("n", [48, 47])
def test_an_image_is_turned_about_the_origin(n: int) -> None:
    angles = np.array([0.0, 17.0, 45.0, 90.0, 133.0, -100.0, 270.0, 360.0, 1000.0])
    found = rotated(np.stack([blob(6.0, 3.0, n)] * len(angles)), angles)
    np.testing.assert_allclose(found, [blob(6.0, 3.0, n, angle) for angle in -angles], atol=1e-4)


def test_turning_back_gives_the_image_again() -> None:
    image = blob(5.0, -4.0)
    np.testing.assert_allclose(rotated(rotated(image, 37.0), -37.0), image, atol=1e-3)


def test_a_turned_image_is_that_of_the_particle_at_another_psi() -> None:
    """Projections of Gaussians about places, at two poses that differ in psi by 30 degrees."""
    places = np.random.default_rng(1).normal(0.0, 5.0, (12, 3))
    v, u = np.mgrid[:N, :N] - N // 2

    def image(psi_deg: float) -> Any:
        seen = places @ euler_to_matrix(35.0, 70.0, psi_deg).T
        return sum(np.exp(-((u - x) ** 2 + (v - y) ** 2) / 8.0) for x, y, _ in seen)

    np.testing.assert_allclose(rotated(image(-20.0), 30.0), image(10.0), atol=1e-6)


def test_the_ctf_is_that_of_the_formula() -> None:
    images = np.random.default_rng(3).normal(size=(2, N, N))
    u, v, angle = np.array([9000.0, 15000.0]), np.array([8800.0, 14000.0]), np.array([10.0, 70.0])
    found = with_ctf(images, KRIOS, u, v, angle)
    fy, fx = np.meshgrid(np.fft.fftfreq(N, 1.5), np.fft.fftfreq(N, 1.5), indexing="ij")
    for i in range(2):
        expected = np.fft.ifft2(np.fft.fft2(images[i]) * ctf(fx, fy, KRIOS, u[i], v[i], angle[i])).real
        # the CTF is even but for the last frequency, of which a half transform has one sign only
        np.testing.assert_allclose(low_passed(found[i], 1.5, 3.5), low_passed(expected, 1.5, 3.5), atol=1e-9)


def test_bands_are_kept_and_the_rest_is_not() -> None:
    noise = np.random.default_rng(4).normal(size=(20, N, N))
    power = np.mean(np.abs(np.fft.fft2(band_passed(noise, 1.5, 18.0, 6.0))) ** 2, axis=0) / N**2
    shell = N * np.hypot(np.fft.fftfreq(N)[:, None], np.fft.fftfreq(N))
    assert power[(shell > 6) & (shell < 10)].mean() == pytest.approx(1.0, abs=0.1)
    assert power[(shell < 2) | (shell > 14)].max() < 1e-20
    np.testing.assert_allclose(low_passed(noise, 1.5, 3.0).mean(), noise.mean(), atol=1e-12)
    np.testing.assert_array_equal(band_passed(noise, 1.5, 73.0, 6.0), low_passed(noise, 1.5, 6.0))
    with pytest.raises(ValueError, match="not coarser"):
        band_passed(noise, 1.5, 6.0, 18.0)


def test_what_are_no_images_is_refused() -> None:
    images = np.zeros((2, N, N), dtype=np.float32)
    assert rotated(images[:0], 10.0).shape == low_passed(images[:0], 1.0, 5.0).shape == (0, N, N)
    with pytest.raises(ValueError, match=r"\(\.\.\., n, n\)"):
        rotated(np.zeros((N, N // 2)), 10.0)
    with pytest.raises(ValueError, match=r"\(\.\.\., 2\)"):
        translated(images, (1.0, 2.0, 3.0))
    with pytest.raises(TypeError, match="float16"):
        translated(images.astype(np.float16), (1.0, 2.0))


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_torch_gives_the_same_and_gradients(precision: str) -> None:
    torch = pytest.importorskip("torch")
    image = np.random.default_rng(5).normal(size=(3, N, N)).astype(precision)
    tensor = torch.tensor(image, requires_grad=True)
    turn, move = np.array([10.0, 100.0, -60.0]), (1.5, -2.0)
    found = low_passed(with_ctf(rotated(translated(tensor, move), turn), KRIOS, 1e4, 9e3, 20.0), 1.5, 5.0)
    expected = low_passed(with_ctf(rotated(translated(image, move), turn), KRIOS, 1e4, 9e3, 20.0), 1.5, 5.0)
    assert str(found.dtype) == f"torch.{precision}" and expected.dtype == precision
    tolerance = 1e-5 if precision == "float32" else 1e-12
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=tolerance)
    (found**2).sum().backward()
    assert torch.isfinite(tensor.grad).all() and float(tensor.grad.abs().max()) > 0.1
