"""C: the contrast transfer function.

CTF = scale exp(-B f²/4) sin(pi λ D f² - (pi/2) Cs λ³ f⁴ + φ + asin Q0), with the defocus
D = ((U + V) + (U - V) cos 2(α - δ)) / 2 towards the direction α of the frequency f; positive at low
frequency for white protein.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryocore.conventions import electron_wavelength_angstrom
from cryocore.tables.particles import Optics, Particles
from cryocore.types import Floats


def ctf(
    fx: ArrayLike, fy: ArrayLike, optics: Optics, u: float, v: float, angle_deg: float, phase_deg: float = 0.0
) -> Floats:
    """The CTF at frequencies (1/Å) by the formula in float64: the reference for the kernels.

    Parameters
    ----------
    fx, fy : frequencies in 1/Å, any shape
    u, v, angle_deg, phase_deg : defocus U and V (Å), angle of U and phase shift (degrees)

    >>> krios = Optics("krios", 256, 1.0, voltage_kv=300.0, cs_mm=2.7, amplitude_contrast=0.1)
    >>> ctf([0.0, 0.05, 0.1], 0.0, krios, 15000.0, 15000.0, 0.0).round(3).tolist()
    [0.1, 0.662, 0.079]
    """
    x, y = np.asarray(fx, dtype=np.float64), np.asarray(fy, dtype=np.float64)
    wavelength = electron_wavelength_angstrom(optics.voltage_kv)
    squared = x**2 + y**2
    towards = np.cos(2 * (np.arctan2(y, x) - np.deg2rad(angle_deg)))
    defocus = 0.5 * (u + v + (u - v) * towards)
    chi = np.pi * wavelength * defocus * squared - 0.5 * np.pi * optics.cs_mm * 1e7 * wavelength**3 * squared**2
    return np.asarray(np.sin(chi + np.deg2rad(phase_deg) + np.arcsin(optics.amplitude_contrast)))


def kernel_optics(optics: Optics) -> NDArray[np.float32]:
    """What ``prepare_images`` needs of an optics group, ``(5,)``: index-to-frequency matrix, spherical term."""
    wavelength = float(electron_wavelength_angstrom(optics.voltage_kv))
    step = 1.0 / (optics.box * optics.pixel_size_angstrom)
    return np.array(
        [step * m for m in optics.magnification] + [0.5 * optics.cs_mm * 1e7 * wavelength**3], dtype=np.float32
    )


def kernel_particles(particles: Particles, optics: Optics) -> NDArray[np.float32]:
    """What ``prepare_images`` needs of each particle of one optics group, ``(n, 8)``."""
    wavelength = float(electron_wavelength_angstrom(optics.voltage_kv))
    u, v = (particles.column(f"defocus_{c}_angstrom").astype(np.float64) for c in "uv")
    twice = 2 * np.deg2rad(particles.column("defocus_angle_deg").astype(np.float64))
    phase = np.deg2rad(particles.column("phase_shift_deg").astype(np.float64)) + np.arcsin(optics.amplitude_contrast)
    shift = particles.shifts_angstrom / optics.pixel_size_angstrom
    columns = [
        0.5 * wavelength * (u + v),
        0.5 * wavelength * (u - v) * np.cos(twice),
        0.5 * wavelength * (u - v) * np.sin(twice),
        phase / np.pi,
        0.25 * particles.column("ctf_bfactor"),
        particles.column("ctf_scale"),
        (optics.box // 2 - shift[:, 0]) / optics.box,
        (optics.box // 2 - shift[:, 1]) / optics.box,
    ]
    return np.stack(columns, axis=1).astype(np.float32)
