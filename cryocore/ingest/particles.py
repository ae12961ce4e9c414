"""From a file of particles to the table of particles that all stages read, with every fault named on input."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from cryocore.conventions import euler_to_matrix
from cryocore.errors import InputError
from cryocore.formats.kinds import PARTICLE_ID, read_tables
from cryocore.formats.star import IMAGE_NAME, StarTables
from cryocore.geometry.rotations import matrix_to_quaternion
from cryocore.hashing import mix
from cryocore.ingest.classes import of_class
from cryocore.ingest.columns import Columns, columns_of, others
from cryocore.ingest.copies import (
    ALL,
    MICROGRAPH,
    MICROGRAPH_PIXEL,
    Choice,
    assumed_micrograph_pixel,
    close_pairs,
    first_rows,
    named_images,
    positions,
    settled,
    thinned,
)
from cryocore.ingest.halves import Units, half_sets, require_two
from cryocore.ingest.optics import find_groups, pixel_sizes
from cryocore.ingest.stacks import (
    ImageNames,
    check_halves,
    check_images,
    check_stacks,
    find_root,
    parse_image_names,
    require_images,
)
from cryocore.tables.particles import GIVEN_SCORES, IMAGE, Particles, particles_schema
from cryocore.types import Bools, Floats, Ints

log = logging.getLogger(__name__)

ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
ORIGINS_ANGSTROM = ("rlnOriginXAngst", "rlnOriginYAngst")
ORIGINS_PIXEL = ("rlnOriginX", "rlnOriginY")
DEFOCUS_U, DEFOCUS_V, DEFOCUS_ANGLE = "rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle"

MAX_DEFOCUS_ANGSTROM = 3e5
MICROMETRE_DEFOCUS = 50.0
FEWEST_ANGLES = 20
"""Of so many particles some angle is larger than 2π in degrees."""
ROWS_PER_CHUNK = 1 << 17
MOST_MIXED = 8


def particle_ids(names: Iterable[str]) -> NDArray[np.uint64]:
    """Stable ids ``(n,)`` of image names as they stand in the STAR file: their 8-byte BLAKE2b hash, little-endian.

    >>> particle_ids(["000001@particles.mrcs"]).tolist()
    [12457463812843104114]
    """
    digests = b"".join(blake2b(name.encode(), digest_size=8).digest() for name in names)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def ids_of(tables: StarTables) -> NDArray[np.uint64]:
    """Stable ids ``(n,)`` of the particles of a file, all different: its own, or those of its image names.

    Copies of an image are told apart by their order; what is handed on holds their ids.
    """
    return distinct(ids_of_file(tables))


def ids_of_file(tables: StarTables) -> NDArray[np.uint64]:
    """The ids ``(n,)`` that a file gives its particles, the same to copies of an image."""
    if tables.ids is not None:
        return tables.ids
    if PARTICLE_ID in tables.particles:
        return _given_ids(tables)
    return particle_ids(tables.particles[IMAGE_NAME].astype(str))


def distinct(ids: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Ids ``(n,)`` of which no two are equal: each that was there before is mixed with how often it was.

    >>> distinct(np.array([5, 6, 5], dtype=np.uint64))[:2].tolist()
    [5, 6]
    """
    known = pd.Series(ids)
    for _ in range(MOST_MIXED):
        if not known.duplicated().any():
            break
        before = known.groupby(known).cumcount().to_numpy().astype(np.uint64)
        known = known.where(before == 0, mix(known.to_numpy() ^ mix(before)))
    return known.to_numpy()


def _given_ids(tables: StarTables) -> NDArray[np.uint64]:
    texts = tables.particles[PARTICLE_ID].astype(str).tolist()
    wrong = next((i for i, text in enumerate(texts) if not (text.isdecimal() and int(text) < 2**64)), None)
    if wrong is not None:
        problem = f"{texts[wrong]!r:.80} is no id of a particle"
        fix = "Remove the column; ids are then made from the names of the images"
        raise InputError(problem, file=tables.path, row=wrong + 1, column=PARTICLE_ID, fix=fix)
    first = first_rows(np.array(texts, dtype=object))
    names = tables.particles[IMAGE_NAME].astype(str).to_numpy(dtype=object)
    other = np.flatnonzero(names != names[first])
    if len(other):
        row, fix = int(other[0]), "Remove the column; ids are then made from the names of the images"
        problem = f"the id of row {first[row] + 1}, which has another image{others(other)}"
        raise InputError(problem, file=tables.path, row=row + 1, column=PARTICLE_ID, fix=fix)
    return np.array([int(text) for text in texts], dtype=np.uint64)


