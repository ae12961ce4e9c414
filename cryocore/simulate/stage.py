"""Synthetic data sets with planted errors, written as any other data set: a STAR file and stacks.

image = S C P x + noise. The pose in the STAR file is the true one, except where an error is planted; the truth
goes to ``truth.parquet``, which only ``validate`` reads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import scipy.fft
from numpy.typing import NDArray
from tqdm import tqdm

from cryocore.backend import Backend
from cryocore.config.plant import PlantedErrors
from cryocore.config.simulate import Simulate
from cryocore.errors import InputError
from cryocore.formats.kinds import read_tables
from cryocore.formats.stacks import read_images
from cryocore.formats.star_out import write_star
from cryocore.geometry.rotations import matrix_to_euler, quaternion_to_matrix, random_rotations, rotations_by_angle
from cryocore.geometry.symmetry import point_group
from cryocore.imaging.ctf import ctf
from cryocore.imaging.grid import FourierGrid
from cryocore.imaging.image_geometry import ImageGeometry
from cryocore.imaging.slices import project
from cryocore.imaging.volumes import map_to_grid
from cryocore.ingest.columns import columns_of
from cryocore.ingest.particles import particle_ids, poses_of
from cryocore.maps.mrc import read_map, read_placement, require_contrast, write_map, write_stack
from cryocore.maps.placement import require_same_voxel
from cryocore.simulate.duplicates import Duplicates, draw_duplicates
from cryocore.simulate.molecules import density_map, molecule_map, second_state_atoms
from cryocore.simulate.nuisances import (
    ImageNuisances,
    affected,
    at_the_edge,
    beads,
    draw_nuisances,
    stream,
    with_jitter,
    with_wrong_defocus,
)
from cryocore.simulate.plant import assign_errors, perturb_poses, truth_table
from cryocore.tables.io import write_table
from cryocore.tables.particles import Optics
from cryocore.types import Floats, Floats32, Ints

log = logging.getLogger(__name__)

BATCH = 128
PREFERENCES = {
    "preferred": ((0.45, (0.0, 0.0, 1.0)), (0.35, (1.0, 0.0, 0.0))),
    "single": ((0.95, (0.0, 0.0, 1.0)),),
}
"""Shares of the particles that look along an axis."""
DRAWN_SPREAD_DEG = 3.0
"""Poses drawn from a file are turned by about so much, as several are drawn from one."""
MOST_REDRAWN = 100
"""Times that a crop of the background is drawn again if it has been drawn before."""
STACK = "particles.mrcs"
MICROGRAPH, DEFOCUS = "rlnMicrographName", ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")
LAWS: dict[str, Callable[[np.random.Generator, int], Floats]] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "uniform": lambda rng, n: rng.uniform(0.0, 12**0.5, n),
    "two_valued": lambda rng, n: rng.choice([0.0, 2.0], n),
}
"""Draws of variance 1, by ``bfactor_law``."""


@dataclass(frozen=True)
class Truth:
    """What is true of every particle: poses ``(n, 3, 3)``, shifts ``(n, 2)`` Å, defocus U, V (Å) and angle, its own
    B-factor ``(n,)`` in Å², by which its image falls off beside that of the molecule, and its state ``(n,)``, 0 or
    1."""

    rotations: Floats
    shifts_angstrom: Floats
    defocus: Floats
    micrograph: NDArray[np.int64]
    bfactor_angstrom2: Floats
    state: NDArray[np.int8]


def simulate(
    settings: Simulate, plant: PlantedErrors, *, symmetry: str, seed: int, out_dir: Path, backend: Backend
) -> None:
    """Write particles.star, particles.mrcs, truth.parquet and true_map.mrc into ``out_dir``."""
    rng = np.random.default_rng(seed)
    truth_map = true_map(settings)
    maps = truth_map[None] if not settings.second_share else np.stack([truth_map, second_map(settings)])
    truth = draw_truth(settings, symmetry, rng, seed)
    kinds = assign_errors(settings.n_particles, plant, rng)
    duplicates = draw_duplicates(truth.micrograph, kinds, plant, settings.pixel_size_angstrom, seed=seed)
    truth = with_duplicates(truth, duplicates, settings.pixel_size_angstrom)
    rotations, shifts = perturb_poses(kinds, truth.rotations, truth.shifts_angstrom, plant, rng)
    nuisances = draw_nuisances(kinds, truth.micrograph, settings, seed)
    recorded = truth
    if settings.pose_jitter_deg:
        kinds, rotations = with_jitter(kinds, rotations, settings, plant, stream(seed, "jitter"))
    if settings.wrong_defocus:
        rng_defocus = stream(seed, "defocus")
        kinds, defocus = with_wrong_defocus(kinds, truth.defocus, truth.micrograph, settings, rng_defocus)
        recorded = replace(truth, defocus=defocus)

    out_dir.mkdir(parents=True, exist_ok=True)
    write_map(out_dir / "true_map.mrc", truth_map, settings.pixel_size_angstrom)
    if settings.second_share:
        write_map(out_dir / "second_map.mrc", maps[1], settings.pixel_size_angstrom)
    images = noisy_images(maps, truth, kinds == "junk", duplicates, nuisances, settings, rng, backend)
    precision = np.float16 if settings.half_precision else np.float32
    write_stack(out_dir / STACK, images, settings.pixel_size_angstrom, dtype=precision)
    names = [f"{i + 1:06d}@{STACK}" for i in range(settings.n_particles)]
    half = rng.permutation(np.arange(len(names)) % 2) + 1
    write_star(*star_tables(names, rotations, shifts, recorded, settings, half), out_dir / "particles.star")
    ids = particle_ids(names)
    table = truth_table(ids, kinds, truth.rotations, truth.shifts_angstrom)
    if len(duplicates):
        table = table.append_column("duplicate_of", duplicates.originals(ids))
    if truth.bfactor_angstrom2.any():
        table = table.append_column("bfactor_angstrom2", pa.array(truth.bfactor_angstrom2))
    if settings.second_share:
        table = table.append_column("state", pa.array(truth.state))
    if settings.micrograph_scale_spread:
        table = table.append_column("scale", pa.array(nuisances.scales))
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


def second_map(settings: Simulate) -> Floats32:
    """The map of the molecule's second state."""
    return density_map(
        second_state_atoms(settings.molecule, settings.second_state),
        box=settings.box,
        pixel_size_angstrom=settings.pixel_size_angstrom,
        bfactor=settings.bfactor_angstrom2,
    )


