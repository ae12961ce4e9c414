"""Curves of two half maps in their file."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cryocore.errors import InputError
from cryocore.tables.io import AGAIN, as_numpy, conforming, read_table, table_metadata, write_table
from cryocore.types import Floats

Ints = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class FscCurves:
    """Fourier shell correlations of two half maps, one value per shell from 0 (see conventions)."""

    shell: Ints
    resolution_angstrom: Floats
    unmasked: Floats
    masked: Floats
    phase_randomised: Floats
    corrected: Floats
    metadata: dict[str, Any] = field(default_factory=dict)

    def write(self, path: str | Path) -> None:
        """Write one Parquet row per shell."""
        names = [f.name for f in fields(self) if f.name != "metadata"]
        write_table(path, pa.table({n: getattr(self, n) for n in names}), **self.metadata)

    @classmethod
    def read(cls, path: str | Path) -> FscCurves:
        """Read what :meth:`write` wrote."""
        found = read_table(path)
        names = [f.name for f in fields(cls) if f.name != "metadata"]
        schema = pa.schema([(n, pa.int64() if n == "shell" else pa.float64()) for n in names])
        table = conforming(found, schema, file=path)
        if len(table) < 2:
            raise InputError(f"it has {len(table)} shells", file=path, fix=AGAIN)
        return cls(**{n: as_numpy(table.column(n)) for n in names}, metadata=table_metadata(found.schema))
