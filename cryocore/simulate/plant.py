"""Errors planted on purpose, and the truth about them; into simulated data or into a copy of a real STAR file."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import scipy.fft
from numpy.typing import NDArray

from cryocore.config.plant import ErrorShares, PlantedErrors
from cryocore.errors import InputError
from cryocore.formats.kinds import PARTICLE_ID, kind_of, read_tables
from cryocore.formats.stacks import StackReader, batch_size
from cryocore.formats.star import IMAGE_NAME, edit_star
from cryocore.formats.star_out import write_star
from cryocore.geometry.rotations import matrix_to_euler, matrix_to_quaternion, random_rotations, rotations_by_angle
from cryocore.ingest.copies import ALL, Choice
from cryocore.ingest.particles import ANGLES, ORIGINS_ANGSTROM, ORIGINS_PIXEL, distinct, particle_ids, read_particles
from cryocore.maps.mrc import write_stack
from cryocore.tables.io import write_table
from cryocore.tables.particles import Particles
from cryocore.types import Floats, Floats32, Ints

log = logging.getLogger(__name__)

Kinds = NDArray[np.str_]

CORRECT = "none"
KINDS = ("wrong_pose", "local_pose", "wrong_shift", "junk")


def assign_errors(n: int, settings: ErrorShares, rng: np.random.Generator) -> Kinds:
    """The kind of error of each of ``n`` particles, ``(n,)``: one of ``KINDS`` or ``"none"``.

    Every kind gets ``round(rate * n)`` particles at random places.
    """
    kinds = np.full(n, CORRECT, dtype=f"<U{max(map(len, KINDS))}")
    order, start = rng.permutation(n), 0
    for kind in KINDS:
        stop = start + round(getattr(settings, kind) * n)
        kinds[order[start:stop]] = kind
        start = stop
    return kinds


def perturb_poses(
    kinds: Kinds, rotations: Floats, shifts_angstrom: Floats, settings: ErrorShares, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Poses with the planted errors.

    Parameters
    ----------
    kinds : (n,)             of :func:`assign_errors`
    rotations : (n, 3, 3)    true object-to-image matrices
    shifts_angstrom : (n, 2) true shifts

    Returns
    -------
    rotations, shifts_angstrom : copies in which ``wrong_pose`` is uniform on SO(3), ``local_pose`` is turned by an
        angle uniform in its range about a random axis, ``wrong_shift`` is moved by a distance uniform in its range in
        a random direction
    """
    rotations, shifts = np.array(rotations, dtype=np.float64), np.array(shifts_angstrom, dtype=np.float64)
    incorrect, local, moved = (np.flatnonzero(kinds == kind) for kind in KINDS[:3])
    rotations[incorrect] = random_rotations(len(incorrect), rng)
    if len(local):
        low, high = settings.local_angle_deg
        angles = rng.uniform(low, high, size=len(local))
        rotations[local] = rotations_by_angle(rng.normal(size=(len(local), 3)), angles) @ rotations[local]
    low, high = settings.wrong_shift_angstrom
    distance = rng.uniform(low, high, size=len(moved))
    direction = rng.uniform(0.0, 2.0 * np.pi, size=len(moved))
    shifts[moved] += distance[:, None] * np.stack([np.cos(direction), np.sin(direction)], axis=1)
    return rotations, shifts


def truth_table(ids: NDArray[np.uint64], kinds: Kinds, rotations: Floats, shifts_angstrom: Floats) -> pa.Table:
    """The truth about each particle, in the order of ``ids`` ``(n,)``: kind of error, true pose and true shift."""
    quaternions = matrix_to_quaternion(rotations)
    return pa.table(
        {
            "particle_id": pa.array(ids, pa.uint64()),
            "is_correct": pa.array(kinds == CORRECT),
            "error_kind": pa.array(kinds.tolist(), pa.string()),
            **{f"quat_{c}": quaternions[:, i] for i, c in enumerate("wxyz")},
            "shift_x_angstrom": shifts_angstrom[:, 0],
            "shift_y_angstrom": shifts_angstrom[:, 1],
        }
    )


def phase_randomised(images: Floats32, rng: np.random.Generator) -> Floats32:
    """Images ``(n, d, d)`` of the same power spectrum and mean with random phases: noise that looks like the data."""
    size = images.shape[-2:]
    spectrum = scipy.fft.rfft2(images.astype(np.float64))
    random = scipy.fft.rfft2(rng.standard_normal(images.shape))
    scrambled = np.abs(spectrum) * random / np.abs(random)
    scrambled[:, 0, 0] = spectrum[:, 0, 0]
    return scipy.fft.irfft2(scrambled, s=size).astype(np.float32)