def ingest(
    star: str | Path,
    *,
    root: str | None,
    pixel_size_angstrom: float | None,
    seed: int,
    passthrough: str | Path | None = None,
    choice: Choice = ALL,
) -> Particles:
    """Read a file of particles and check everything that later stages rely on, images included.

    Parameters
    ----------
    star : RELION STAR file of any version, cryoSPARC .cs or THUNDER .thu file, of particles with poses
    root : directory that image paths start from; None looks in the usual places
    pixel_size_angstrom : replaces that of the file
    seed : of the half sets, where the file has none
    passthrough : .cs file with more fields of the same particles; None looks beside the file if some are missing
    choice : which of the particles are read

    Raises
    ------
    InputError  for the first fault found, with its file, row, column and fix.
    """
    particles = read_particles(
        star, root=root, pixel_size_angstrom=pixel_size_angstrom, seed=seed, passthrough=passthrough, choice=choice
    )
    check_images(particles)
    return particles


def read_particles(
    star: str | Path,
    *,
    root: str | None,
    pixel_size_angstrom: float | None,
    seed: int,
    passthrough: str | Path | None = None,
    choice: Choice = ALL,
) -> Particles:
    """As :func:`ingest`, without reading the images: only the headers of their stacks."""
    star = Path(star)
    tables = read_tables(star, passthrough)
    for notice in tables.notices:
        log.info("%s: %s", star, notice)
    require_images(columns_of(tables))
    given = ids_of_file(tables)
    ids = distinct(given)
    n, tables = len(tables), of_class(replace(tables, ids=ids), choice.class_number)
    columns = columns_of(tables)
    require_two(columns)
    names = parse_image_names(columns)
    require_poses(columns)
    stays, found, image = _stay(columns, names, choice, root, pixel_size_angstrom)
    if not stays.all():
        tables = tables.take(np.flatnonzero(stays))
        columns = columns_of(tables)
        names, image = parse_image_names(columns), pd.factorize(image[stays])[0].astype(np.int64)
    groups = find_groups(columns, pixel_size_angstrom)
    x, y = shifts_angstrom(columns, groups.pixel_size_angstrom).T
    poses = {f"quat_{c}": values for c, values in zip("wxyz", quaternions_of(columns).T, strict=True)}
    values = {**poses, "shift_x_angstrom": x, "shift_y_angstrom": y, **_ctf(columns)}
    values |= {name: columns.numbers_or_nan(label) for label, name in GIVEN_SCORES.items() if columns.has(label)}
    boxes = check_stacks(columns, names, groups, found)
    side = boxes[groups.index] * groups.pixel_size_angstrom
    _report_long_shifts(star, values, side)
    places = positions(columns, np.stack([x, y], axis=1), groups.pixel_size_angstrom)
    pairs = _close_pairs(columns, places, choice.duplicate_share * side, image)
    micrographs, ids_made = columns.texts(MICROGRAPH), not np.array_equal(ids, given)
    ids = ids if tables.rows is None else ids[tables.rows]
    half, made = half_sets(columns, ids, Units.of(columns, micrographs, image, pairs), seed)
    check_halves(columns, boxes[groups.index], half)
    _report_pairs(star, pairs, half, choice.duplicate_share)
    values |= {"optics_group": groups.index, "half": half}
    first = first_rows(image)
    values |= {IMAGE: ids[first]} if np.any(first != np.arange(len(image))) else {}
    values["source_row"] = np.arange(n, dtype=np.int64) if tables.rows is None else tables.rows
    table = _table(ids, names, micrographs, values)
    n_parent = None if tables.rows is None else n
    return Particles(table, groups.optics(boxes), str(star), found, made, n_parent, ids_made)