def draw_truth(settings: Simulate, symmetry: str, rng: np.random.Generator, seed: int) -> Truth:
    """Draw poses, shifts and defoci; the particles of a micrograph have similar defoci.

    B-factors and states have generators of their own: data sets of one ``seed`` differ in nothing else.
    """
    n = settings.n_particles
    rotations = true_rotations(settings, symmetry, rng)
    if settings.micrographs is None:
        micrograph, defocus = made_micrographs(settings, rng)
    else:
        micrograph, defocus = drawn_micrographs(settings.micrographs, n, settings.n_micrographs, rng)
    shifts = rng.normal(0.0, settings.shift_angstrom, (n, 2))
    state = affected(n, settings.second_share, stream(seed, "state")).astype(np.int8)
    return Truth(rotations, shifts, defocus, micrograph, own_bfactors(settings, micrograph, seed), state)


def made_micrographs(settings: Simulate, rng: np.random.Generator) -> tuple[Ints, Floats]:
    """Micrograph of each particle ``(n,)``, and its defocus U, V (Å) and angle ``(n, 3)``."""
    n, count = settings.n_particles, settings.n_micrographs
    micrograph = np.sort(rng.integers(count, size=n))
    mean = rng.uniform(*settings.defocus_angstrom, count)[micrograph] + rng.normal(0.0, 200.0, n)
    difference = rng.uniform(0.0, settings.astigmatism_angstrom, count)[micrograph]
    angle = rng.uniform(0.0, 180.0, count)[micrograph]
    return micrograph, np.stack([mean + difference / 2, mean - difference / 2, angle], axis=1)


