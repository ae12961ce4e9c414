"""STAR files written from tables: conversions and simulations.

Selections of a STAR file keep its bytes (:mod:`cryocore.formats.star`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from cryocore.formats.roots import record
from cryocore.formats.star.write import format_value
from cryocore.formats.text import as_array, rounded, text_lines
from cryocore.tables.io import atomic_path

ROUNDED = ("rlnAngle", "rlnOrigin", "rlnDefocus", "rlnPhaseShift", "rlnCoordinate")
"""Beginnings of the labels of angles in degrees and lengths in pixels and Å."""
DECIMALS = 6


def write_star(particles: pd.DataFrame, optics: pd.DataFrame | None, out: str | Path, root: str | None = None) -> None:
    """Write particles, and their optics groups if they have them, as RELION 3.1 does, else as 3.0 does.

    Columns are RELION's labels without the underscore. The first lines name ``root``, if it is given: the directory
    that image paths start from.

    Numbers are written in the fewest digits that are them; angles and lengths with six decimals.
    """
    with atomic_path(out) as temporary, temporary.open("wb") as file:
        file.write(b"" if root is None else record(root, out, out))
        if optics is not None:
            file.write(b"# version 30001\n")
            _write_block(file, "optics", optics)
            file.write(b"\n# version 30001\n")
        _write_block(file, "" if optics is None else "particles", particles)


def _write_block(file: Any, name: str, table: pd.DataFrame) -> None:
    labels = "".join(f"_{label} #{i}\n" for i, label in enumerate(table.columns, start=1))
    file.write(f"\ndata_{name}\n\nloop_\n{labels}".encode())
    for text in text_lines([_column(str(label), table[label]) for label in table.columns]):
        file.write(text)
    file.write(b"\n")


def _column(label: str, values: pd.Series) -> pa.Array:
    """A column as it stands in the file."""
    if pd.api.types.is_numeric_dtype(values.dtype):
        numbers = values.to_numpy()
        return as_array(rounded(numbers, DECIMALS) if label.startswith(ROUNDED) else numbers)
    texts = as_array(values.astype(str).to_numpy(dtype=object))
    if not pc.any(pc.match_substring_regex(texts, "^$|^[\"'#]|[[:space:]]")).as_py():
        return texts
    words = texts.dictionary_encode()
    quoted = [format_value(word).decode() for word in words.dictionary.to_pylist()]
    return pa.array(np.array(quoted, dtype=object)[words.indices.to_numpy()], pa.string())
