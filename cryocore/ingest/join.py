"""The stage that makes one STAR file of several files of particles."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryocore.formats.kinds import HALF_SET, PARTICLE_ID, read_tables
from cryocore.formats.star import IMAGE_NAME
from cryocore.formats.star_out import write_star
from cryocore.ingest.classes import of_class
from cryocore.ingest.columns import GROUP, PIXEL_SIZES, columns_of
from cryocore.ingest.copies import MICROGRAPH
from cryocore.ingest.halves import known_halves
from cryocore.ingest.optics import CONTRAST, CS, DEFAULTS, DETECTOR, MAGNIFICATION, VOLTAGE, find_groups
from cryocore.ingest.particles import (
    DEFOCUS_ANGLE,
    DEFOCUS_U,
    DEFOCUS_V,
    ORIGINS_ANGSTROM,
    ORIGINS_PIXEL,
    ids_of,
    particle_ids,
    require_defocus,
    require_poses,
    shifts_angstrom,
)
from cryocore.ingest.stacks import find_root, parse_image_names, require_images
from cryocore.types import Ints

log = logging.getLogger(__name__)

OPTICS_NAME, GROUP_NUMBER = "rlnOpticsGroupName", "rlnGroupNumber"
ZERNIKE = ("rlnOddZernike", "rlnEvenZernike")
NEUTRAL = {DEFOCUS_ANGLE: 0.0, "rlnPhaseShift": 0.0, "rlnCtfBfactor": 0.0, "rlnCtfScalefactor": 1.0}
"""What a column of particles is where a file lacks it; others that not all files have are left out."""
AT_REST = {k: v for k, v in DEFAULTS.items() if k not in (VOLTAGE, CS, CONTRAST)} | dict.fromkeys(ZERNIKE, "[]")
"""Values of optics groups that say nothing."""
NEUTRAL_OPTICS: dict[str, Any] = {**AT_REST, "rlnImageDimensionality": 2}


@dataclass(frozen=True)
class Part:
    """The particles of one file: n rows under RELION 3.1's labels, their optics groups, and their ids ``(n,)``."""

    path: Path
    particles: pd.DataFrame
    optics: pd.DataFrame
    ids: NDArray[np.uint64]


def join(
    sources: Sequence[Path],
    out: Path,
    *,
    root: str | None,
    pixel_size_angstrom: float | None,
    class_number: int | None,
) -> None:
    """Write the particles of several files, of any format, as one STAR file of RELION 3.1, in the order of the files.

    Image paths in it start from the working directory, where the files' own start elsewhere. Optics groups of one name
    are one where all their values agree; else the later one is given another name. Half sets stay if all files have
    them. Columns that not all files have are left out, and the log says so. Ids are those that the particles have in
    their own files; only where two files give one id to different images the later is another.

    Parameters
    ----------
    root, pixel_size_angstrom : as those of ``ingest``, for all files
    class_number : the class that is read of each file, as that counts; None: all

    Raises
    ------
    InputError  if a file cannot be read, or lacks what every run needs.
    """
    parts = [_part(Path(source), root, pixel_size_angstrom, class_number) for source in sources]
    optics, numbers = _joined_optics([part.optics for part in parts])
    frames = [
        part.particles.assign(**{GROUP: new[part.particles[GROUP]]}) for part, new in zip(parts, numbers, strict=True)
    ]
    particles = pd.concat(_with_same_columns(parts, frames), ignore_index=True)
    ids = _joined_ids(parts)
    if not np.array_equal(ids, particle_ids(particles[IMAGE_NAME])):
        particles[PARTICLE_ID] = [str(i) for i in ids.tolist()]
    write_star(particles, optics, out)
    counts = ", ".join(f"{len(part.particles)} of {part.path}" for part in parts)
    log.info("joined %d particles in %d optics groups: %s", len(particles), len(optics), counts)


