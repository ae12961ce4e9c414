"""What is known of the particles beforehand: a table beside the log, joined by its readers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cryocore.log.names import TRUTH
from cryocore.tables.io import as_numpy, conforming, read_table, write_table
from cryocore.tables.particles import require_same_particles
from cryocore.types import Bools, Ids

TRUTH_SCHEMA = pa.schema([("particle_id", pa.uint64()), (TRUTH, pa.bool_()), ("error_kind", pa.string())])


@dataclass(frozen=True)
class Truth:
    """Flags of the particles, in the order of the data set."""

    correct: Bools
    known: Bools
    kinds: NDArray[np.object_]


def truth(particles: Path, source: Path, out: Path) -> None:
    """Write the truth about the particles of a run, one row each in their order; ``source`` is what a user gives.

    Raises
    ------
    InputError  if the source holds other particles or lacks a column.
    """
    ids = as_numpy(read_table(particles, ["particle_id"]).column("particle_id"))
    write_table(out, _checked(source, ids))


def read_truth(path: Path, ids: Ids) -> Truth:
    """The truth of the particles ``ids`` ``(n,)``, whose rows it has in that order."""
    table = _checked(path, ids)
    flags = table.column(TRUTH)
    kinds = np.full(len(table), "incorrect", dtype=object)
    if "error_kind" in table.column_names:
        kinds = table.column("error_kind").fill_null("unknown").to_numpy(zero_copy_only=False)
    return Truth(flags.fill_null(False).to_numpy().astype(bool), flags.is_valid().to_numpy(), kinds)


def _checked(path: Path, ids: Ids) -> pa.Table:
    fix = "Give a table with particle_id (uint64), is_correct (true, false or null) and, if known, error_kind"
    found = read_table(path, fix=fix)
    known_kinds = TRUTH_SCHEMA.names[-1] in found.column_names
    schema = TRUTH_SCHEMA if known_kinds else TRUTH_SCHEMA.remove(2)
    table = conforming(found, schema, file=path, fix=fix, gaps=TRUTH_SCHEMA.names[1:])
    require_same_particles(
        as_numpy(table.column("particle_id")),
        ids,
        file=path,
        fix="Give the truth of these particles, one row each in the order of the STAR file",
    )
    return table
