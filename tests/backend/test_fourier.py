"""Transforms of either backend against NumPy's, in float64."""

from __future__ import annotations

import numpy as np
import pytest

from cryocore.backend import CpuBackend, fourier_slabs, get_backend
from cryocore.backend.map_transforms import map_of_transform, transform_of_map

SIDES = [4, 15, 16, 34, 37, 48]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("threads", [1, 3])
def test_images(side: int, threads: int) -> None:
    images = np.random.default_rng(side).normal(size=(19, side, side)).astype(np.float32)
    backend, expected, width = CpuBackend(threads), np.fft.rfft2(images.astype(np.float64)), side // 3 + 1
    for used, kept in ((None, side // 2 + 1), (width, width)):
        found = backend.rfft2(images, used)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found[..., :kept], expected[..., :kept], atol=3e-6 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("box, size, radius", [(12, 24, 10), (15, 32, 13), (16, 16, 5), (17, 37, 12), (12, 24, 11)])
def test_maps(name: str, box: int, size: int, radius: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fourier_slabs, "SLAB_BYTES", 5 * 8 * size * box)
    backend, rng = get_backend(name), np.random.default_rng(box)
    on_device = backend.to_device
    volume = rng.normal(size=(box,) * 3).astype(np.float32)
    line = rng.uniform(0.5, 1.5, box).astype(np.float32)
    around = np.arange(-(radius + 1), radius + 2)

    def whole_of(values: np.ndarray) -> np.ndarray:
        padded = np.zeros((size,) * 3)
        padded[:box, :box, :box] = values
        return np.fft.fftn(np.roll(padded, -(box // 2), axis=(0, 1, 2)))

    def within(values: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(values[np.ix_(np.arange(radius + 2), around, around)])

    whole = whole_of(volume)
    found = transform_of_map(on_device(volume), size, radius, None, backend)
    np.testing.assert_allclose(backend.to_host(found), within(whole), atol=3e-6 * np.abs(whole).max())
    weighted = backend.to_host(transform_of_map(on_device(volume), size, radius, line, backend))
    expected = within(whole_of(volume / (box * line[:, None, None] * line[:, None] * line)))
    np.testing.assert_allclose(weighted, expected, atol=3e-6 * np.abs(expected).max())

    k = np.fft.fftfreq(size, 1 / size)
    square = np.rint(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2).astype(int)
    inside = square <= radius**2
    weight = rng.uniform(0.1, 2.0, square.max() + 1).astype(np.float32)
    denominator = np.where(square > 0, weight[square], 1.0).astype(np.float32)
    floor, added = np.full(radius**2 + 1, 0.5, np.float32), weight[: radius**2 + 1]
    divided = np.where((square > 0) & inside, whole / (np.maximum(denominator, 0.5) + weight[square]), 0)
    below = on_device(within(denominator))
    for numerators, denominators, spectrum in (
        ([found], [], np.where(inside, whole, 0)),
        ([found], [below], divided),
        ([0.25 * found, 0.75 * found], [0.5 * below] * 2, divided),
    ):
        back = np.roll(np.fft.ifftn(spectrum).real, box // 2, axis=(0, 1, 2))[:box, :box, :box]
        limits = (floor, added) if denominators else (None, None)
        given = numerators, denominators, *limits, box, size, radius
        again = map_of_transform(*given, scale=size**-3, backend=backend)
        np.testing.assert_allclose(backend.to_host(again), back, atol=3e-6 * np.abs(back).max())
