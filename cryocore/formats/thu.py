"""THUNDER ``.thu`` files of particles, read under RELION's labels.

One line per particle, 27 values between spaces. A line with ``#`` anywhere is a comment; comments, headers and blank
lines may stand between particles. The file has no pixel size and no half sets; its defocus is multiplied by the
defocus factor; its quaternion is the conjugate of the pose's, its translation the negative of RELION's origin.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryocore.errors import InputError
from cryocore.formats.roots import record, without_record
from cryocore.formats.star import IMAGE_NAME, StarTables
from cryocore.formats.star.layout import Lines, is_utf8, read_lines, refuse_foreign
from cryocore.formats.star.read import to_numbers
from cryocore.geometry.rotations import matrix_to_euler, quaternion_to_matrix
from cryocore.tables.io import atomic_path
from cryocore.types import Bools, Floats, Ints


@dataclass(frozen=True)
class Column:
    """A column: its name, the label that holds it (if one does so alone), and label value = value * ``scale``."""

    name: str
    label: str | None = None
    scale: float = 1.0
    default: str = "0"


COLUMNS = (
    Column("voltage", "rlnVoltage", 1e-3),
    Column("defocus U", "rlnDefocusU"),
    Column("defocus V", "rlnDefocusV"),
    Column("defocus angle", "rlnDefocusAngle", np.rad2deg(1.0)),
    Column("spherical aberration", "rlnSphericalAberration", 1e-7),
    Column("amplitude contrast", "rlnAmplitudeContrast"),
    Column("phase shift", "rlnPhaseShift", np.rad2deg(1.0)),
    Column("particle path", IMAGE_NAME),
    Column("micrograph path", "rlnMicrographName", default="none"),
    Column("micrograph x", "rlnCoordinateX"),
    Column("micrograph y", "rlnCoordinateY"),
    Column("group", "rlnGroupNumber", default="1"),
    Column("class", "rlnClassNumber"),
    *(Column(f"quaternion {i}") for i in range(4)),
    *(Column(f"k{i}", f"thunderK{i}") for i in (1, 2, 3)),
    Column("translation x", "rlnOriginX", -1.0),
    Column("translation y", "rlnOriginY", -1.0),
    Column("translation x spread", "thunderTranslationSpreadX"),
    Column("translation y spread", "thunderTranslationSpreadY"),
    Column("defocus factor", default="1"),
    Column("defocus factor spread", "thunderDefocusSpread"),
    Column("score", "thunderScore"),
)
TEXTS = {7, 8}
WHOLE = {11, 12}
CLASS, QUATERNION, FACTOR = 12, (13, 14, 15, 16), 24
ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
TITLES = tuple(f"{i} ({c.name})" for i, c in enumerate(COLUMNS))
NAMES = {
    **{c.label: title for c, title in zip(COLUMNS, TITLES, strict=True) if c.label},
    **dict.fromkeys(ANGLES, "13-16 (quaternion)"),
}
"""What the file calls each label; columns count from 0."""
MAX_NORM_ERROR = 0.01
FIX = "Give a THUNDER .thu file of particles"


def read_thu(path: str | Path) -> StarTables:
    """Read the particles of a ``.thu`` file.

    Raises
    ------
    InputError  if the file is missing, empty, no text, or has a row that is not 27 valid values.
    """
    path = Path(path)
    lines, rows = particle_lines(path)
    table = _parse(path, lines, rows)
    columns: dict[str, Any] = {}
    for i, column in enumerate(COLUMNS):
        if column.label is None:
            continue
        if i in TEXTS:
            columns[column.label] = table[i]
            continue
        values = _numbers(path, table, i, whole=i in WHOLE)
        spare = column.label.startswith("thunder") or column.label == "rlnPhaseShift"
        if not (spare and not values.any()):
            columns[column.label] = values if column.scale == 1.0 else np.round(values * column.scale, 9) + 0.0
    factor = _numbers(path, table, FACTOR)
    _refuse(path, factor <= 0, FACTOR, factor, "a defocus factor above 0")
    for label in ("rlnDefocusU", "rlnDefocusV"):
        columns[label] = columns[label] * factor
    columns["rlnClassNumber"] = columns["rlnClassNumber"] + 1
    columns |= _angles(path, table)
    return StarTables(
        path=path,
        particles=pd.DataFrame(columns),
        optics=None,
        particle_block="data_",
        blocks=("data_",),
        notices=("THUNDER files have no pixel size and no half sets",),
        lines=rows + 1,
        names=NAMES,
    )


def filter_thu(parent: str | Path, keep: Bools, out: str | Path, root: str | None = None) -> None:
    """Write ``parent`` without the particles that ``keep`` ``(n,)`` drops; all other bytes stay.

    The first lines name ``root``, the directory that image paths start from.
    """
    lines, rows = particle_lines(Path(parent))
    if len(keep) != len(rows):
        problem = f"has {len(rows)} particles where {len(keep)} are expected"
        raise InputError(problem, file=parent, fix="The file has changed: run the workflow from the start")
    stays = np.ones(len(lines), dtype=bool)
    stays[rows[~np.asarray(keep, dtype=bool)]] = False
    lengths = np.diff(np.append(lines.start, len(lines.data)))
    kept = np.frombuffer(lines.data, dtype=np.uint8)[np.repeat(stays, lengths)]
    with atomic_path(out) as temporary:
        temporary.write_bytes(record(root, parent, out) + without_record(kept.tobytes()))


def particle_lines(path: Path) -> tuple[Lines, Ints]:
    """The lines of the file, and those (from 0) that are particles."""
    lines = read_lines(path, "THUNDER")
    is_particle = lines.n_values > 0
    marks = np.flatnonzero(np.frombuffer(lines.data, dtype=np.uint8) == ord("#"))
    is_particle[np.searchsorted(lines.start, marks, side="right") - 1] = False
    rows = np.flatnonzero(is_particle)
    wrong = np.flatnonzero(lines.n_values[rows] != len(COLUMNS))
    if not len(rows) or len(wrong):
        refuse_foreign(path, lines.data, "THUNDER")
    if not len(rows):
        raise InputError("it has no particles", file=path, fix=FIX)
    if len(wrong):
        line = int(rows[wrong[0]])
        problem = f"line {line + 1} has {lines.n_values[line]} values where a particle has {len(COLUMNS)}"
        raise InputError(problem, file=path, row=int(wrong[0]) + 1, fix=FIX)
    return lines, rows


def _parse(path: Path, lines: Lines, rows: Ints) -> pd.DataFrame:
    """All columns by number; texts stay texts."""
    lengths = np.diff(np.append(lines.start, len(lines.data)))
    keep = np.zeros(len(lines), dtype=bool)
    keep[rows] = True
    text = lines.data if keep.all() else np.frombuffer(lines.data, dtype=np.uint8)[np.repeat(keep, lengths)].tobytes()
    try:
        table = pd.read_csv(
            io.BytesIO(text),
            sep=r"\s+",
            header=None,
            dtype=dict.fromkeys(TEXTS, str),
            quoting=csv.QUOTE_NONE,
            na_filter=False,
            low_memory=False,
        )
    except UnicodeDecodeError:
        line = next(int(i) for i in rows if not is_utf8(lines[i]))
        raise InputError(f"line {line + 1} is not UTF-8 text", file=path, fix="Save the file as UTF-8") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError):
        raise InputError("its lines do not split at spaces", file=path, fix="Remove quotes and tabs") from None
    if table.shape != (len(rows), len(COLUMNS)):
        raise InputError("its lines do not split at spaces", file=path, fix="Remove quotes and tabs")
    return table


def _numbers(path: Path, table: pd.DataFrame, i: int, *, whole: bool = False) -> NDArray[Any]:
    """Column ``i`` as finite numbers ``(n,)``."""
    values = to_numbers(table[i])
    valid = np.abs(values) <= np.finfo(np.float32).max
    if whole:
        valid &= (np.abs(values) < 2**31) & (values == np.floor(values))
    bad = np.flatnonzero(~valid)
    if len(bad):
        problem = f"{str(table[i].iloc[bad[0]])!r} is not a {'whole' if whole else 'finite'} number"
        raise InputError(problem, file=path, row=int(bad[0]) + 1, column=TITLES[i], fix="Correct it")
    return values.astype(np.int64) if whole else values


def _refuse(path: Path, bad: Bools, i: int, values: Floats, expected: str) -> None:
    rows = np.flatnonzero(bad)
    if len(rows):
        problem = f"{values[rows[0]]:g} is not {expected}"
        raise InputError(problem, file=path, row=int(rows[0]) + 1, column=TITLES[i], fix="Correct it")


def _angles(path: Path, table: pd.DataFrame) -> dict[str, Floats]:
    """Euler angles in degrees; none where every quaternion is 0."""
    quaternions = np.stack([_numbers(path, table, i) for i in QUATERNION], axis=1)
    if not quaternions.any():
        return {}
    norm = np.linalg.norm(quaternions, axis=1)
    _refuse(path, np.abs(norm - 1) > MAX_NORM_ERROR, QUATERNION[0], norm, "the norm of a unit quaternion")
    # the conjugate of THUNDER's quaternion is the pose
    angles = matrix_to_euler(quaternion_to_matrix(quaternions * (1.0, -1.0, -1.0, -1.0)))
    return dict(zip(ANGLES, angles.T, strict=True))
