"""Optics groups: what particles share, as declared (RELION >= 3.1) or as found by comparing columns (<= 3.0)."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryocore.errors import InputError
from cryocore.ingest.columns import (
    ABERRATIONS,
    GROUP,
    MAG_MATRIX,
    PHASE_FLIPPED,
    PIXEL_SIZES,
    PREMULTIPLIED,
    SAME_PIXEL,
    Columns,
)
from cryocore.tables.particles import Optics
from cryocore.types import Floats, Ints

log = logging.getLogger(__name__)

VOLTAGE, CS, CONTRAST = "rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast"
DETECTOR, MAGNIFICATION = "rlnDetectorPixelSize", "rlnMagnification"
IMAGE_SIGN = "cryocoreImageSign"
DEFAULTS = {
    VOLTAGE: 200.0,
    CS: 0.0,
    CONTRAST: 0.0,
    "rlnBeamTiltX": 0.0,
    "rlnBeamTiltY": 0.0,
    **dict(zip(MAG_MATRIX, (1.0, 0.0, 0.0, 1.0), strict=True)),
    PREMULTIPLIED: 0.0,
    PHASE_FLIPPED: 0.0,
    IMAGE_SIGN: 1.0,
    DETECTOR: 0.0,
    MAGNIFICATION: 0.0,
}
"""What RELION takes where a column is missing."""

PIXEL_RANGE = (0.1, 50.0)
VOLTAGE_RANGE = (60.0, 1500.0)
MAX_BEAM_TILT = 100.0


@dataclass(frozen=True)
class Groups:
    """``index`` ``(n,)`` numbers each particle's group by first appearance; ``pixel_size_angstrom`` is ``(n,)``.

    ``values`` has one row per group; ``first_row`` is the first particle of each.
    """

    index: Ints
    first_row: Ints
    values: pd.DataFrame
    pixel_size_angstrom: Floats

    def __len__(self) -> int:
        return len(self.first_row)

    def optics(self, boxes: Ints) -> tuple[Optics, ...]:
        """The groups as :class:`Optics`, with the side of their images, ``(n_groups,)``."""
        return tuple(_optics(row, int(box)) for (_, row), box in zip(self.values.iterrows(), boxes, strict=True))


def find_groups(columns: Columns, pixel_size_angstrom: float | None) -> Groups:
    """Group the particles: those of one group agree in the declared group and in every optical value.

    Raises
    ------
    InputError  for values that are missing, not finite or absurd.
    """
    path = columns.tables.path
    for label in (VOLTAGE, CS, CONTRAST):
        if not columns.has(label):
            log.warning("%s has no column %s; it is taken to be %g, as RELION does", path, label, DEFAULTS[label])
    for label in ABERRATIONS:
        if label in columns.tables.particles and not columns.has(label):
            log.warning("%s: %s of the particles is ignored, as RELION does: data_optics lacks it", path, label)
    values: dict[str, NDArray[np.generic]] = {k: columns.numbers(k, default) for k, default in DEFAULTS.items()}
    pixel = pixel_sizes(columns, pixel_size_angstrom)
    _check(columns, values, pixel)
    values["pixel_size"] = pixel
    values["rlnOddZernike"] = columns.texts("rlnOddZernike", "[]")
    values["rlnEvenZernike"] = columns.texts("rlnEvenZernike", "[]")
    declared = columns.optics_row if columns.tables.optics is not None else np.zeros(len(columns), dtype=np.int64)
    index = declared
    for column in values.values():
        code, found = pd.factorize(column)
        index = pd.factorize(index * len(found) + code)[0].astype(np.int64)
    first_row = np.unique(index, return_index=True)[1]
    table = pd.DataFrame({k: v[first_row] for k, v in values.items()})
    table["name"] = _group_names(columns, first_row)
    for label in ("rlnOddZernike", "rlnEvenZernike"):
        table[label] = [_zernike(columns, label, t, r) for t, r in zip(table[label], first_row, strict=True)]
    if columns.has("rlnBeamTiltX") and columns.has("rlnBeamTiltY"):
        table["rlnOddZernike"] = [_without_coma(path, c) for c in table["rlnOddZernike"]]
    return Groups(index, first_row, table, pixel)


def pixel_sizes(columns: Columns, override: float | None) -> Floats:
    """Pixel size of each particle's image (Å, ``(n,)``): the user's, or the file's by its RELION version."""
    n, path = len(columns), columns.tables.path
    from_detector = columns.has(DETECTOR) and columns.has(MAGNIFICATION)
    label = next((p for p in PIXEL_SIZES if columns.has(p)), None)
    if override is not None:
        require_one_size(columns, override)
        size, column = np.full(n, float(override)), "pixel_size_angstrom"
    elif from_detector and (columns.tables.optics is None or label is None):
        detector, magnification = columns.numbers(DETECTOR), columns.numbers(MAGNIFICATION)
        positive = magnification > 0
        columns.require(positive, MAGNIFICATION, magnification, "a magnification", "Correct it or give the pixel size")
        size, column = 1e4 * detector / magnification, DETECTOR
    elif label is not None:
        if label != PIXEL_SIZES[0]:
            log.warning("%s has no column %s; the pixel size is taken from %s", path, PIXEL_SIZES[0], label)
        size, column = columns.numbers(label), label
    else:
        raise InputError(
            "nothing in the file gives the pixel size of the images",
            file=path,
            column=PIXEL_SIZES[0],
            fix="Give it (input.pixel_size_angstrom, --pixel-size)",
        )
    low, high = PIXEL_RANGE
    fix = "Correct the file, or give the pixel size (input.pixel_size_angstrom, --pixel-size)"
    columns.require((size >= low) & (size <= high), column, size, f"a pixel size in Å ({low} to {high})", fix)
    return size


