"""Particles from one format to another, and as text what the other cannot hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cryocore.convert import cs_out, thu_out
from cryocore.convert.upside_down import upside_down
from cryocore.errors import InputError
from cryocore.formats import cs
from cryocore.formats.csg import write_group
from cryocore.formats.kinds import TITLES, Kind, kind_of, read_tables, require_format
from cryocore.formats.records import Fields, read_fields, write_records
from cryocore.formats.star import IMAGE_NAME, StarTables
from cryocore.formats.star.read import to_numbers
from cryocore.formats.star_out import write_star
from cryocore.ingest.columns import PIXEL_SIZES, Columns, columns_of
from cryocore.ingest.optics import CONTRAST, CS, DEFAULTS, DETECTOR, MAGNIFICATION, VOLTAGE, require_one_size
from cryocore.ingest.stacks import known_root, require_images

SUBSET = "rlnRandomSubset"
NEUTRAL = {
    "rlnCtfBfactor": 0.0,
    "rlnCtfScalefactor": 1.0,
    "rlnPhaseShift": 0.0,
    "rlnBeamTiltX": 0.0,
    "rlnBeamTiltY": 0.0,
    "rlnMagMat00": 1.0,
    "rlnMagMat01": 0.0,
    "rlnMagMat10": 0.0,
    "rlnMagMat11": 1.0,
    "rlnCtfDataAreCtfPremultiplied": 0.0,
    "rlnCtfDataArePhaseFlipped": 0.0,
    "rlnImageDimensionality": 2.0,
}
"""Values that say nothing; columns of them are not missed."""
WORDS = {
    "half sets": (SUBSET,),
    "coordinates, which need the size of the micrographs": cs.COORDINATES,
    "pixel size": (PIXEL_SIZES[0], DETECTOR, MAGNIFICATION),
    "pixel size of the micrographs": PIXEL_SIZES[1:],
    "side of the images": ("rlnImageSize",),
    "beam tilt": ("rlnBeamTiltX", "rlnBeamTiltY"),
    "higher aberrations": ("rlnOddZernike", "rlnEvenZernike"),
    "anisotropic magnification": tuple(f"rlnMagMat{i}" for i in ("00", "01", "10", "11")),
    "CTF B-factor and scale": ("rlnCtfBfactor", "rlnCtfScalefactor"),
    "names of optics groups": ("rlnOpticsGroupName",),
    "contrast of the images": (cs.SIGN_LABEL,),
    "cryoSPARC's uid": (cs.UID_LABEL,),
}
"""What labels are about."""


@dataclass(frozen=True)
class Conversion:
    """What was written: ``n`` particles from one kind of file to another; what is ``lost``, and ``notes``."""

    source: str
    out: str
    n: int
    kinds: tuple[Kind, Kind]
    lost: tuple[str, ...]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @property
    def text(self) -> str:
        """For people."""
        before, after = (TITLES[k] for k in self.kinds)
        lost = f"Not held by a {after}: {'; '.join(self.lost)}." if self.lost else f"A {after} holds all of it."
        return "\n".join([f"{self.n:,} particles from a {before} to {self.out}.", lost, *self.notes])


def convert(
    source: str | Path,
    out: str | Path,
    *,
    passthrough: str | Path | None = None,
    pixel_size_angstrom: float | None = None,
    root: str | None = None,
    flip_y: bool = False,
) -> Conversion:
    """Write the particles of a file in the format that the suffix of ``out`` names: ``.star``, ``.cs`` or ``.thu``.

    Parameters
    ----------
    passthrough : fields that a ``.cs`` file lacks; None looks for them beside it
    pixel_size_angstrom : replaces that of the file; ``.thu`` files have none
    root : directory that image paths start from, which the file that is written names, and the way to stacks or
        micrographs whose size is needed; None looks in the usual places
    flip_y : coordinates, shifts, poses and CTF are those on micrographs that are upside down to the ones at hand, from
        which the particles are to be extracted again

    Raises
    ------
    InputError  if the file cannot be read, both are of one kind, or the target needs what the file does not have.
    """
    for path in (source, out):
        require_format(path)
    kinds = kind_of(source), kind_of(out)
    if kinds[0] == kinds[1]:
        problem = f"both are a {TITLES[kinds[0]]}"
        raise InputError(problem, file=out, fix="Copy it, or end the name in .star, .cs or .thu")
    fields = read_fields(source, passthrough, cs.lacking) if kinds[0] == "cs" else None
    tables = read_tables(source) if fields is None else cs.tables_of(fields)
    columns = columns_of(tables)
    require_images(columns)
    if pixel_size_angstrom is not None:
        require_one_size(columns, pixel_size_angstrom)
    if flip_y:
        sides = cs_out.micrograph_sides(columns, root)
        tables = upside_down(columns, None if sides is None else sides[:, 1])
        columns = columns_of(tables)
    notes = [f"{notice[0].upper()}{notice[1:]}." for notice in tables.notices]
    lost: list[str] = []
    images_from = root or known_root(Path(source), tables.particles[IMAGE_NAME])
    match kinds[1]:
        case "cs":
            records = cs_out.cs_records(columns, pixel_size_angstrom=pixel_size_angstrom, root=root)
            write_records(out, records)
            write_group(out, images_from)
            lost += _missed(tables, cs_out.held(columns, records))
            if not columns.has(cs.SIGN_LABEL):
                notes.append("blob/sign is 1: protein is taken to be bright in the images.")
            names = records.dtype.names or ()
            if columns.has(SUBSET) and f"{cs.ALIGNMENT}/pose" in names and f"{cs.ALIGNMENT}/split" not in names:
                notes.append(f"{SUBSET} is not assigned yet, and left out.")
        case "thu":
            thu_out.write_thu(columns, out, pixel_size_angstrom, images_from)
            lost += _missed(tables, thu_out.held(columns))
        case "star":
            _check(columns)
            shown = _with_pixel_size(tables, pixel_size_angstrom)
            write_star(shown.particles, shown.optics, out, images_from)
            notes += _for_relion(shown)
    if fields is not None:
        lost += _missed_fields(fields)
    notes += _of_coordinates(columns, {*kinds}, flip_y)
    return Conversion(str(source), str(out), len(tables), kinds, tuple(lost), tuple(notes))


def _check(columns: Columns) -> None:
    """Refuse numbers that are not finite, which no program reads."""
    for label in columns.tables.particles:
        if pd.api.types.is_float_dtype(columns.tables.particles[label].dtype):
            columns.numbers(str(label))


def _with_pixel_size(tables: StarTables, pixel_size_angstrom: float | None) -> StarTables:
    """Tables that carry the given pixel size."""
    if pixel_size_angstrom is None:
        return tables
    if tables.optics is not None:
        optics = tables.optics.assign(**{PIXEL_SIZES[0]: pixel_size_angstrom})
        in_pixels = dict(zip(cs.ORIGINS_PIXEL, cs.ORIGINS, strict=True))
        particles = tables.particles.rename(columns=in_pixels)
        known = [label for pixels, label in in_pixels.items() if pixels in tables.particles]
        particles = particles.assign(**{label: particles[label] * pixel_size_angstrom for label in known})
        return replace(tables, optics=optics, particles=particles)
    given = {DETECTOR: pixel_size_angstrom, MAGNIFICATION: 10000.0}
    return replace(tables, particles=tables.particles.assign(**given))


def _missed(tables: StarTables, held: Iterable[str]) -> list[str]:
    """What the labels that are not held are about."""
    known, missed = set(held), []
    for table in (t for t in (tables.particles, tables.optics) if t is not None):
        for label in table:
            neutral = NEUTRAL.get(str(label))
            if label not in known and not (neutral is not None and np.all(to_numbers(table[label]) == neutral)):
                missed.append(str(label))
    words = [word for word, labels in WORDS.items() if set(labels) & set(missed)]
    others = [label for label in dict.fromkeys(missed) if not any(label in labels for labels in WORDS.values())]
    return words + ([f"columns {', '.join(others)}"] if others else [])


def _missed_fields(fields: Fields) -> list[str]:
    """Fields of a ``.cs`` file that have no label."""
    said = cs.left_out(fields, cs.find_alignment(fields))
    folders = dict.fromkeys(name.split("/")[0] for name in said if not name.startswith(("ctf/", "blob/")))
    single = [name for name in said if name.startswith(("ctf/", "blob/"))]
    return [f"fields {', '.join([*single, *(f'{folder}/…' for folder in folders)])}"] if said else []


def _of_coordinates(columns: Columns, kinds: set[Kind], flip_y: bool) -> list[str]:
    """From where they are counted, where they come from one program to another."""
    if flip_y:
        return ["Turned upside down. The images that are named are not: extract the particles again."]
    if "cs" not in kinds or not all(columns.has(label) for label in (*cs.COORDINATES, *cs.SIDES)):
        return []
    return [
        "Coordinates are those of the same micrograph files, from the first row. If the other program made its own "
        "from TIFF or EER movies, they may be upside down to these (y flip): see --flip-y."
    ]


def _for_relion(tables: StarTables) -> list[str]:
    """What RELION does not do by itself."""
    notes = []
    if tables.optics is not None and cs.SIGN_LABEL in tables.optics:
        notes.append(
            "RELION does not know blob/sign -1: protein is dark in these images. Invert them with relion_preprocess "
            "--operate_on STAR --invert_contrast before you refine there; cryocore reads the sign."
        )
    if "rlnDefocusU" not in tables.particles:
        notes.append("The particles have no CTF, which RELION needs.")
    elif tables.optics is not None:
        absent = [label for label in (VOLTAGE, CS, CONTRAST) if label not in tables.optics]
        notes += [f"{label} is missing: RELION takes {DEFAULTS[label]:g}." for label in absent]
    if tables.optics is not None and not set(PIXEL_SIZES) & set(tables.optics):
        notes.append("Nothing says the pixel size, which RELION needs: give it (--pixel-size).")
    if tables.particles[IMAGE_NAME].astype(str).str.endswith(".mrc").any():
        notes.append("RELION reads stacks only where their names end in .mrcs: link them, and change rlnImageName.")
    return notes
