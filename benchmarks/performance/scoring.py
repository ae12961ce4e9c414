"""Scores per CPU second beside the same score in real space, one particle at a time in NumPy and SciPy."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import scipy.fft
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from benchmarks.performance.kernels import PIXEL_ANGSTROM, random_particles, rate, reference_of
from cryocore.backend import Backend, get_backend
from cryocore.imaging.ctf import ctf
from cryocore.imaging.grid import FourierGrid
from cryocore.imaging.image_geometry import ImageGeometry
from cryocore.imaging.prepare import prepare
from cryocore.imaging.slices import project
from cryocore.imaging.volumes import map_to_grid
from cryocore.score.reference import PADDING, first_band
from cryocore.score.scores import BandStatistics, cryosieve
from cryocore.score.sums import Batch, own_sums, pose_sums
from cryocore.tables.particles import Optics, Particles
from cryocore.types import Floats

CUT_OFF_ANGSTROM = 40.0
IMAGES, BASELINE_IMAGES, POSES = 256, 24, 16


@dataclass(frozen=True)
class Spectra:
    """What real space looks up per image: the padded transform, frequencies and the band of the score."""

    volume: NDArray[np.complex128]
    kx: Floats
    ky: Floats
    band: NDArray[np.bool_]


def measure(box: int) -> dict[str, Any]:
    """Particles per CPU second of both on one thread, their ratio, and how far their scores agree.

    ``largest_difference`` is in standard deviations of the score.

    Leave-one-out is part of the timed scores of cryocore; the scores are compared without it, which the other lacks.
    """
    backend = get_backend("cpu", threads=1)
    particles, volume, images = data_set(box, backend)
    optics, grid = particles.optics[0], FourierGrid.of(box, PIXEL_ANGSTROM, PADDING)
    frame = ImageGeometry.of(optics, grid)
    reference = reference_of(volume, grid, frame, backend)
    rotations, half = particles.rotations, np.zeros(len(particles), dtype=np.int32)
    band = first_band(reference.edges, particles, CUT_OFF_ANGSTROM)
    others = rotations[np.arange(len(particles))[:, None] - np.arange(1, POSES + 1)]

    def scores(weight: float, poses: bool = False) -> Floats:
        self_contribution = np.full(len(particles), weight * reference.self_contribution, dtype=np.float32)
        prepared = prepare(images, particles, frame, backend)
        batch = Batch(prepared, rotations, half, self_contribution, reference, reference.samples[0], backend)
        sums = backend.to_host(own_sums(batch))
        if poses:
            pose_sums(batch, others)
        return cryosieve(BandStatistics.of(sums), band)

    spectra = spectra_of(volume, reference.edges[band], reference.edges[-1])
    began = time.process_time()
    direct = [real_space_score(images[i], particles, i, rotations[i], spectra) for i in range(BASELINE_IMAGES)]
    baseline = BASELINE_IMAGES / (time.process_time() - began)
    own = rate(lambda: scores(1.0), IMAGES)["per_cpu_second"]
    compared = scores(0.0)[:BASELINE_IMAGES]
    return {
        "real_space_per_cpu_second": baseline,
        "per_cpu_second": own,
        "with_poses_per_cpu_second": rate(lambda: scores(1.0, poses=True), IMAGES)["per_cpu_second"],
        "poses": POSES,
        "ratio": own / baseline,
        "correlation": float(np.corrcoef(direct, compared)[0, 1]),
        "largest_difference": float(np.abs(compared - direct).max() / np.std(direct)),
    }


def data_set(box: int, backend: Backend) -> tuple[Particles, NDArray[np.float32], NDArray[np.float32]]:
    """Particles with shifts, a map of blobs ``(n, n, n)``, and noisy images of it ``(m, n, n)``."""
    rng = np.random.default_rng(0)
    particles = random_particles(IMAGES, Optics("benchmark", box, PIXEL_ANGSTROM, 300.0, 2.7, 0.1))
    table = particles.table
    for axis in "xy":
        name = f"shift_{axis}_angstrom"
        shift = pa.array(rng.normal(0.0, 3.0, IMAGES)).cast(table.schema.field(name).type)
        table = table.set_column(table.schema.get_field_index(name), name, shift)
    particles = Particles(table, particles.optics)
    points = np.zeros((box,) * 3, dtype=np.float32)
    np.add.at(points, tuple(np.rint(rng.normal(box / 2, box / 10, (3, 300))).astype(int) % box), 1.0)
    volume = gaussian_filter(points, 1.2, mode="constant")
    grid = FourierGrid.of(box, PIXEL_ANGSTROM, PADDING)
    frame = ImageGeometry.of(particles.optics[0], grid)
    blank = prepare(np.zeros((IMAGES, box, box), dtype=np.float32), particles, frame, backend)
    half = np.zeros(IMAGES, dtype=np.int32)
    grids = backend.to_device(map_to_grid(volume, grid)[None])
    slices = backend.to_host(blank.ctf * project(grids, particles.rotations, half, frame, backend))
    r, spectrum = frame.limit, np.zeros((IMAGES, box, box // 2 + 1), dtype=np.complex64)
    ky = np.arange(-r, r + 1)
    kx = np.arange(r + 1)
    centre = box // 2 - particles.shifts_angstrom / PIXEL_ANGSTROM
    ramp = np.exp(-2j * np.pi / box * (kx * centre[:, None, None, 0] + ky[:, None] * centre[:, None, None, 1]))
    spectrum[:, ky[:, None], kx] = slices * ramp * box
    signal = scipy.fft.irfft2(spectrum, s=(box, box))
    noise = rng.standard_normal(signal.shape, dtype=np.float32)
    return particles, volume, (signal + 3.0 * signal.std() * noise).astype(np.float32)


def spectra_of(volume: NDArray[np.float32], first_shell: int, end_shell: int) -> Spectra:
    """The transform of the padded map in float64, its interpolation corrected for, zero frequency in the middle."""
    n = len(volume)
    size = FourierGrid.of(n, PIXEL_ANGSTROM, PADDING).size
    line = np.sinc((np.arange(n) - n // 2) / size) ** 2
    padded = np.zeros((size,) * 3)
    low = size // 2 - n // 2
    padded[low : low + n, low : low + n, low : low + n] = volume / (line[:, None, None] * line[:, None] * line)
    transform = scipy.fft.fftshift(scipy.fft.fftn(scipy.fft.ifftshift(padded), overwrite_x=True))
    ky, kx = np.meshgrid(scipy.fft.fftfreq(n, 1 / n), scipy.fft.rfftfreq(n, 1 / n), indexing="ij")
    shell = np.rint(np.hypot(kx, ky))
    return Spectra(transform, kx, ky, (shell >= first_shell) & (shell < end_shell))


def real_space_score(
    image: NDArray[np.float32], particles: Particles, row: int, rotation: Floats, spectra: Spectra
) -> float:
    """What subtracting the projection takes from the high-passed image's sum of squares, in real space."""
    n, kx, ky, optics = len(image), spectra.kx, spectra.ky, particles.optics[0]
    at = len(spectra.volume) / n * (kx[..., None] * rotation[0] + ky[..., None] * rotation[1])
    where = np.moveaxis(at[..., ::-1], -1, 0) + len(spectra.volume) // 2
    projection = map_coordinates(spectra.volume, where, order=1, mode="constant")
    shift = particles.shifts_angstrom[row] / PIXEL_ANGSTROM
    u, v, angle, phase = (
        float(particles.column(name)[row])
        for name in ("defocus_u_angstrom", "defocus_v_angstrom", "defocus_angle_deg", "phase_shift_deg")
    )
    field = n * PIXEL_ANGSTROM
    projection *= ctf(kx / field, ky / field, optics, u, v, angle, phase)
    projection *= np.exp(-2j * np.pi / n * (kx * (n // 2 - shift[0]) + ky * (n // 2 - shift[1])))
    predicted = scipy.fft.irfft2(projection * spectra.band, s=(n, n))
    seen = scipy.fft.irfft2(scipy.fft.rfft2(image.astype(np.float64)) * spectra.band, s=(n, n))
    return float(np.sum(seen**2) - np.sum((seen - predicted) ** 2))
