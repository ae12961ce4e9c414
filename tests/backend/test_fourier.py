"""Transforms of the CPU backend against NumPy's, in float64."""

from __future__ import annotations

import numpy as np
import pytest

from cryocore.backend import CpuBackend
from cryocore.backend.fourier import map_of_transform, transform_of_map

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


@pytest.mark.parametrize("box, size, radius", [(12, 24, 10), (15, 32, 13), (16, 16, 5), (17, 37, 12)])
def test_maps(box: int, size: int, radius: int) -> None:
    rng = np.random.default_rng(box)
    volume = rng.normal(size=(box,) * 3).astype(np.float32)
    padded = np.zeros((size,) * 3)
    padded[:box, :box, :box] = volume
    whole = np.fft.fftn(np.roll(padded, -(box // 2), axis=(0, 1, 2)))
    around = np.arange(-(radius + 1), radius + 2)
    expected = whole[np.ix_(np.arange(radius + 2), around, around)]
    found = transform_of_map(volume, size, radius)
    np.testing.assert_allclose(found, expected, atol=3e-6 * np.abs(expected).max())

    k = np.fft.fftfreq(size, 1 / size)
    square = np.rint(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2).astype(int)
    weight = rng.uniform(0.1, 2.0, square.max() + 1).astype(np.float32)
    denominator = np.where(square > 0, weight[square], 1.0).astype(np.float32)
    floor, added = np.full(radius**2 + 1, 0.5, np.float32), weight[: radius**2 + 1]
    divided = np.where((square > 0) & (square <= radius**2), whole / (np.maximum(denominator, 0.5) + weight[square]), 0)
    back = np.roll(np.fft.ifftn(divided).real, box // 2, axis=(0, 1, 2))[:box, :box, :box]
    parts = 0.25 * found, 0.75 * found
    below = np.ascontiguousarray(denominator[np.ix_(np.arange(radius + 2), around, around)])
    for numerators, denominators in (([found], [below]), (parts, [0.5 * below] * 2)):
        given = {"denominators": denominators, "floor": floor, "added": added}
        again = map_of_transform(numerators, box, size, radius, scale=size**-3, **given)
        np.testing.assert_allclose(again, back, atol=3e-6 * np.abs(back).max())
