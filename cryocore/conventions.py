"""Axes, centre, rotations, signs and units: stated once, obeyed everywhere.

Arrays
    Images are ``[y, x]``, volumes ``[z, y, x]``; the origin is pixel ``n // 2`` on every axis.

Rotations
    One matrix ``A`` per particle takes object coordinates ``(x, y, z)`` to image coordinates.
    The image is the projection along the third image axis; row 2 of ``A`` is the viewing direction
    in the object frame. In Fourier space, ``F2(k) = F3(A.T @ (kx, ky, 0))``.
    RELION's (rot, tilt, psi) in degrees give ``A = Rz(psi) Ry(tilt) Rz(rot)`` in the passive form.
    Quaternions are ``(w, x, y, z)`` with ``w >= 0`` and their standard matrix is ``A``.
    A symmetry symmetry equivalent of ``A`` is ``A @ g``.

Shifts
    The translation (Å) that *centres* the image, as rlnOriginXAngst: ``centred(p) = image(p - t)``.

Fourier transforms
    Image transforms are orthonormal, ``rfft2(image) / n``, so that the sum of ``|Y|**2`` over all
    coefficients is the sum of squared pixels. Powers always count both Friedel mates.

CTF
    Positive at low frequency for white protein. Defocus in Å, underfocus positive; voltage in kV,
    spherical aberration in mm; angles in degrees on input, radians inside.

Resolution shells
    Shell ``s`` holds ``round(|k|) == s``; its resolution is ``box * pixel_size / s`` Å.

>>> import numpy as np
>>> A = euler_to_matrix(30.0, 90.0, 0.0)
>>> np.allclose(A[2], [np.cos(np.pi / 6), 0.5, 0.0])   # viewing direction
True
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from cryocore.types import Floats


def euler_to_matrix(rot: ArrayLike, tilt: ArrayLike, psi: ArrayLike) -> Floats:
    """Object-to-image matrices ``(..., 3, 3)`` from RELION's Euler angles in degrees.

    >>> (euler_to_matrix(0, 0, 90) @ [1, 0, 0]).round(6).tolist()
    [0.0, -1.0, 0.0]
    """
    a, b, g = (np.deg2rad(np.asarray(v, dtype=np.float64)) for v in (rot, tilt, psi))
    ca, cb, cg = np.cos(a), np.cos(b), np.cos(g)
    sa, sb, sg = np.sin(a), np.sin(b), np.sin(g)
    rows = [
        [cg * cb * ca - sg * sa, cg * cb * sa + sg * ca, -cg * sb],
        [-sg * cb * ca - cg * sa, -sg * cb * sa + cg * ca, sg * sb],
        [sb * ca, sb * sa, cb + 0 * a],
    ]
    return np.moveaxis(np.array(rows), (0, 1), (-2, -1))


def centre(n: int) -> int:
    """Index of the origin along an axis of ``n`` points.

    >>> centre(96), centre(97)
    (48, 48)
    """
    return n // 2


def electron_wavelength_angstrom(voltage_kv: ArrayLike) -> Floats:
    """Relativistic electron wavelength (Å).

    >>> float(electron_wavelength_angstrom(300.0).round(5))
    0.01969
    """
    volt = 1e3 * np.asarray(voltage_kv, dtype=np.float64)
    return np.asarray(12.2643247 / np.sqrt(volt * (1.0 + 0.978466e-6 * volt)))
