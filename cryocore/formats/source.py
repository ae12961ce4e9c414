"""The file that particles came from, as what is handed on is written: its rows, and what was found out about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.formats.kinds import HALF_SET, PARTICLE_ID, filter_particles
from cryocore.formats.roots import first_relative
from cryocore.tables.particles import Particles
from cryocore.types import Bools, Floats32, Ints

FIGURE_OF_MERIT = "rlnParticleFigureOfMerit"
"""Label of a particle's weight in STAR files: ``relion_reconstruct --fom_weighting`` weighs by it."""


def in_full(values: Floats32) -> NDArray[np.object_]:
    """Numbers ``(n,)`` in the fewest digits that are them, for a STAR file, which has seven otherwise.

    >>> in_full(np.array([108.12345, -0.5], dtype=np.float32)).tolist()
    ['108.12345', '-0.5']
    """
    return np.array([str(value) for value in values], dtype=object)


@dataclass(frozen=True)
class Source:
    """A file of particles: the row of each of n particles in it ``(n,)``, from 0, and how many rows there are.

    ``columns`` is what the file does not say of the particles, or says otherwise, each ``(n,)``; ``root`` the directory
    that image paths start from, None where all are absolute or it is not known.
    """

    path: Path
    rows: Ints
    n_rows: int
    columns: Mapping[str, NDArray[Any]]
    root: str | None = None

    @classmethod
    def of(cls, data: Particles, path: Path | None = None) -> Source:
        """The parent file of a data set, or a copy of it."""
        columns: dict[str, NDArray[Any]] = {}
        if data.halves_made:
            columns[HALF_SET] = data.column("half").astype(np.int64)
        if data.ids_made:
            columns[PARTICLE_ID] = data.ids
        is_relative = first_relative(data.table.column("stack").unique().to_pylist()) is not None
        root = data.root if is_relative else None
        return cls(path or Path(data.parent), data.column("source_row"), data.parent_rows, columns, root)

    @property
    def is_as_read(self) -> bool:
        """Whether the file itself holds these particles, and nothing else was found out about them."""
        return not self.columns and len(self.rows) == self.n_rows

    def write(self, kept: Bools, extra: Mapping[str, NDArray[Any]], out: Path) -> None:
        """Write the particles that are ``kept`` ``(n,)``, in the format of the file, with more columns ``(n,)``.

        Raises
        ------
        InputError  if the file does not have so many particles any more, or ``out`` is of another kind.
        """
        keep = np.zeros(self.n_rows, dtype=bool)
        keep[self.rows[kept]] = True
        columns = {**self.columns, **extra}
        filter_particles(self.path, keep, {label: values[kept] for label, values in columns.items()}, out, self.root)
