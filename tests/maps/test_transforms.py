"""Transforms pruned to a window against the plain ones."""

from __future__ import annotations

import numpy as np
import pytest

from cryocore.maps.transforms import forward, inverse, support, whole

WINDOW = slice(2, 9), slice(0, 12), slice(5, 6)


@pytest.mark.parametrize("n", [16, 17])
@pytest.mark.parametrize("window", [WINDOW, None])
def test_equal_the_plain_transforms(n, window):
    window = window or whole(n)
    volume = np.zeros((n,) * 3, dtype=np.float32)
    volume[window] = np.random.default_rng(n).normal(size=volume[window].shape)
    expected = np.fft.rfftn(volume.astype(np.float64))
    dirty = np.full(expected.shape, np.nan, dtype=np.complex64)
    for out in (None, dirty):
        found = forward(volume[window], n, window, out)
        assert found.dtype == np.complex64
        np.testing.assert_allclose(found, expected, atol=1e-6 * abs(expected).max())
    np.testing.assert_allclose(inverse(found, n, window), volume[window], atol=1e-6)


def test_support_is_what_is_not_zero():
    volume = np.zeros((8, 8, 8))
    volume[1, 2, 3] = volume[4, 2, 7] = -1.0
    assert support(volume) == (slice(1, 5), slice(2, 3), slice(3, 8))
    assert support(np.zeros((4, 4, 4))) == whole(4)
