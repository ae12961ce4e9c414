"""THUNDER ``.thu`` files written from particles of any format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cryocore.errors import InputError
from cryocore.formats.roots import record
from cryocore.formats.star import IMAGE_NAME
from cryocore.formats.text import as_array, text_lines
from cryocore.formats.thu import ANGLES, CLASS, COLUMNS, FACTOR, QUATERNION, TEXTS, TITLES, WHOLE
from cryocore.ingest.columns import Columns
from cryocore.ingest.optics import DEFAULTS, pixel_sizes
from cryocore.ingest.particles import ORIGINS_ANGSTROM, ORIGINS_PIXEL, quaternions_of, shifts_angstrom
from cryocore.ingest.stacks import without_format
from cryocore.tables.io import atomic_path

HELD = frozenset([c.label for c in COLUMNS if c.label] + [*ORIGINS_ANGSTROM, *ORIGINS_PIXEL, "rlnOpticsGroup"])
"""Labels that the file holds, with poses or without."""
DECIMALS = 9


def held(columns: Columns) -> frozenset[str]:
    """The labels of the particles that the file holds."""
    return HELD | (set(ANGLES) if all(columns.has(label) for label in ANGLES) else set())


def write_thu(
    columns: Columns, out: str | Path, pixel_size_angstrom: float | None = None, root: str | None = None
) -> None:
    """Write particles as a ``.thu`` file.

    ``pixel_size_angstrom`` replaces that of the particles, which turns origins in Å to pixels. Particles without poses
    get quaternions of zeros. The first lines name ``root``, if it is given: the directory that image paths start from.

    Raises
    ------
    InputError  for values that are missing or not finite, and names that hold blanks or ``#``.
    """
    special: dict[int, Any] = {FACTOR: np.ones(len(columns), dtype=np.int64)}
    has_poses = all(columns.has(label) for label in ANGLES)
    pose = quaternions_of(columns) if has_poses else np.zeros((len(columns), 4))
    for i, part in zip(QUATERNION, (pose * (1.0, -1.0, -1.0, -1.0)).T, strict=True):
        special[i] = part
    for i, part in zip((20, 21), _origins(columns, pixel_size_angstrom).T, strict=True):
        special[i] = -part
    special[CLASS] = _counts(columns, "rlnClassNumber", columns.numbers("rlnClassNumber", 1.0)) - 1
    texts = [_column(columns, i, special.get(i)) for i in range(len(COLUMNS))]
    with atomic_path(out) as temporary, temporary.open("wb") as file:
        file.write(b"" if root is None else record(root, out, out))
        for text in text_lines(texts):
            file.write(text)


def _column(columns: Columns, i: int, values: Any) -> pa.Array:
    """Column ``i`` as it stands in the file."""
    column = COLUMNS[i]
    if i in TEXTS:
        return _names(columns, i)
    if values is None:
        assumed = columns.numbers("rlnDefocusU") if column.label == "rlnDefocusV" else None
        if assumed is not None and not columns.has("rlnDefocusV"):
            values = assumed
        else:
            default = DEFAULTS.get(column.label or "", float(column.default) * column.scale)
            values = columns.numbers(column.label or "", None if column.label == "rlnDefocusU" else default)
            values = values / column.scale
    if i in WHOLE:
        return as_array(_counts(columns, column.label or "", np.asarray(values)))
    return as_array(np.round(np.asarray(values, dtype=np.float64), DECIMALS))


def _counts(columns: Columns, label: str, values: Any) -> Any:
    """Values ``(n,)`` as integers."""
    columns.require(np.abs(values) < 2**31, label, values, "a count", "Correct it or remove the column")
    return values.astype(np.int64)


def _names(columns: Columns, i: int) -> pa.Array:
    """Column ``i``, of names without blanks."""
    column = COLUMNS[i]
    texts = columns.texts(column.label or "", column.default)
    if column.label == IMAGE_NAME:
        texts = np.array([without_format(name) for name in texts], dtype=object)
    names = as_array(texts)
    bad = np.flatnonzero(pc.match_substring_regex(names, "^$|[[:space:]#]").to_numpy(zero_copy_only=False))
    if len(bad):
        problem = f"{names[int(bad[0])].as_py()!r} does not fit a .thu file, whose names hold neither blanks nor #"
        label = columns.name(column.label or TITLES[i])
        raise InputError(
            problem, file=columns.tables.path, row=int(bad[0]) + 1, column=label, fix="Rename or link the file"
        )
    return names


def _origins(columns: Columns, pixel_size_angstrom: float | None) -> Any:
    """Origins ``(n, 2)`` in pixels; the pixel size is needed only where the file has them in Å."""
    in_angstrom = any(columns.has(label) for label in ORIGINS_ANGSTROM)
    if not in_angstrom and not any(columns.has(label) for label in ORIGINS_PIXEL):
        return np.zeros((len(columns), 2))
    pixel = pixel_sizes(columns, pixel_size_angstrom) if in_angstrom else np.ones(len(columns))
    return shifts_angstrom(columns, pixel) / pixel[:, None]
