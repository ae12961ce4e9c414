"""What is written of each epoch: batches before and after they are sorted and curves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cryocore.log.names import REASON
from cryocore.reconstruct.iterative.optimise import Epoch
from cryocore.reconstruct.iterative.sweep import Ledger
from cryocore.tables.io import read_schema, read_table, write_table, write_tables
from cryocore.tables.particles import QUALITY, Particles


class BatchLog:
    """The batches of one epoch on one process, as they come: one file per epoch and rank."""

    def __init__(self, particles: Particles, epoch: int, rank: int) -> None:
        self._ids, self._half = particles.ids, particles.column("half")
        self._epoch, self._rank, self._tables = epoch, rank, list[pa.Table]()

    def add(self, rows: NDArray[np.int64], distance: NDArray[np.float64], weight: NDArray[np.float64]) -> None:
        """A batch: ``position`` is a particle's place in it as read, ``order`` that among its half set when sorted."""
        n, half = len(rows), self._half[rows]
        order = np.empty(n, dtype=np.int32)
        for h in (1, 2):
            at = np.flatnonzero(half == h)
            order[at[np.argsort(distance[at], kind="stable")]] = np.arange(len(at))
        columns = {
            "epoch": np.full(n, self._epoch, dtype=np.int32),
            "rank": np.full(n, self._rank, dtype=np.int32),
            "batch": np.full(n, len(self._tables), dtype=np.int32),
            "position": np.arange(n, dtype=np.int32),
            "particle_id": self._ids[rows],
            "row": rows,
            "half": half,
            "loss": distance.astype(np.float32),
            "order": order,
            "weight": weight.astype(np.float32),
            "used": weight > 0,
        }
        self._tables.append(pa.table(columns))

    def write(self, folder: Path) -> None:
        """Write the part of this process."""
        write_table(part_of(folder, self._epoch, self._rank), pa.concat_tables(self._tables))


def part_of(folder: Path, epoch: int, rank: int) -> Path:
    """The file of one epoch and process."""
    return folder / f"epoch_{epoch:03d}.rank_{rank:02d}.parquet"


def merge_batches(folder: Path, n_epochs: int, n_ranks: int, out: Path) -> None:
    """One table of all epochs, each in the order of the particles, from the parts of all processes."""

    def epochs() -> Iterator[pa.Table]:
        for epoch in range(n_epochs):
            table = pa.concat_tables(read_table(part_of(folder, epoch, rank)) for rank in range(n_ranks))
            yield table.replace_schema_metadata(None).sort_by("row").drop_columns("row")

    write_tables(out, epochs(), n_ranks=n_ranks)


def write_epochs(path: Path, history: list[Epoch]) -> None:
    """One row per epoch."""
    rows = [asdict(e) for e in history]
    write_table(path, pa.table({name: [r[name] for r in rows] for name in rows[0]}))


def write_weights(
    path: Path,
    particles: Particles,
    ledger: Ledger,
    selected: NDArray[np.bool_],
    subset: Path | None = None,
) -> None:
    """The weight of each particle in the maps, as a subset has it, and what it was scored by; with the reasons and
    envelopes of the ``subset`` that was fitted."""
    weight = ledger.weight.astype(np.float32)
    columns: dict[str, Any] = {
        "particle_id": particles.ids,
        "weight": weight,
        "selected": selected,
        "distance": ledger.distance.astype(np.float32),
        "plain": ledger.plain.astype(np.float32),
        "cross": ledger.cross.astype(np.float32),
    }
    table = pa.table(columns)
    if subset is not None:
        there = read_schema(subset).names
        said = read_table(subset, ["particle_id", *(name for name in (REASON, *QUALITY) if name in there)])
        for name in said.column_names[1:]:
            table = table.append_column(name, said.column(name))
    write_table(path, table)
