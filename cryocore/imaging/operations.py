"""Images moved, turned, filtered and multiplied with a CTF, as NumPy, CuPy or torch arrays, by their transforms.

Images are ``(..., n, n)`` of float32 or float64, rows y, columns x, the origin at ``n // 2``, as everywhere here. What
comes back is of the kind, the device and the precision that came in; gradients go through torch tensors of images.
Shifts, angles and defoci are numbers, or NumPy arrays of one for each image.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cryocore.imaging.ctf import ctf
from cryocore.tables.particles import Optics

EDGE_SHELLS = 3.0
"""Width of the soft edges of filters."""


def translated(images: Any, shift_px: ArrayLike) -> Any:
    """Images moved by ``(x, y)`` pixels, ``(2,)`` or ``(..., 2)``; what leaves one side comes in at the other.

    >>> image = np.zeros((4, 4)); image[1, 1] = 1.0
    >>> np.argwhere(translated(image, (1.0, 2.0)).round(6)).tolist()
    [[3, 2]]
    """
    n = _side(images)
    shift = np.asarray(shift_px, dtype=np.float64)[..., None, None]
    if shift.shape[-3:] != (2, 1, 1):
        raise ValueError(f"shifts must be (..., 2), not {shift.shape[:-2]}")
    fx, fy = _frequencies(n)
    return _filtered(images, np.exp(-2j * np.pi * (fx * shift[..., 0, :, :] + fy * shift[..., 1, :, :])))


def rotated(images: Any, angle_deg: ArrayLike) -> Any:
    """Images turned in plane by angles (degrees) ``()`` or ``(...)`` about the origin, by three shears (Unser,
    Thevenaz & Yaroslavsky 1995).

    The image of a particle at psi becomes that at psi plus the angle. What comes from beyond the image is 0. Shears
    raise frequencies: detail beyond 0.8 of Nyquist is not kept at angles near 45 degrees.
    """
    xp, n = _namespace(images), _side(images)
    if not len(images.reshape(-1, n, n)):
        return images
    flat = images.reshape(-1, n, n)
    # the higher psi, the further the axes of the image have gone from x to y, and its content the other way
    angles = -np.broadcast_to(np.asarray(angle_deg, dtype=np.float64), images.shape[:-2]).reshape(-1)
    quarters = np.rint(angles / 90.0)
    left = np.deg2rad(angles - 90.0 * quarters)
    reach = 3 * n // 4 + 1  # an odd side has its middle at the origin
    padded = _like(np.zeros((len(flat), 2 * reach + 1, 2 * reach + 1)), flat)
    inside = slice(reach - n // 2, reach - n // 2 + n)
    padded[:, inside, inside] = flat
    turned = _like(np.zeros(padded.shape), flat)
    for quarter in range(4):
        rows = np.flatnonzero(quarters % 4 == quarter)
        if len(rows):
            at = _indices(rows, flat)
            turned[at] = _quarter_turns(padded[at], quarter)
    along_x, along_y = -np.tan(left / 2.0), np.sin(left)
    for shear, across in ((along_x, False), (along_y, True), (along_x, False)):
        turned = _sheared(turned.swapaxes(-1, -2), shear).swapaxes(-1, -2) if across else _sheared(turned, shear)
    return xp.reshape(turned[:, inside, inside], tuple(images.shape))


def with_ctf(
    images: Any, optics: Optics, u: ArrayLike, v: ArrayLike, angle_deg: ArrayLike, phase_deg: ArrayLike = 0.0
) -> Any:
    """Images multiplied with the CTF of their optics group at defoci U, V (Å) and angles (degrees), ``()`` or
    ``(...)``; without magnification, B-factor or scale of its own."""
    fx, fy = _frequencies(_side(images))
    values = (np.asarray(value, dtype=np.float64)[..., None, None] for value in (u, v, angle_deg, phase_deg))
    u, v, angle, phase = values
    step = 1.0 / optics.pixel_size_angstrom
    of_each: Any = ctf(fx * step, fy * step, optics, u, v, angle, phase)  # type: ignore[arg-type]
    return _filtered(images, of_each)


def low_passed(images: Any, pixel_size_angstrom: float, finest_angstrom: float) -> Any:
    """Images without detail finer than a resolution (Å), where a cosine edge three shells wide has half its height."""
    return band_passed(images, pixel_size_angstrom, np.inf, finest_angstrom)


def band_passed(images: Any, pixel_size_angstrom: float, coarsest_angstrom: float, finest_angstrom: float) -> Any:
    """Images between two resolutions (Å), each at half height of a cosine edge three shells wide. A coarsest resolution
    beyond the side of the image keeps its mean, and all else that is coarse.

    >>> wave = np.cos(2 * np.pi * np.arange(64) / 8) * np.ones((64, 1))
    >>> float(band_passed(1.0 + wave, 2.0, 40.0, 10.0).std().round(3))
    0.707
    >>> float(low_passed(wave, 2.0, 20.0).std().round(3))
    0.0
    """
    if not coarsest_angstrom > finest_angstrom > 0:
        raise ValueError(f"{coarsest_angstrom} Å is not coarser than {finest_angstrom} Å")
    n = _side(images)
    fx, fy = _frequencies(n)
    shell = n * np.hypot(fx, fy)
    field = n * pixel_size_angstrom
    keep = _edge(field / finest_angstrom - shell)
    return _filtered(images, keep if coarsest_angstrom > field else keep * _edge(shell - field / coarsest_angstrom))


def _edge(beyond: Any) -> Any:
    """1 well within, 0 well beyond, and half a cosine between."""
    return 0.5 + 0.5 * np.sin(np.pi * np.clip(beyond / EDGE_SHELLS, -0.5, 0.5))


def _frequencies(n: int) -> tuple[Any, Any]:
    """Cycles per pixel along x ``(1, n // 2 + 1)`` and y ``(n, 1)`` of a half transform."""
    return np.fft.rfftfreq(n)[None], np.fft.fftfreq(n)[:, None]


def _side(images: Any) -> int:
    """The side of images.

    Raises
    ------
    ValueError  if they are not square.
    TypeError  if they are not of single or double precision.
    """
    if len(images.shape) < 2 or images.shape[-1] != images.shape[-2]:
        raise ValueError(f"images must be (..., n, n), not {tuple(images.shape)}")
    if _precision(images) not in ("float32", "float64"):
        raise TypeError(f"images must be of float32 or float64, not {images.dtype}")
    return int(images.shape[-1])


def _precision(images: Any) -> str:
    return str(images.dtype).removeprefix("torch.")


def _filtered(images: Any, factors: Any) -> Any:
    """Images whose half transforms are multiplied with factors ``(..., n, n // 2 + 1)``."""
    xp, n = _namespace(images), images.shape[-1]
    if 0 in images.shape:
        return images
    return xp.fft.irfft2(xp.fft.rfft2(images) * _like(factors, images), s=(n, n))


def _sheared(images: Any, slopes: Any) -> Any:
    """Rows of images ``(m, n, n)`` moved along x by slopes ``(m,)`` times their distance from the middle; n is odd."""
    xp, n = _namespace(images), images.shape[-1]
    y = np.arange(n) - n // 2
    phases = np.exp(-2j * np.pi * np.fft.rfftfreq(n) * (slopes[:, None, None] * y[:, None]))
    return xp.fft.irfft(xp.fft.rfft(images) * _like(phases, images), n)


def _quarter_turns(images: Any, quarters: int) -> Any:
    """Images of an odd side turned by quarters, from x to y."""
    for _ in range(quarters):
        images = _namespace(images).flip(images.swapaxes(-1, -2), (-1,))
    return images


def _namespace(images: Any) -> Any:
    """The module whose arrays these are: numpy, cupy or torch."""
    return np if isinstance(images, np.ndarray) else sys.modules[type(images).__module__.partition(".")[0]]


def _like(values: Any, images: Any) -> Any:
    """Values on the device of some images, of their precision."""
    single = _precision(images) == "float32"
    if np.iscomplexobj(values):
        values = np.asarray(values, dtype=np.complex64 if single else np.complex128)
    else:
        values = np.asarray(values, dtype=np.float32 if single else np.float64)
    return _moved(values, images)


def _indices(rows: Any, images: Any) -> Any:
    return _moved(np.asarray(rows, dtype=np.int64), images)


def _moved(values: Any, images: Any) -> Any:
    xp = _namespace(images)
    return xp.asarray(values, device=images.device) if xp.__name__ == "torch" else xp.asarray(values)