def _stay(
    columns: Columns, names: ImageNames, choice: Choice, root: str | None, pixel_size_angstrom: float | None
) -> tuple[Bools, str, Ints]:
    """Which particles ``(n,)`` stay: without copies that are not meant, and without those too close to others.

    Beside it the directory that image paths start from, and the number of each particle's image ``(n,)``.
    """
    image = named_images(names, None)
    stays = settled(columns, names, image, lambda: quaternions_of(columns), choice.copies)
    by_name, found = len(pd.unique(image)), find_root(columns, names, root)
    image = named_images(names, found)
    if len(pd.unique(image)) < by_name:
        stays &= settled(columns, names, image, lambda: quaternions_of(columns), choice.copies)
    if choice.min_distance_angstrom:
        pixel = pixel_sizes(columns, pixel_size_angstrom)
        places = positions(columns, shifts_angstrom(columns, pixel), pixel)
        if places is None:
            problem = "nothing says where on their micrographs the particles are"
            fix = "Leave input.min_distance_angstrom out"
            raise InputError(problem, file=columns.tables.path, column=columns.name("rlnCoordinateX"), fix=fix)
        if assumed := assumed_micrograph_pixel(columns, pixel):
            message = "%s: no %s: distances on micrographs are by %s. Give the column if micrographs have other pixels"
            log.warning(message, columns.tables.path, columns.name(MICROGRAPH_PIXEL), assumed)
        first = first_rows(image)
        among = np.flatnonzero(stays & (first == np.arange(len(image))))
        distance = np.full(len(columns), choice.min_distance_angstrom)
        near = thinned(len(columns), close_pairs(columns, places, distance, among))
        gone = ~near[first]
        message = "%s: removed %d of %d particles, less than %g Å from one that stands before them"
        log.warning(message, columns.tables.path, (stays & gone).sum(), len(stays), choice.min_distance_angstrom)
        stays &= ~gone
    return stays, found, image


def _close_pairs(columns: Columns, places: Floats | None, distance: Floats, image: Ints) -> Ints:
    """Pairs of rows ``(m, 2)`` that are too close to be two particles, other than segments of one filament."""
    if places is None:
        return np.zeros((0, 2), dtype=np.int64)
    return close_pairs(columns, places, distance, np.flatnonzero(first_rows(image) == np.arange(len(image))))


def _report_pairs(star: Path, pairs: Ints, half: Ints, share: float) -> None:
    """Say how many particles seem to have been picked twice, and of which each half set has one image."""
    if len(pairs):
        parted = int((half[pairs[:, 0]] != half[pairs[:, 1]]).sum())
        message = (
            "%s: %d pairs of particles are closer than %g of the image's side on a micrograph, picked twice perhaps; "
            "of %d each half set has one, which raises the FSC. input.min_distance_angstrom removes them"
        )
        log.warning(message, star, len(pairs), share, parted)


def poses_of(columns: Columns) -> Floats:
    """Poses ``(n, 4)`` as (w, x, y, z), from the three Euler angles.

    Raises
    ------
    InputError  if the particles have none.
    """
    require_poses(columns)
    return quaternions_of(columns)


def require_poses(columns: Columns) -> None:
    """Refuse particles without 3-D poses."""
    missing = next((a for a in ANGLES if a not in columns.tables.particles), None)
    fix = "Refine the particles in 3-D and give the file of the refinement"
    if missing is not None:
        raise InputError("the particles have no poses", file=columns.tables.path, column=columns.name(missing), fix=fix)
    largest = [float(np.abs(columns.numbers(a)).max()) for a in ANGLES]
    if not any(largest[:2]):
        problem = "rot and tilt are 0 in every row: the particles have no 3-D poses"
        raise InputError(problem, file=columns.tables.path, column=columns.name(ANGLES[1]), fix=fix)
    if len(columns) >= FEWEST_ANGLES and max(largest) <= 2 * np.pi:
        message = "%s: no angle is larger than %.3g: are they in radians? They are taken to be in degrees"
        log.warning(message, columns.tables.path, max(largest))


def quaternions_of(columns: Columns) -> Floats:
    """Poses ``(n, 4)`` as (w, x, y, z), from the three Euler angles."""
    angles = np.stack([columns.numbers(a) for a in ANGLES], axis=1)
    parts = [angles[i : i + ROWS_PER_CHUNK] for i in range(0, len(angles), ROWS_PER_CHUNK)]
    return np.concatenate([matrix_to_quaternion(euler_to_matrix(*part.T)) for part in parts])


