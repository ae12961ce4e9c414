"""Synthetic data sets with planted errors, written as any other data set: a STAR file and stacks.

image = S C P x + noise. The pose in the STAR file is the true one, except where an error is planted; the truth
goes to ``truth.parquet``, which only ``validate`` reads.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.fft
from numpy.typing import NDArray
from tqdm import tqdm

from cryocore.backend import Backend
from cryocore.config.plant import PlantedErrors
from cryocore.config.simulate import Simulate
from cryocore.errors import InputError
from cryocore.formats.star_out import write_star
from cryocore.geometry.rotations import matrix_to_euler, random_rotations
from cryocore.geometry.symmetry import point_group
from cryocore.imaging.ctf import ctf
from cryocore.imaging.grid import FourierGrid
from cryocore.imaging.image_geometry import ImageGeometry
from cryocore.imaging.slices import project
from cryocore.imaging.volumes import map_to_grid
from cryocore.ingest.particles import particle_ids
from cryocore.maps.mrc import read_map, read_placement, require_contrast, write_map, write_stack
from cryocore.maps.placement import require_same_voxel
from cryocore.simulate.molecules import molecule_map
from cryocore.simulate.plant import assign_errors, perturb_poses, truth_table
from cryocore.tables.io import write_table
from cryocore.tables.particles import Optics
from cryocore.types import Floats, Floats32, Ints

log = logging.getLogger(__name__)

BATCH = 128
STACK = "particles.mrcs"


@dataclass(frozen=True)
class Truth:
    """The true state of every particle: poses ``(n, 3, 3)``, shifts ``(n, 2)`` Å, defocus U, V (Å) and angle."""

    rotations: Floats
    shifts_angstrom: Floats
    defocus: Floats
    micrograph: NDArray[np.int64]


def simulate(
    settings: Simulate, plant: PlantedErrors, *, symmetry: str, seed: int, out_dir: Path, backend: Backend
) -> None:
    """Write particles.star, particles.mrcs, truth.parquet and true_map.mrc into ``out_dir``."""
    rng = np.random.default_rng(seed)
    truth_map = true_map(settings)
    truth = draw_truth(settings, symmetry, rng)
    kinds = assign_errors(settings.n_particles, plant, rng)
    rotations, shifts = perturb_poses(kinds, truth.rotations, truth.shifts_angstrom, plant, rng)

    out_dir.mkdir(parents=True, exist_ok=True)
    write_map(out_dir / "true_map.mrc", truth_map, settings.pixel_size_angstrom)
    images = noisy_images(truth_map, truth, kinds == "junk", settings, rng, backend)
    precision = np.float16 if settings.half_precision else np.float32
    write_stack(out_dir / STACK, images, settings.pixel_size_angstrom, dtype=precision)
    names = [f"{i + 1:06d}@{STACK}" for i in range(settings.n_particles)]
    half = rng.permutation(np.arange(len(names)) % 2) + 1
    write_star(*star_tables(names, rotations, shifts, truth, settings, half), out_dir / "particles.star")
    table = truth_table(particle_ids(names), kinds, truth.rotations, truth.shifts_angstrom)
    write_table(out_dir / "truth.parquet", table, seed=seed)


def true_map(settings: Simulate) -> Floats32:
    """The map that is imaged: a procedural molecule, or a volume checked against the settings."""
    if settings.volume is None:
        return molecule_map(
            settings.molecule,
            box=settings.box,
            pixel_size_angstrom=settings.pixel_size_angstrom,
            bfactor=settings.bfactor_angstrom2,
        )
    volume, _ = read_map(settings.volume, pixel_size_angstrom=settings.pixel_size_angstrom)
    if volume.shape != (settings.box,) * 3:
        raise InputError(
            f"the volume is {volume.shape}, the box is {settings.box}",
            file=settings.volume,
            fix=f"Set input.simulate.box to {volume.shape[0]}, or resize the volume",
        )
    require_same_voxel(
        read_placement(settings.volume),
        settings.pixel_size_angstrom,
        settings.volume,
        what="those of the simulation",
        fix="Set input.simulate.pixel_size_angstrom to the map's, or resample the map",
    )
    require_contrast(volume, settings.volume)
    return volume


def draw_truth(settings: Simulate, symmetry: str, rng: np.random.Generator) -> Truth:
    """Draw poses, shifts and defoci; the particles of a micrograph have similar defoci."""
    n = settings.n_particles
    rotations = (
        random_rotations(n, rng) if settings.orientations == "uniform" else preferred_rotations(n, symmetry, rng)
    )
    micrograph = np.sort(rng.integers(settings.n_micrographs, size=n))
    low, high = settings.defocus_angstrom
    mean = rng.uniform(low, high, settings.n_micrographs)[micrograph] + rng.normal(0.0, 200.0, n)
    difference = rng.uniform(0.0, settings.astigmatism_angstrom, settings.n_micrographs)[micrograph]
    angle = rng.uniform(0.0, 180.0, settings.n_micrographs)[micrograph]
    defocus = np.stack([mean + difference / 2, mean - difference / 2, angle], axis=1)
    return Truth(rotations, rng.normal(0.0, settings.shift_angstrom, (n, 2)), defocus, micrograph)


def preferred_rotations(n: int, symmetry: str, rng: np.random.Generator) -> Floats:
    """Poses of which 45 % look along the z axis within some 15 degrees, 35 % along x, the rest anywhere.

    The symmetry equivalents of the point group spread each preference over its equivalents.
    """
    rotations = random_rotations(n, rng)
    choice = rng.choice(3, size=n, p=[0.45, 0.35, 0.2])
    for kind, axis in ((0, [0.0, 0.0, 1.0]), (1, [1.0, 0.0, 0.0])):
        rows = np.flatnonzero(choice == kind)
        view = np.array(axis) + 0.26 * rng.normal(size=(len(rows), 3)) / np.sqrt(2)
        view /= np.linalg.norm(view, axis=1, keepdims=True)
        in_plane = np.cross(view, rng.normal(size=view.shape))
        in_plane /= np.linalg.norm(in_plane, axis=1, keepdims=True)
        rotations[rows] = np.stack([in_plane, np.cross(view, in_plane), view], axis=1)
    group = point_group(symmetry)
    return rotations @ group[rng.integers(len(group), size=n)]


def noisy_images(
    volume: Floats32,
    truth: Truth,
    junk: NDArray[np.bool_],
    settings: Simulate,
    rng: np.random.Generator,
    backend: Backend,
) -> Iterator[Floats32]:
    """Batches of images with unit noise; the signal is scaled to the wanted ratio, found on a first batch."""
    box = settings.box
    spectrum = noise_spectrum(settings)
    disc = particle_disc(volume)
    grid = backend.to_device(map_to_grid(volume, simulation_grid(settings))[None])
    first = np.flatnonzero(~junk)[:512] if not junk.all() else np.arange(min(512, len(junk)))
    clean = clean_images(grid, truth, first, settings, backend)
    amplitude = np.float32(np.sqrt(settings.snr / clean[:, disc].var(axis=1).mean()))
    with tqdm(total=len(junk), desc="simulate", unit="image", disable=None) as bar:
        for start in range(0, len(junk), BATCH):
            rows = np.arange(start, min(start + BATCH, len(junk)))
            noise = rng.standard_normal((len(rows), box, box), dtype=np.float32)
            noise = scipy.fft.irfft2(scipy.fft.rfft2(noise) * spectrum, s=(box, box))
            signal = clean_images(grid, truth, rows, settings, backend)
            signal[junk[rows]] = 0.0
            images = amplitude * signal + noise
            if settings.background:
                images += gradients(settings.background, len(rows), box, rng)
            if settings.scale_spread:
                images *= np.exp(rng.normal(0.0, settings.scale_spread, len(rows)))[:, None, None]
            bar.update(len(rows))
            yield images.astype(np.float32)


def gradients(spread: float, n: int, box: int, rng: np.random.Generator) -> Floats32:
    """Linear backgrounds ``(n, box, box)`` in random directions, whose values half a box from the origin are normal."""
    direction, height = rng.uniform(0.0, 2 * np.pi, n), rng.normal(0.0, spread, n)
    along = (np.arange(box) - box // 2) / (box / 2)
    x, y = (height * f(direction) for f in (np.cos, np.sin))
    return (x[:, None, None] * along + y[:, None, None] * along[:, None]).astype(np.float32)


def noise_spectrum(settings: Simulate) -> Floats32:
    """Amplitude of the noise over ``rfft2`` coefficients, unit power on average; coloured noise falls off."""
    f = np.hypot(scipy.fft.fftfreq(settings.box)[:, None], scipy.fft.rfftfreq(settings.box)[None, :])
    power = np.ones_like(f) if settings.noise == "white" else 0.4 + 2.0 / (1.0 + (f / 0.08) ** 2)
    return np.sqrt(power / power.mean()).astype(np.float32)


def particle_disc(volume: Floats32) -> NDArray[np.bool_]:
    """Pixels within the radius that holds 99 % of the molecule's density, ``(n, n)``."""
    n = volume.shape[0]
    squares = (np.arange(n) - n // 2) ** 2
    square = squares[:, None, None] + squares[:, None] + squares
    density = np.bincount(square.ravel(), weights=np.where(volume > 0.1 * volume.max(), volume, 0.0).ravel())
    inside = int(np.searchsorted(np.cumsum(density), 0.99 * density.sum()))
    return squares[:, None] + squares <= min(inside, (n // 2) ** 2)


def clean_images(grid: Any, truth: Truth, rows: NDArray[np.int64], settings: Simulate, backend: Backend) -> Floats32:
    """S C P x for some particles, ``(m, n, n)``, of a map's grid; the CTF is the reference formula."""
    box, optics = settings.box, optics_of(settings)
    frame = ImageGeometry.of(optics, simulation_grid(settings))
    slices = backend.to_host(project(grid, truth.rotations[rows], np.zeros(len(rows), dtype=np.int32), frame, backend))
    r = frame.limit
    ky, kx = np.mgrid[-r : r + 1, 0 : r + 1]
    step = 1.0 / (box * settings.pixel_size_angstrom)
    spectra = np.zeros((len(rows), box, box // 2 + 1), dtype=np.complex64)
    for i, row in enumerate(rows):
        contrast = ctf(step * kx, step * ky, optics, *truth.defocus[row])
        # the image is centred when moved by the shift, hence recorded off centre by its opposite
        offset = box // 2 - truth.shifts_angstrom[row] / settings.pixel_size_angstrom
        ramp = np.exp(-2j * np.pi / box * (kx * offset[0] + ky * offset[1]))
        spectra[i, ky, kx] = box * slices[i] * contrast * ramp
    # the column kx = 0 holds one of each Friedel pair; the inverse transform needs both
    spectra[:, -r:, 0] += np.conj(spectra[:, r:0:-1, 0])
    return np.asarray(scipy.fft.irfft2(spectra, s=(box, box)), dtype=np.float32)


def simulation_grid(settings: Simulate) -> FourierGrid:
    """A grid finer than that of any reconstruction, so that images are not made by the model that scores them."""
    return FourierGrid.of(settings.box, settings.pixel_size_angstrom, 2.5)


def optics_of(settings: Simulate) -> Optics:
    """The one optics group of a simulated data set."""
    return Optics(
        name="simulated",
        box=settings.box,
        pixel_size_angstrom=settings.pixel_size_angstrom,
        voltage_kv=settings.voltage_kv,
        cs_mm=settings.cs_mm,
        amplitude_contrast=settings.amplitude_contrast,
    )


def star_tables(
    names: list[str], rotations: Floats, shifts_angstrom: Floats, truth: Truth, settings: Simulate, half: Ints
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Particles and optics group of a RELION 3.1 STAR file; half sets ``(n,)``."""
    angles = matrix_to_euler(rotations)
    particles = {
        "rlnImageName": names,
        "rlnMicrographName": [f"micrograph_{m:04d}.mrc" for m in truth.micrograph],
        "rlnOpticsGroup": 1,
        "rlnRandomSubset": half,
        **{f"rlnAngle{name}": angles[:, i] for i, name in enumerate(("Rot", "Tilt", "Psi"))},
        **{f"rlnOrigin{axis}Angst": shifts_angstrom[:, i] for i, axis in enumerate("XY")},
        **{f"rlnDefocus{name}": truth.defocus[:, i] for i, name in enumerate(("U", "V", "Angle"))},
    }
    optics = {
        "rlnOpticsGroupName": "simulated",
        "rlnOpticsGroup": 1,
        "rlnVoltage": settings.voltage_kv,
        "rlnSphericalAberration": settings.cs_mm,
        "rlnAmplitudeContrast": settings.amplitude_contrast,
        "rlnImagePixelSize": settings.pixel_size_angstrom,
        "rlnImageSize": settings.box,
        "rlnImageDimensionality": 2,
    }
    return pd.DataFrame(particles), pd.DataFrame(optics, index=[0])
