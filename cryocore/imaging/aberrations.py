"""Phase aberrations of an optics group beyond defocus and spherical aberration.

Zernike coefficients (radians) act on the frequency in 1/Å, in RELION's order: odd Z(1,-1), Z(1,1), Z(3,-3) ... Z(3,3)
and so on, even Z(0,0), Z(2,-2), Z(2,0), Z(2,2) and so on. Beam tilt is a cubic odd term,
-2e4 pi Cs(mm) λ² f² (f · tilt) radians with the tilt in mrad. An image is that of the particle times exp(i odd phase).
"""

from __future__ import annotations

from math import factorial

import numpy as np
from numpy.typing import NDArray

from cryocore.conventions import electron_wavelength_angstrom
from cryocore.imaging.ctf import kernel_optics
from cryocore.tables.particles import Optics
from cryocore.types import Floats


def zernike(order: int, frequency: int, rho: Floats, phi: Floats) -> Floats:
    """The Zernike polynomial Z(order, frequency), not normalised; negative frequencies are sines."""
    m = abs(frequency)
    radial = np.zeros_like(rho)
    for k in range((order - m) // 2 + 1):
        factor = (
            (-1) ** k
            * factorial(order - k)
            / (factorial(k) * factorial((order + m) // 2 - k) * factorial((order - m) // 2 - k))
        )
        radial += factor * rho ** (order - 2 * k)
    return radial * (np.sin(m * phi) if frequency < 0 else np.cos(m * phi))


def zernike_sum(coefficients: tuple[float, ...], first_order: int, rho: Floats, phi: Floats) -> Floats:
    """Sum of coefficients times Z(n, m) for n = first_order, first_order + 2, ... and m = -n, -n + 2, ..., n."""
    total = np.zeros_like(rho)
    remaining = iter(coefficients)
    order = first_order
    while True:
        for frequency in range(-order, order + 1, 2):
            coefficient = next(remaining, None)
            if coefficient is None:
                return total
            if coefficient:
                total += coefficient * zernike(order, frequency, rho, phi)
        order += 2


def phase_tables(optics: Optics, limit: int) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
    """Even and odd phases in half turns over the half plane ``(2r+1, r+1)``; None where there are none."""
    has_odd = any(optics.beam_tilt_mrad) or any(optics.odd_zernike)
    if not (has_odd or any(optics.even_zernike)):
        return None, None
    xx, xy, yx, yy = (float(v) for v in kernel_optics(optics)[:4])
    ky, kx = np.mgrid[-limit : limit + 1, 0 : limit + 1].astype(np.float64)
    fx, fy = xx * kx + xy * ky, yx * kx + yy * ky
    rho, phi = np.hypot(fx, fy), np.arctan2(fy, fx)
    even = zernike_sum(optics.even_zernike, 0, rho, phi)
    odd = zernike_sum(optics.odd_zernike, 1, rho, phi)
    if any(optics.beam_tilt_mrad):
        strength = 2e4 * np.pi * optics.cs_mm * float(electron_wavelength_angstrom(optics.voltage_kv)) ** 2
        odd -= strength * rho**2 * (fx * optics.beam_tilt_mrad[0] + fy * optics.beam_tilt_mrad[1])
    return (
        (even / np.pi).astype(np.float32) if any(optics.even_zernike) else None,
        (odd / np.pi).astype(np.float32) if has_odd else None,
    )
