"""Pixels as stacks store them, converted by the kernels, against NumPy's conversion."""

from __future__ import annotations

import numpy as np
import pytest

from cryocore.backend import get_backend
from cryocore.formats.stacks import STORED_TYPES, Pixels
from cryocore.imaging.grid import FourierGrid
from cryocore.imaging.image_geometry import ImageGeometry
from cryocore.imaging.prepare import as_floats, prepare
from tests.phantoms import BACKENDS, optics, particles

EVERY_16_BITS = np.arange(1 << 16, dtype=np.uint16).reshape(16, 64, 64)


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("dtype", STORED_TYPES, ids=str)
def test_every_number_is_converted_exactly(dtype: np.dtype, name: str) -> None:
    backend = get_backend(name)
    stored = EVERY_16_BITS.view(dtype) if dtype.itemsize == 2 else EVERY_16_BITS.astype(dtype)
    found = backend.to_host(as_floats(backend.to_device(stored), backend))
    expected = stored.astype(np.float32)
    some = ~np.isnan(expected)
    assert found.dtype == np.float32
    assert np.array_equal(np.isnan(found), ~some)
    assert np.array_equal(found[some].view(np.uint32), expected[some].view(np.uint32))


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_stored_images_are_prepared_as_bright_ones(sign: float, name: str) -> None:
    backend, box, n = get_backend(name), 24, 5
    data = particles(np.repeat(np.eye(3)[None], n, axis=0), optics(box))
    frame = ImageGeometry.of(data.optics[0], FourierGrid.of(box, data.optics[0].pixel_size_angstrom, 2.0))
    stored = Pixels(np.random.default_rng(0).normal(0, 900, (n, box, box)).astype(np.int16), sign)
    expected = backend.to_host(prepare(stored.bright(), data, frame, backend).image).copy()
    found = backend.to_host(prepare(stored, data, frame, backend).image)
    assert np.array_equal(found, expected) and found.any()
