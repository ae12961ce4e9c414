"""S and C: images in Fourier space, centred and with their CTF, once for all that follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cryocore.backend import Backend, Kernel
from cryocore.formats.stacks import Images, Pixels
from cryocore.imaging.aberrations import phase_tables
from cryocore.imaging.ctf import kernel_optics, kernel_particles
from cryocore.imaging.image_geometry import ImageGeometry
from cryocore.imaging.packed import row_starts
from cryocore.tables.particles import Particles

PIXELS = Kernel("prepare.cu", "prepare_images")
PACKED = Kernel("prepare.cu", "prepare_packed")
AS_FLOATS = {
    "float16": Kernel("pixels.cu", "of_float16"),
    "int16": Kernel("pixels.cu", "of_int16"),
    "uint16": Kernel("pixels.cu", "of_uint16"),
    "int8": Kernel("pixels.cu", "of_int8"),
}


@dataclass(frozen=True)
class Prepared:
    """A batch of images in Fourier space: ``image`` complex64 and ``ctf`` float32, both ``(n, 2r+1, r+1)``."""

    image: Any
    ctf: Any
    frame: ImageGeometry

    def __len__(self) -> int:
        return len(self.image)


def prepare(images: Images, particles: Particles, frame: ImageGeometry, backend: Backend) -> Prepared:
    """Centre and crop the transforms of a batch of one optics group, and compute its CTFs.

    Parameters
    ----------
    images : pixels, as they are stored or ``(n, d, d)`` float32, which are transformed here, or packed transforms
        ``(n, m)`` int16 of the frame's band (:mod:`cryocore.imaging.packed`)

    The arrays of the last batch are used again: it must not be needed any more.
    """
    n, r, optics = len(images), frame.limit, frame.optics
    even, odd = (None if t is None else backend.to_device(t) for t in phase_tables(optics, r))
    image = backend.scratch("image", (n, 2 * r + 1, r + 1), np.complex64)
    ctf = backend.scratch("ctf", (n, 2 * r + 1, r + 1), np.float32)
    mode = 2 if optics.premultiplied else 1 if optics.phase_flipped else 0
    terms, common = kernel_particles(particles, optics), backend.to_device(kernel_optics(optics))
    unit = 1.0 / optics.box
    if isinstance(images, Pixels):
        unit, images = images.sign * unit, images.values
    if images.ndim == 2:
        starts = row_starts(r)
        if images.shape[1] != 2 * starts[-1]:
            raise ValueError(f"packed transforms of {r} shells have {2 * starts[-1]} values; got {images.shape[1]}")
        records = backend.to_device(images), backend.to_device(starts)
        phases = backend.to_device(terms), common, even, odd
        backend.launch(PACKED, (*records, *phases, n, r, mode, unit, image, ctf), items=n)
    else:
        d = images.shape[-1]
        # transforms stay in the cache until they are used
        size = max(1, backend.cache_bytes // (8 * d * (d // 2 + 1)))
        for part in (slice(i, min(i + size, n)) for i in range(0, n, size)):
            pixels = as_floats(backend.to_device(images[part]), backend)
            transforms, m = backend.rfft2(pixels, r + 1), part.stop - part.start
            inputs = (transforms, backend.to_device(terms[part]), common, even, odd)
            backend.launch(PIXELS, (*inputs, m, d, r, mode, unit, image[part], ctf[part]), items=m)
    if frame.gain != 1.0:
        ctf *= np.float32(frame.gain)
    return Prepared(image, ctf, frame)


def as_floats(stored: Any, backend: Backend) -> Any:
    """Pixels ``(n, d, d)`` on the device, of a type that stacks have, as float32; valid until the next call."""
    if stored.dtype == np.float32:
        return stored
    n, d = stored.shape[:2]
    out = backend.scratch("pixels", stored.shape, np.float32)
    backend.launch(AS_FLOATS[str(stored.dtype)], (stored, n, d * d, out), items=n)
    return out