def require_one_size(columns: Columns, given: float) -> None:
    """Refuse one pixel size for images of which the file says that theirs differ."""
    if not columns.has(PIXEL_SIZES[0]):
        return
    stated = columns.numbers(PIXEL_SIZES[0])
    low, high = float(stated.min()), float(stated.max())
    if 0 < low < (1 - SAME_PIXEL) * high:
        problem = f"the images have pixel sizes of {low:g} to {high:g} Å; {given:g} Å cannot be that of all"
        fix = "Leave the pixel size out (input.pixel_size_angstrom, --pixel-size), or correct the file"
        row = columns.row(int(np.argmax(stated != stated[0])))
        raise InputError(problem, file=columns.tables.path, row=row, column=columns.name(PIXEL_SIZES[0]), fix=fix)


def _check(columns: Columns, values: dict[str, NDArray[np.generic]], pixel: Floats) -> None:
    """Refuse values that no microscope has."""
    kv, cs, q0 = (np.asarray(values[k], dtype=np.float64) for k in (VOLTAGE, CS, CONTRAST))
    low, high = VOLTAGE_RANGE
    columns.require((kv >= low) & (kv <= high), VOLTAGE, kv, f"a voltage in kV ({low:g} to {high:g})", "Give it in kV")
    columns.require(np.abs(cs) <= 20, CS, cs, "a spherical aberration in mm (at most 20)", "Give it in mm")
    columns.require((q0 >= 0) & (q0 <= 1), CONTRAST, q0, "an amplitude contrast (0 to 1)", "Give it as a fraction")
    for label in ("rlnBeamTiltX", "rlnBeamTiltY"):
        tilt = np.asarray(values[label], dtype=np.float64)
        expected = f"a beam tilt in mrad (at most {MAX_BEAM_TILT:g})"
        columns.require(np.abs(tilt) <= MAX_BEAM_TILT, label, tilt, expected, "Give it in mrad")
    m = [np.asarray(values[k], dtype=np.float64) for k in MAG_MATRIX]
    determinant = m[0] * m[3] - m[1] * m[2]
    sign = np.asarray(values[IMAGE_SIGN], dtype=np.float64)
    fix = "Write 1 where protein is bright, -1 where it is dark"
    columns.require(np.abs(sign) == 1, IMAGE_SIGN, sign, "a sign of contrast (1 or -1)", fix)
    valid = (determinant > 0.25) & (determinant < 4.0)
    columns.require(
        valid, MAG_MATRIX[0], determinant, "the determinant of a magnification near 1", "Correct the matrix"
    )


def _group_names(columns: Columns, first_row: Ints) -> list[str]:
    """A name for each group; groups split from one declared group are numbered."""
    if columns.tables.optics is None:
        return [f"opticsGroup{i + 1}" for i in range(len(first_row))]
    named = "rlnOpticsGroupName" if columns.has("rlnOpticsGroupName") else GROUP
    seen: dict[str, int] = {}
    result = []
    for name in columns.texts(named)[first_row].tolist():
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return result


def _zernike(columns: Columns, label: str, text: str, row: int) -> tuple[float, ...]:
    """Coefficients from ``[0.1,0.2]``."""
    body = text.strip().removeprefix("[").removesuffix("]").strip()
    try:
        coefficients = tuple(float(v) for v in body.split(",")) if body else ()
    except ValueError:
        coefficients = (np.nan,)
    if not np.isfinite(coefficients).all():
        fix = "Write the coefficients as [0.1,0.2]"
        problem = f"{text!r} is not a list of finite numbers"
        raise InputError(problem, file=columns.tables.path, row=columns.row(row), column=label, fix=fix)
    return coefficients


def _without_coma(path: Path, odd: tuple[float, ...]) -> tuple[float, ...]:
    """Odd coefficients without Z(3,-1) and Z(3,1), in whose place RELION puts the beam tilt if there is one."""
    if any(odd[3:5]):
        log.warning("%s: the coma in rlnOddZernike is ignored, as RELION does: the file has a beam tilt", path)
    return (*odd[:3], *(0.0 for _ in odd[3:5]), *odd[5:])


def _optics(row: pd.Series, box: int) -> Optics:
    return Optics(
        name=str(row["name"]),
        box=box,
        pixel_size_angstrom=float(row["pixel_size"]),
        voltage_kv=float(row[VOLTAGE]),
        cs_mm=float(row[CS]),
        amplitude_contrast=float(row[CONTRAST]),
        beam_tilt_mrad=(float(row["rlnBeamTiltX"]), float(row["rlnBeamTiltY"])),
        odd_zernike=row["rlnOddZernike"],
        even_zernike=row["rlnEvenZernike"],
        magnification=(
            float(row[MAG_MATRIX[0]]),
            float(row[MAG_MATRIX[1]]),
            float(row[MAG_MATRIX[2]]),
            float(row[MAG_MATRIX[3]]),
        ),
        premultiplied=bool(row[PREMULTIPLIED]),
        phase_flipped=bool(row[PHASE_FLIPPED]),
        image_sign=int(row[IMAGE_SIGN]),
    )