def shifts_angstrom(columns: Columns, pixel_size_angstrom: Floats) -> Floats:
    """Shifts ``(n, 2)`` in Å, from columns in Å or in pixels of the particle's own size ``(n,)``."""
    for labels, scale in ((ORIGINS_ANGSTROM, np.ones(len(columns))), (ORIGINS_PIXEL, pixel_size_angstrom)):
        if any(columns.has(label) for label in labels):
            return np.stack([columns.numbers(label) * scale for label in labels], axis=1)
    names = " and ".join(dict.fromkeys(map(columns.name, ORIGINS_ANGSTROM)))
    log.warning("%s has no %s; shifts are taken to be 0", columns.tables.path, names)
    return np.zeros((len(columns), 2))


def _report_long_shifts(star: Path, values: dict[str, Floats], side_angstrom: Floats) -> None:
    """Say so where shifts put the particle outside its image, as pixels given for Å would."""
    longest = np.maximum(np.abs(values["shift_x_angstrom"]), np.abs(values["shift_y_angstrom"]))
    outside = int((longest > side_angstrom / 2).sum())
    if outside:
        log.warning("%s: %d shifts are longer than half the image; are the origins in the right unit?", star, outside)


def require_defocus(columns: Columns) -> None:
    """Refuse particles without a defocus."""
    if not columns.has(DEFOCUS_U):
        fix, column = "Estimate the CTF of the micrographs and extract the particles again", columns.name(DEFOCUS_U)
        raise InputError("the particles have no defocus", file=columns.tables.path, column=column, fix=fix)


def _ctf(columns: Columns) -> dict[str, Floats]:
    """Defocus and the other CTF values of each particle, with RELION's defaults."""
    file = columns.tables.path
    require_defocus(columns)
    u = columns.numbers(DEFOCUS_U)
    v = columns.numbers(DEFOCUS_V) if columns.has(DEFOCUS_V) else u
    fix = f"Give defocus in Å, at most {MAX_DEFOCUS_ANGSTROM:g}"
    for label, values in ((DEFOCUS_U, u), (DEFOCUS_V, v)):
        columns.require(np.abs(values) <= MAX_DEFOCUS_ANGSTROM, label, values, "a defocus in Å", fix)
    if 0 < np.abs(u).max() < MICROMETRE_DEFOCUS:
        problem = f"the largest defocus is {np.abs(u).max():g} Å: these look like µm"
        raise InputError(problem, file=file, row=1, column=columns.name(DEFOCUS_U), fix="Give defocus in Å")
    if not (u > 0).any():
        message = "%s: %s is above 0 in no row, though underfocus is: the CTF is that of images in focus, or over it"
        log.warning(message, file, columns.name(DEFOCUS_U))
    for label, found in ((DEFOCUS_V, "DefocusU"), (DEFOCUS_ANGLE, "0")):
        if not columns.has(label):
            log.warning("%s has no column %s; it is taken to be %s", file, label, found)
    return {
        "defocus_u_angstrom": u,
        "defocus_v_angstrom": v,
        "defocus_angle_deg": columns.numbers(DEFOCUS_ANGLE, 0.0),
        "phase_shift_deg": columns.numbers("rlnPhaseShift", 0.0),
        "ctf_bfactor": columns.numbers("rlnCtfBfactor", 0.0),
        "ctf_scale": columns.numbers("rlnCtfScalefactor", 1.0),
    }


def _table(
    ids: NDArray[np.uint64], names: ImageNames, micrographs: NDArray[np.object_], values: dict[str, NDArray[Any]]
) -> pa.Table:
    """The columns as a table of the schema."""
    code, unique = pd.factorize(micrographs)
    columns: dict[str, Any] = {
        "particle_id": ids,
        "stack": pa.DictionaryArray.from_arrays(names.stack.astype(np.int32), list(names.paths)),
        "slice": names.slice,
        "micrograph": pa.DictionaryArray.from_arrays(code.astype(np.int32), [str(u) for u in unique]),
        **values,
    }
    schema = particles_schema(columns)
    return pa.Table.from_arrays([_as(columns[field.name], field.type) for field in schema], schema=schema)


def _as(values: Any, kind: pa.DataType) -> pa.Array:
    if isinstance(values, pa.Array):
        return values.cast(kind)
    return pa.array(np.asarray(values).astype(kind.to_pandas_dtype()), kind)