def drawn_micrographs(file: str | Path, n: int, count: int, rng: np.random.Generator) -> tuple[Ints, Floats]:
    """:func:`made_micrographs` as those of a file of particles: as many share one, and have its defoci.

    ``count`` micrographs are drawn of the file, each as often as all the others; n particles of these, each with the
    defocus of one that the file has there.

    Raises
    ------
    InputError  if the file has no micrographs or no defoci.
    """
    columns = columns_of(read_tables(file))
    missing = next((name for name in (MICROGRAPH, *DEFOCUS) if not columns.has(name)), None)
    if missing is not None:
        fix = "Give a file of particles that has it, or leave input.simulate.micrographs out"
        raise InputError("the column is missing", file=Path(file), column=columns.name(missing), fix=fix)
    of_file, names = pd.factorize(columns.texts(MICROGRAPH))
    repeats = -(-count // len(names))
    chosen = rng.permutation(np.tile(np.arange(len(names)), repeats))[:count]
    size = np.bincount(of_file)[chosen]
    micrograph = np.sort(rng.choice(count, size=n, p=size / size.sum()))
    rows, first = np.argsort(of_file, kind="stable"), np.cumsum(np.bincount(of_file)) - np.bincount(of_file)
    row = rows[first[chosen[micrograph]] + rng.integers(size[micrograph])]
    return micrograph, np.stack([columns.numbers(name)[row] for name in DEFOCUS], axis=1)


def own_bfactors(settings: Simulate, micrograph: Ints, seed: int) -> Floats:
    """The B-factor of each particle ``(n,)``, Å², beside that of the molecule: its micrograph's, and what it adds."""
    rng, law = stream(seed, "bfactor"), LAWS[settings.bfactor_law]
    shared = settings.micrograph_bfactor_sd_angstrom2 * law(rng, settings.n_micrographs)[micrograph]
    return shared + settings.particle_bfactor_sd_angstrom2 * law(rng, len(micrograph))


def with_duplicates(truth: Truth, duplicates: Duplicates, pixel_size_angstrom: float) -> Truth:
    """The truth in which each duplicate has its original's pose and defocus, and a shift that says where it was cut."""
    rotations, shifts, defocus = truth.rotations.copy(), truth.shifts_angstrom.copy(), truth.defocus.copy()
    bfactor, state = truth.bfactor_angstrom2.copy(), truth.state.copy()
    rotations[duplicates.row] = rotations[duplicates.original]
    defocus[duplicates.row] = defocus[duplicates.original]
    bfactor[duplicates.row] = bfactor[duplicates.original]
    state[duplicates.row] = state[duplicates.original]
    shifts[duplicates.row] = shifts[duplicates.original] + duplicates.offset * pixel_size_angstrom
    return Truth(rotations, shifts, defocus, truth.micrograph, bfactor, state)


def true_rotations(settings: Simulate, symmetry: str, rng: np.random.Generator) -> Floats:
    """Poses ``(n, 3, 3)`` as the settings want their viewing directions to spread."""
    n = settings.n_particles
    if settings.poses is not None:
        return drawn_rotations(settings.poses, n, rng)
    if settings.orientations == "uniform":
        return random_rotations(n, rng)
    return preferred_rotations(n, PREFERENCES[settings.orientations], symmetry, rng)


def drawn_rotations(file: str | Path, n: int, rng: np.random.Generator) -> Floats:
    """Poses ``(n, 3, 3)`` drawn from those of a file of particles, each turned in plane and by some degrees anyhow.

    Raises
    ------
    InputError  if the file has no 3-D poses.
    """
    known = quaternion_to_matrix(poses_of(columns_of(read_tables(file))))
    chosen = known[rng.integers(len(known), size=n)]
    tilted = rotations_by_angle(rng.normal(size=(n, 3)), np.abs(rng.normal(0.0, DRAWN_SPREAD_DEG, n)))
    in_plane = rotations_by_angle(np.tile([0.0, 0.0, 1.0], (n, 1)), rng.uniform(0.0, 360.0, n))
    return np.asarray(in_plane @ tilted @ chosen)


def preferred_rotations(
    n: int, preferences: tuple[tuple[float, tuple[float, float, float]], ...], symmetry: str, rng: np.random.Generator
) -> Floats:
    """Poses ``(n, 3, 3)``: shares of them look along axes within some 15 degrees, the rest anywhere.

    The symmetry equivalents of the point group spread each preference over its equivalents.
    """
    rotations = random_rotations(n, rng)
    shares = [share for share, _ in preferences]
    choice = rng.choice(len(shares) + 1, size=n, p=[*shares, 1.0 - sum(shares)])
    for kind, (_, axis) in enumerate(preferences):
        rows = np.flatnonzero(choice == kind)
        view = np.array(axis) + 0.26 * rng.normal(size=(len(rows), 3)) / np.sqrt(2)
        view /= np.linalg.norm(view, axis=1, keepdims=True)
        in_plane = np.cross(view, rng.normal(size=view.shape))
        in_plane /= np.linalg.norm(in_plane, axis=1, keepdims=True)
        rotations[rows] = np.stack([in_plane, np.cross(view, in_plane), view], axis=1)
    group = point_group(symmetry)
    return rotations @ group[rng.integers(len(group), size=n)]


def noisy_images(
    maps: Floats32,
    truth: Truth,
    junk: NDArray[np.bool_],
    duplicates: Duplicates,
    nuisances: ImageNuisances,
    settings: Simulate,
    rng: np.random.Generator,
    backend: Backend,
) -> Iterator[Floats32]:
    """Batches of images of one of the ``maps`` ``(states, n, n, n)`` each, with unit noise.

    The signal is scaled to the wanted ratio, found on a first batch of the first state without B-factors of its own.
    """
    box = settings.box
    draw_noise = noise_source(settings, box + duplicates.reach)

    def backdrop(side: int, seeded: np.random.Generator) -> tuple[Floats32, float]:
        noise = draw_noise(1, side, seeded)
        if settings.background:
            noise += gradients(settings.background, 1, side, seeded)
        return noise[0], float(np.exp(seeded.normal(0.0, settings.scale_spread)))

    disc = particle_disc(maps[0])
    grid = backend.to_device(np.stack([map_to_grid(volume, simulation_grid(settings)) for volume in maps]))
    first = np.flatnonzero(~junk)[:512] if not junk.all() else np.arange(min(512, len(junk)))
    sharp = replace(truth, bfactor_angstrom2=np.zeros(len(junk)), state=np.zeros(len(junk), dtype=np.int8))
    clean = clean_images(grid, sharp, first, settings, backend)
    amplitude = np.float32(np.sqrt(settings.snr / clean[:, disc].var(axis=1).mean()))
    with tqdm(total=len(junk), desc="simulate", unit="image", disable=None) as bar:
        for start in range(0, len(junk), BATCH):
            rows = np.arange(start, min(start + BATCH, len(junk)))
            noise, scale = draw_noise(len(rows), box, rng), np.ones(len(rows))
            signal = clean_images(grid, truth, rows, settings, backend)
            signal[junk[rows]] = 0.0
            signal *= nuisances.scales[rows, None, None]
            if (beside := nuisances.has_neighbour[rows]).any():
                signal[beside] += neighbours(grid, truth, rows[beside], settings, nuisances.neighbour_rng, backend)
            tilt = gradients(settings.background, len(rows), box, rng) if settings.background else np.zeros_like(noise)
            if settings.scale_spread:
                scale = np.exp(rng.normal(0.0, settings.scale_spread, len(rows)))
            for i, found, factor in duplicates.backdrops(rows, box, backdrop):
                noise[i], tilt[i], scale[i] = found, 0.0, factor
            if (spoilt := nuisances.has_bead[rows]).any():
                noise[spoilt] += beads(int(spoilt.sum()), settings, nuisances.bead_rng)
            images = (amplitude * signal + noise + tilt) * scale[:, None, None]
            bar.update(len(rows))
            yield images.astype(np.float32)


def neighbours(
    grid: Any,
    truth: Truth,
    rows: NDArray[np.int64],
    settings: Simulate,
    rng: np.random.Generator,
    backend: Backend,
) -> Floats32:
    """The molecule at random poses at the edge of the images of some particles, ``(m, n, n)``, with their CTF."""
    m = len(rows)
    of_image = truth.defocus[rows], truth.micrograph[rows], truth.bfactor_angstrom2[rows]
    others = Truth(random_rotations(m, rng), np.zeros((m, 2)), *of_image, np.zeros(m, dtype=np.int8))
    return at_the_edge(clean_images(grid, others, np.arange(m), settings, backend), rng)


def noise_source(settings: Simulate, largest: int) -> Callable[[int, int, np.random.Generator], Floats32]:
    """A function of a number, a side up to ``largest`` and a generator: images ``(m, n, n)`` of noise, unit variance.

    Raises
    ------
    InputError  if the background images are smaller than the largest side.
    """
    if settings.background_images is not None:
        return crops(background_patches(settings.background_images, largest))

    def gaussian(m: int, side: int, rng: np.random.Generator) -> Floats32:
        noise = rng.standard_normal((m, side, side), dtype=np.float32)
        return scipy.fft.irfft2(scipy.fft.rfft2(noise) * noise_spectrum(settings.noise, side), s=(side, side))

    return gaussian


def background_patches(file: str | Path, largest: int) -> Floats32:
    """Images without particles ``(k, h, w)``, of mean 0 and variance 1 each."""
    patches = np.asarray(read_images(file), dtype=np.float32)
    if min(patches.shape[1:]) < largest:
        what = f"the box, with its planted duplicates, is {largest}"
        problem = f"the images are {patches.shape[2]} x {patches.shape[1]} pixels, {what}"
        raise InputError(problem, file=file, fix="Give larger images, or lower input.simulate.box")
    patches -= patches.mean(axis=(1, 2), keepdims=True)
    return patches / patches.std(axis=(1, 2), keepdims=True)


def crops(patches: Floats32) -> Callable[[int, int, np.random.Generator], Floats32]:
    """A :func:`noise_source` of crops at random places, turned by quarters and mirrored at random, of unit variance.

    None is drawn twice, as images that are the same are one particle; unless there are hardly any others.
    """
    seen: set[tuple[int, ...]] = set()

    def drawn(m: int, side: int, rng: np.random.Generator) -> NDArray[np.int64]:
        y, x = (length - side + 1 for length in patches.shape[1:])
        return np.stack([rng.integers(bound, size=m) for bound in (len(patches), y, x, 4, 2)], axis=1)

    def cropped(m: int, side: int, rng: np.random.Generator) -> Floats32:
        places, out = drawn(m, side, rng), np.empty((m, side, side), dtype=np.float32)
        for place, image in zip(places, out, strict=True):
            for _ in range(MOST_REDRAWN):
                if (side, *place.tolist()) not in seen:
                    break
                place[:] = drawn(1, side, rng)[0]
            seen.add((side, *place.tolist()))
            which, y, x, turns, mirror = place
            crop = np.rot90(patches[which, y : y + side, x : x + side], turns)
            image[:] = crop[:, ::-1] if mirror else crop
        return out

    return cropped


def gradients(spread: float, n: int, box: int, rng: np.random.Generator) -> Floats32:
    """Linear backgrounds ``(n, box, box)`` in random directions, whose values half a box from the origin are normal."""
    direction, height = rng.uniform(0.0, 2 * np.pi, n), rng.normal(0.0, spread, n)
    along = (np.arange(box) - box // 2) / (box / 2)
    x, y = (height * f(direction) for f in (np.cos, np.sin))
    return (x[:, None, None] * along + y[:, None, None] * along[:, None]).astype(np.float32)


def noise_spectrum(noise: str, side: int) -> Floats32:
    """Amplitude of the noise over ``rfft2`` coefficients, unit power on average; coloured noise falls off."""
    f = np.hypot(scipy.fft.fftfreq(side)[:, None], scipy.fft.rfftfreq(side)[None, :])
    power = np.ones_like(f) if noise == "white" else 0.4 + 2.0 / (1.0 + (f / 0.08) ** 2)
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
    """S C P x for some particles, ``(m, n, n)``, of the grids of the states' maps; the CTF is the reference formula."""
    box, optics = settings.box, optics_of(settings)
    frame = ImageGeometry.of(optics, simulation_grid(settings))
    slices = backend.to_host(project(grid, truth.rotations[rows], truth.state[rows].astype(np.int32), frame, backend))
    r = frame.limit
    ky, kx = np.mgrid[-r : r + 1, 0 : r + 1]
    step = 1.0 / (box * settings.pixel_size_angstrom)
    spectra = np.zeros((len(rows), box, box // 2 + 1), dtype=np.complex64)
    for i, row in enumerate(rows):
        contrast = ctf(step * kx, step * ky, optics, *truth.defocus[row])
        contrast *= np.exp(-0.25 * truth.bfactor_angstrom2[row] * step**2 * (kx**2 + ky**2))
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
        MICROGRAPH: [f"micrograph_{m:04d}.mrc" for m in truth.micrograph],
        "rlnOpticsGroup": 1,
        "rlnRandomSubset": half,
        **{f"rlnAngle{name}": angles[:, i] for i, name in enumerate(("Rot", "Tilt", "Psi"))},
        **{f"rlnOrigin{axis}Angst": shifts_angstrom[:, i] for i, axis in enumerate("XY")},
        **{name: truth.defocus[:, i] for i, name in enumerate(DEFOCUS)},
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