def plant(
    star: str | Path,
    settings: PlantedErrors,
    *,
    root: str | None,
    pixel_size_angstrom: float | None,
    seed: int,
    out_dir: Path,
    passthrough: str | Path | None = None,
    choice: Choice = ALL,
) -> None:
    """Write a copy of a STAR file with planted errors: particles.star, truth.parquet and, with junk, junk.mrcs.

    Particles of another format are brought into a STAR file first. Of a file of which not all particles are read, by
    ``choice``, the copy has those that are.

    The copy differs from ``star`` in its first lines, which say where image paths start from, and in the angles,
    origins and image names of the particles made incorrect. The poses of ``star`` count as true. If junk has several
    boxes, all but that of the maps go to junk_BOX.mrcs.
    """
    star, out_dir = Path(star), Path(out_dir)
    particles = read_particles(
        star, root=root, pixel_size_angstrom=pixel_size_angstrom, seed=seed, passthrough=passthrough, choice=choice
    )
    rng = np.random.default_rng(seed)
    kinds = assign_errors(len(particles), settings, rng)
    _refuse_none(kinds, settings, star)
    rotations, shifts = perturb_poses(kinds, particles.rotations, particles.shifts_angstrom, settings, rng)

    tables = read_tables(star, passthrough)
    source = particles.column("source_row")
    names = tables.particles[IMAGE_NAME].iloc[source].tolist()
    junk = _write_junk(particles, np.flatnonzero(kinds == "junk"), rng, out_dir)
    ids = distinct(particle_ids(f"junk {name}" if row in junk else name for row, name in enumerate(names)))
    edits: dict[int, dict[str, Any]] = {int(source[row]): {IMAGE_NAME: name} for row, name in junk.items()}
    turned = np.flatnonzero((kinds == "wrong_pose") | (kinds == "local_pose"))
    for row, angles in zip(source[turned].tolist(), matrix_to_euler(rotations[turned]), strict=True):
        edits[row] = {label: f"{angle:.6f}" for label, angle in zip(ANGLES, angles, strict=True)}
    moved = np.flatnonzero(kinds == "wrong_shift")
    origins, columns = _origins(tables.particles.columns.tolist(), tables.optics is None, particles, shifts)
    for row in moved.tolist() if columns == {} else []:
        edits[int(source[row])] = {label: f"{values[row]:.6f}" for label, values in origins.items()}
    with TemporaryDirectory() as folder:
        given = star
        if kind_of(star) != "star":
            given = Path(folder) / "particles.star"
            write_star(tables.particles, tables.optics, given)
        extra = columns if len(moved) else {}
        # the names of junk depend on where it lies, which must decide nothing; copies of an image share its name
        if junk or particles.has_copies or PARTICLE_ID in tables.particles:
            extra = extra | {PARTICLE_ID: [str(i) for i in ids.tolist()]}
        keep = np.zeros(len(tables), dtype=bool)
        keep[source] = True
        edit_star(given, out_dir / "particles.star", keep=keep, extra=extra or None, edits=edits, root=particles.root)
    truth = truth_table(ids, kinds, particles.rotations, particles.shifts_angstrom)
    write_table(out_dir / "truth.parquet", truth, seed=seed, parent=str(star))
    log.info("%s: %s", star, ", ".join(f"{(kinds == k).sum()} {k}" for k in (*KINDS, CORRECT)))


def _refuse_none(kinds: Kinds, settings: PlantedErrors, star: Path) -> None:
    for kind in KINDS:
        rate = getattr(settings, kind)
        if rate > 0 and not (kinds == kind).any():
            problem = f"a rate of {rate:g} makes none of its {len(kinds)} particles {kind}"
            raise InputError(problem, file=star, fix=f"Raise input.plant.{kind} or set it to 0")


def _origins(
    labels: list[str], is_old: bool, particles: Particles, shifts: Floats
) -> tuple[dict[str, Floats], dict[str, list[str]]]:
    """The origins ``{label: (n,)}`` in the file's unit and, where the file lacks the columns, those to append."""
    pixel = np.array([o.pixel_size_angstrom for o in particles.optics])[particles.column("optics_group")]
    in_angstrom = ORIGINS_ANGSTROM[0] in labels or (ORIGINS_PIXEL[0] not in labels and not is_old)
    names, unit = (ORIGINS_ANGSTROM, np.ones_like(pixel)) if in_angstrom else (ORIGINS_PIXEL, pixel)
    origins = {label: shifts[:, i] / unit for i, label in enumerate(names)}
    missing = names[0] not in labels
    return origins, {k: [f"{x:.6f}" for x in v] for k, v in origins.items()} if missing else {}


def _write_junk(particles: Particles, rows: Ints, rng: np.random.Generator, out_dir: Path) -> dict[int, str]:
    """Write the scrambled images, one stack per box; returns the image name of each row, relative to the root."""
    boxes = np.array([o.box for o in particles.optics])[particles.column("optics_group")]
    names: dict[int, str] = {}
    for number, box in enumerate(sorted({*boxes[rows].tolist()}, key=lambda b: (b != particles.optics[0].box, b))):
        path = out_dir / ("junk.mrcs" if number == 0 else f"junk_{box}.mrcs")
        members = rows[boxes[rows] == box]
        pixel = particles.optics[int(particles.column("optics_group")[members[0]])].pixel_size_angstrom
        write_stack(path, _scrambled(particles, members, rng), pixel)
        relative = os.path.relpath(path.resolve(), Path(particles.root).resolve())
        names |= {int(row): f"{i:06d}@{relative}" for i, row in enumerate(members, start=1)}
    return names


def _scrambled(particles: Particles, rows: Ints, rng: np.random.Generator) -> Iterator[Floats32]:
    """Phase-randomised images of the rows, in batches, of the contrast that their optics groups have."""
    sign = np.array([o.image_sign for o in particles.optics], dtype=np.float32)[particles.column("optics_group")]
    with StackReader(particles) as reader:
        size = batch_size(int(particles.optics[int(particles.column("optics_group")[rows[0]])].box))
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            yield phase_randomised(reader.read(part), rng) * sign[part, None, None]