def _part(path: Path, root: str | None, pixel_size_angstrom: float | None, class_number: int | None) -> Part:
    tables = read_tables(path)
    for notice in tables.notices:
        log.info("%s: %s", path, notice)
    require_images(columns_of(tables))
    tables = of_class(replace(tables, ids=ids_of(tables)), class_number)
    columns = columns_of(tables)
    names = parse_image_names(columns)
    require_poses(columns)
    require_defocus(columns)
    found = find_root(columns, names, root)
    groups = find_groups(columns, pixel_size_angstrom)
    rows = tables.particles.drop(columns=[*DEFAULTS, *PIXEL_SIZES, *ZERNIKE, *ORIGINS_PIXEL], errors="ignore")
    rows = rows.drop(columns=[PARTICLE_ID, DETECTOR, MAGNIFICATION], errors="ignore").copy()
    paths = np.array([_from_here(path, found) for path in names.paths], dtype=object)[names.stack]
    rows[IMAGE_NAME] = [f"{i:06d}@{name}" for i, name in zip(names.slice + 1, paths, strict=True)]
    if MICROGRAPH in rows:
        code, micrographs = pd.factorize(columns.texts(MICROGRAPH))
        rows[MICROGRAPH] = np.array([_from_here(str(name), found) for name in micrographs], dtype=object)[code]
    for label, values in zip(ORIGINS_ANGSTROM, shifts_angstrom(columns, groups.pixel_size_angstrom).T, strict=True):
        rows[label] = values
    halves = known_halves(columns)
    if halves is not None:
        rows[HALF_SET] = halves.astype(np.int64)
    if not columns.has(DEFOCUS_V):
        rows[DEFOCUS_V] = columns.numbers(DEFOCUS_U)
    rows[GROUP] = groups.index
    if GROUP_NUMBER in rows:
        rows[GROUP_NUMBER] = pd.factorize(columns.texts(GROUP_NUMBER))[0] + 1
    first = groups.first_row
    given = tables.optics.iloc[columns.optics_row[first]] if tables.optics is not None else pd.DataFrame(index=first)
    optics = given.reset_index(drop=True).drop(columns=[PIXEL_SIZES[0], *DEFAULTS, *ZERNIKE], errors="ignore")
    optics[OPTICS_NAME] = groups.values["name"]
    optics[PIXEL_SIZES[0]] = groups.pixel_size_angstrom[first]
    for label in DEFAULTS:
        if label not in (DETECTOR, MAGNIFICATION):
            optics[label] = groups.values[label].to_numpy(dtype=np.float64)
    for label in ZERNIKE:
        optics[label] = columns.texts(label, "[]")[first]
    return Part(path, rows, optics, ids_of(tables))


def _from_here(path: str, root: str) -> str:
    """A path that starts from ``root`` as one that starts from the working directory."""
    return path if root == "." or os.path.isabs(path) else os.path.normpath(os.path.join(root, path))


def _joined_optics(tables: Sequence[pd.DataFrame]) -> tuple[pd.DataFrame, list[Ints]]:
    """One table of optics groups, and for each of the given ones the numbers, from 1, that its groups have in it."""
    names = list(dict.fromkeys(str(label) for table in tables for label in table))
    neutral = {label: value for label, value in NEUTRAL_OPTICS.items() if label in names}
    filled = [table.reindex(columns=names).fillna(neutral) for table in tables]
    labels = [name for name in names if name != GROUP and not any(table[name].isna().any() for table in filled)]
    _report_lost(set(names) - {GROUP, *labels})
    seen: list[tuple[Any, ...]] = []
    called: list[str] = []
    numbers = []
    for table in filled:
        rows = [tuple(row) for row in table[labels].to_numpy(dtype=object).tolist()]
        for row in (row for row in rows if row not in seen):
            name = str(row[labels.index(OPTICS_NAME)])
            seen.append(row)
            called.append(next(n for i in count(1) if (n := name if i == 1 else f"{name}_{i}") not in called))
        numbers.append(np.array([seen.index(row) + 1 for row in rows]))
    joined = pd.DataFrame(seen, columns=labels).assign(**{OPTICS_NAME: called})
    idle = [k for k, v in neutral.items() if k in AT_REST and (joined[k] == v).all()]
    joined = joined.drop(columns=idle)
    joined.insert(0, GROUP, np.arange(1, len(seen) + 1))
    return joined, numbers


def _report_lost(labels: Iterable[str]) -> None:
    lost = sorted(labels)
    if lost:
        log.warning("left out, since not all files have them: %s", ", ".join(lost))


def _with_same_columns(parts: Sequence[Part], frames: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """Tables of particles with the same columns, and with groups of micrographs numbered one after the other."""
    labels = list(dict.fromkeys(str(label) for frame in frames for label in frame))
    held = [label for label in labels if label in NEUTRAL or all(label in frame for frame in frames)]
    halves = [set(pd.unique(frame[HALF_SET])) if HALF_SET in frame else set() for frame in frames]
    lacks = [part.path for part, found in zip(parts, halves, strict=True) if found != {1, 2}]
    # files of one value have none, but where each is one of the half sets
    if lacks and not (all(len(found) == 1 for found in halves) and set().union(*halves) == {1, 2}):
        if len(lacks) < len(parts):
            log.warning("%s has no half sets: those of all files are made again", lacks[0])
        held = [label for label in held if label != HALF_SET]
    _report_lost(set(labels) - {*held, HALF_SET})
    made, before = [], 0
    for frame in frames:
        missing = {label: NEUTRAL[label] for label in held if label not in frame}
        frame = frame.assign(**missing)[held]
        if GROUP_NUMBER in held:
            frame = frame.assign(**{GROUP_NUMBER: frame[GROUP_NUMBER] + before})
            before = int(frame[GROUP_NUMBER].max())
        made.append(frame)
    return made


def _joined_ids(parts: Sequence[Part]) -> NDArray[np.uint64]:
    """The ids of all particles; one that an earlier file gives to another image is made of the image's whole path."""
    found = np.zeros(0, dtype=np.uint64)
    for part in parts:
        ids = part.ids.copy()
        taken = np.flatnonzero(np.isin(ids, found))
        ids[taken] = particle_ids(part.particles[IMAGE_NAME].iloc[taken])
        found = np.concatenate([found, ids])
    return found
