"""Columns of a STAR file as checked arrays: each particle's row, else its optics group, else a default.

Values of the optics block are looked up by ``rlnOpticsGroup``; rows never change places. As in RELION, what is a matter
of the optics group (:data:`OF_OPTICS`) is looked up in the optics block where there is one, whatever rows may say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryocore.errors import InputError
from cryocore.formats.star import StarTables
from cryocore.formats.star.read import to_numbers
from cryocore.types import Bools, Floats, Ints

GROUP = "rlnOpticsGroup"
MAG_MATRIX = ("rlnMagMat00", "rlnMagMat01", "rlnMagMat10", "rlnMagMat11")
PREMULTIPLIED, PHASE_FLIPPED = "rlnCtfDataAreCtfPremultiplied", "rlnCtfDataArePhaseFlipped"
ABERRATIONS = (
    *("rlnBeamTiltX", "rlnBeamTiltY", "rlnOddZernike", "rlnEvenZernike"),
    *(*MAG_MATRIX, PREMULTIPLIED, PHASE_FLIPPED),
)
PIXEL_SIZES = ("rlnImagePixelSize", "rlnMicrographPixelSize", "rlnMicrographOriginalPixelSize")
SAME_PIXEL = 0.02
"""Share by which two pixel sizes differ at most that are one."""
OF_OPTICS = frozenset((*ABERRATIONS, *PIXEL_SIZES))
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Columns:
    """The tables of a STAR file and the row of the optics block, ``(n,)``, that each particle refers to."""

    tables: StarTables
    optics_row: Ints

    def __len__(self) -> int:
        return len(self.tables)

    def has(self, label: str) -> bool:
        """Whether the particles or their optics groups have the column."""
        if label in ABERRATIONS and self.tables.optics is not None:
            return self._in_optics(label)
        return label in self.tables.particles or self._in_optics(label)

    def row(self, index: int | np.integer[Any]) -> int:
        """The row of the file, from 1, that a particle has."""
        return int(self.tables.rows[index]) + 1 if self.tables.rows is not None else int(index) + 1

    def name(self, label: str) -> str:
        """What the file calls the column."""
        return self.tables.names.get(label, label)

    def numbers(self, label: str, default: float | None = None) -> Floats:
        """The column as finite numbers, ``(n,)``; without a default the column must exist."""
        if not self.has(label):
            if default is None:
                raise InputError("the column is missing", file=self.tables.path, column=self.name(label), fix="Add it")
            return np.full(len(self), default)
        column, index = self._column(label)
        values = to_numbers(column)[index]
        bad = np.flatnonzero(~(np.abs(values) <= LARGEST))
        if len(bad):
            raise InputError(
                f"{str(column.iloc[index].iloc[bad[0]])!r} is not a finite number{others(bad)}",
                file=self.tables.path,
                row=self.row(bad[0]),
                column=self.name(label),
                fix="Correct the value or remove the row",
            )
        return values

    def numbers_or_nan(self, label: str) -> Floats:
        """The column as numbers, ``(n,)``, NaN where it holds something else; it must exist."""
        column, index = self._column(label)
        values = to_numbers(column)[index]
        return np.where(np.abs(values) <= LARGEST, values, np.nan)

    def texts(self, label: str, default: str = "") -> NDArray[np.object_]:
        """The column as text, ``(n,)``."""
        if not self.has(label):
            return np.full(len(self), default, dtype=object)
        column, index = self._column(label)
        return column.astype(str).to_numpy(dtype=object)[index]

    def require(self, ok: Bools, label: str, values: NDArray[Any], expected: str, fix: str) -> None:
        """Refuse the first row for which ``ok`` is false."""
        bad = np.flatnonzero(~ok)
        if len(bad):
            problem = f"{values[bad[0]]:g} is not {expected}{others(bad)}"
            row = self.row(bad[0])
            raise InputError(problem, file=self.tables.path, row=row, column=self.name(label), fix=fix)

    def _in_optics(self, label: str) -> bool:
        return self.tables.optics is not None and label in self.tables.optics

    def _column(self, label: str) -> tuple[pd.Series, Any]:
        """The column where it is, and the rows of it that give one value per particle."""
        in_rows = label in self.tables.particles and not (label in OF_OPTICS and self._in_optics(label))
        if in_rows or self.tables.optics is None:
            return self.tables.particles[label], slice(None)
        return self.tables.optics[label], self.optics_row


def columns_of(tables: StarTables) -> Columns:
    """Connect every particle with its optics group.

    Raises
    ------
    InputError  if a particle names an optics group that the optics block does not have.
    """
    n, optics, path = len(tables), tables.optics, tables.path
    if optics is None:
        return Columns(tables, np.zeros(n, dtype=np.int64))
    if not len(optics):
        raise InputError("data_optics has no rows", file=path, fix="Write the optics groups into the file")
    if GROUP not in tables.particles:
        if len(optics) > 1:
            fix = "Say which optics group each particle belongs to"
            raise InputError(f"missing, with {len(optics)} optics groups", file=path, column=GROUP, fix=fix)
        return Columns(tables, np.zeros(n, dtype=np.int64))
    if GROUP not in optics:
        raise InputError("data_optics lacks the column", file=path, column=GROUP, fix="Number the optics groups")
    known = pd.Index(to_numbers(optics[GROUP]))
    if not known.is_unique or known.hasnans:
        raise InputError("data_optics numbers its groups badly", file=path, column=GROUP, fix="Give each its number")
    asked = to_numbers(tables.particles[GROUP])
    row = known.get_indexer(pd.Index(asked)).astype(np.int64)
    bad = np.flatnonzero(row < 0)
    if len(bad):
        raise InputError(
            f"optics group {tables.particles[GROUP].iloc[bad[0]]} is not in data_optics{others(bad)}",
            file=path,
            row=Columns(tables, row).row(bad[0]),
            column=GROUP,
            fix="Add the group to data_optics or correct the row",
        )
    return Columns(tables, row)


def others(bad: NDArray[Any]) -> str:
    """How many more rows have the same fault."""
    return f" (and {len(bad) - 1} more rows)" if len(bad) > 1 else ""
