"""The rounds of a log, and what replays read of each."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cryocore.errors import InputError
from cryocore.log.columns import numeric_columns
from cryocore.log.names import APPLIED, LIKELY_KIND, MIXTURE, SPOILT, TRUTH
from cryocore.maps.curves import FscCurves
from cryocore.statistics import posterior
from cryocore.tables.io import as_numpy, open_table, read_schema, read_table, table_metadata
from cryocore.tables.particles import QUALITY, require_same_particles
from cryocore.types import Floats, Floats32, Ids

log = logging.getLogger(__name__)

_FOLDER = re.compile(r"round=(\d+)")


@dataclass(frozen=True)
class LogRound:
    """One file of a log, and the tables that are joined to it; ``number`` is the round whose maps its scores refer to.

    ``schema`` : columns of the file, and those of the tables ``beside`` it (column -> file) that it has not
    """

    path: Path
    number: int
    schema: pa.Schema
    beside: dict[str, Path]
    metadata: dict[str, Any]
    n_particles: int

    @property
    def columns(self) -> list[str]:
        """Names of all that is known of the particles."""
        return list(self.schema.names)

    @property
    def run_dir(self) -> Path | None:
        """The run's directory, where the log lies in one."""
        return _run_dir(self.path, self.number)

    @property
    def symmetry(self) -> str:
        """Point group of the run."""
        return str(self.metadata.get("symmetry", "C1"))

    @cached_property
    def curves(self) -> FscCurves | None:
        """FSC of the round's half maps, where the run's directory has it."""
        path = self.run_dir and _round_dir(self.run_dir, self.number) / "fsc.parquet"
        return FscCurves.read(path) if path and path.exists() else None

    def read(self, names: list[str]) -> dict[str, NDArray[Any]]:
        """Columns as arrays; see ``cryocore.log.columns.read_columns``."""
        return numeric_columns(self.table(names), self.path)

    def row_groups(self, names: list[str]) -> Iterator[dict[str, NDArray[Any]]]:
        """Columns of the file itself as arrays, a row group after the other."""
        with open_table(self.path) as file:
            for group in range(file.num_row_groups):
                yield numeric_columns(file.read_row_group(group, columns=names), self.path)

    def table(self, names: list[str]) -> pa.Table:
        """Columns of the file and of the tables beside it, in the order of ``names``.

        Raises
        ------
        InputError  if there is no such column, or a table beside the log is of other particles.
        """
        joined = [name for name in names if name in self.beside]
        own = [name for name in names if name not in joined]
        found = read_table(self.path, list(dict.fromkeys(["particle_id", *own])) if joined else own)
        for file in dict.fromkeys(self.beside[name] for name in joined):
            columns = [name for name in joined if self.beside[name] == file]
            other = read_table(file, ["particle_id", *columns])
            require_same_particles(*(as_numpy(t.column("particle_id")) for t in (other, found)), file=file)
            for name in columns:
                found = found.append_column(name, other.column(name))
        return found.select(names)

    def values(self, name: str) -> NDArray[Any]:
        """One column ``(n,)``."""
        return as_numpy(self.table([name]).column(0))

    def column(self, name: str) -> NDArray[Any] | None:
        """One column ``(n,)``; None where the log has none or knows no value of it."""
        if name not in self.columns:
            return None
        values = self.table([name]).column(0)
        return None if values.null_count == len(values) else as_numpy(values)

    def labels(self, name: str) -> tuple[NDArray[np.int32], list[str]] | None:
        """A column of names or numbers as codes ``(n,)`` and what they stand for; None where nothing is known."""
        if name not in self.columns:
            return None
        values = self.table([name]).column(0)
        if values.null_count == len(values):
            return None
        if not pa.types.is_dictionary(values.type):
            values = values.dictionary_encode()
        codes = values.unify_dictionaries().combine_chunks()
        names = [*map(str, codes.dictionary.to_pylist()), "unknown"]
        return _filled(pa.chunked_array([codes.indices]), len(names) - 1), names

    def flags(self) -> NDArray[np.int8]:
        """What is known of each particle ``(n,)``: 1 correct, 0 incorrect, -1 unknown."""
        if TRUTH not in self.columns:
            return np.full(self.n_particles, -1, dtype=np.int8)
        return _filled(self.table([TRUTH]).column(0).cast(pa.int8()), -1)

    def quality(self) -> dict[str, Floats32]:
        """Those of the columns ``QUALITY`` that the particles of the round's map have, ``(n,)`` each."""
        names = {applied: name for name, applied in zip(QUALITY, APPLIED, strict=True) if applied in self.columns}
        told = self.table(list(names)) if names else pa.table({})
        return {names[c]: as_numpy(told.column(c)) for c in names if told.column(c).null_count < len(told)}

    def posterior(self) -> Floats32 | None:
        """Probability of being correct by the log's own log odds, ``(n,)``; None where it has none."""
        odds = self.column(MIXTURE)
        if odds is None or not np.isfinite(odds).any():
            return None
        return posterior(odds).astype(np.float32)

    def worth(self) -> Floats:
        """Probability of being correct ``(n,)`` where the image has nothing else in it; 0 where it has.

        Raises
        ------
        InputError  if the log has no log odds.
        """
        worth = posterior(self.values(MIXTURE).astype(np.float64))
        kinds = self.labels(LIKELY_KIND)
        if kinds is not None and SPOILT in kinds[1]:
            worth[kinds[0] == kinds[1].index(SPOILT)] = 0.0
        return worth


def _filled(values: pa.ChunkedArray, value: int) -> NDArray[Any]:
    """Numbers ``(n,)`` with a value where there is none."""
    return as_numpy(pc.fill_null(values, value) if values.null_count else values)


def find_rounds(source: Path) -> list[LogRound]:
    """The rounds of a run's directory, of a log's directory or of one file, in order.

    Raises
    ------
    InputError  if there is no log, or a file of it cannot be read.
    """
    if source.is_dir():
        files = [*source.glob("round=*/log.parquet")] or [*source.glob("log/round=*/log.parquet")]
        files = files or [p for p in (source / "log.parquet",) if p.exists()]
    else:
        files = [source]
    if not files:
        raise InputError(
            "there is no log in this directory", file=source, fix="Give results/<run>, its log or a log.parquet"
        )
    rounds = sorted(map(open_round, files), key=lambda r: r.number)
    missing = sorted({*range(rounds[0].number, rounds[-1].number)} - {r.number for r in rounds})
    if missing:
        log.warning("%s: the log lacks round %s", source, ", ".join(map(str, missing)))
    return rounds


def open_round(path: Path, beside: Sequence[Path] | None = None) -> LogRound:
    """One file of a log; only its description is read.

    ``beside`` are the tables to join; None: the truth and a classifier's probability, where the run has them.
    """
    absent = "Give results/<run>, its log or a log.parquet"
    with open_table(path, absent=absent, fix="Give a log.parquet") as file:
        schema, n = file.schema_arrow, file.metadata.num_rows
    missing = [name for name in ("particle_id", "half") if name not in schema.names]
    if missing or n == 0:
        problem = f"it has no column {missing[0]}" if missing else "it has no rows"
        raise InputError(f"not a log: {problem}", file=path, fix="Give a log.parquet")
    metadata = table_metadata(schema)
    folder = _FOLDER.fullmatch(path.absolute().parent.name)
    number = int(folder[1]) if folder else int(metadata.get("round", 0))
    run_dir = _run_dir(path, number)
    if beside is None:
        usual = (
            [] if run_dir is None else [run_dir / "truth.parquet", _round_dir(run_dir, number) / "probability.parquet"]
        )
        beside = [file for file in usual if file.exists()]
    joined = {}
    for file in beside:
        for field in (f for f in read_schema(file) if f.name not in schema.names):
            joined[field.name] = file
            schema = schema.append(field)
    return LogRound(path, number, schema, joined, metadata, n)


def _run_dir(path: Path, number: int) -> Path | None:
    folder = path.absolute().parent.parent
    return folder.parent if folder.name == "log" and _round_dir(folder.parent, number).is_dir() else None


def _round_dir(run_dir: Path, number: int) -> Path:
    return run_dir / f"round_{number}"


def wanted_rounds(rounds: list[LogRound], wanted: str) -> list[LogRound]:
    """Those of ``all``, ``last`` or numbers as ``0,2``."""
    if wanted == "all":
        return rounds
    if wanted == "last":
        return rounds[-1:]
    by_number = {str(r.number): r for r in rounds}
    names = [part.strip() for part in wanted.split(",")]
    unknown = [name for name in names if name not in by_number]
    if unknown:
        raise InputError(
            f"there is no round {unknown[0]!r} in the log", fix=f"Give all, last or some of {', '.join(by_number)}"
        )
    return [by_number[name] for name in dict.fromkeys(names)]


def wanted_round(rounds: list[LogRound], wanted: str) -> LogRound:
    """The one round of ``last`` or a number.

    Raises
    ------
    InputError  if there is no such round, or several are named.
    """
    found = wanted_rounds(rounds, wanted)
    if len(found) != 1:
        raise InputError(f"{wanted!r} are {len(found)} rounds and one is wanted", fix="Give last or a number")
    return found[0]


def run_seed(directory: Path) -> int:
    """The seed that a round's subset was chosen with; 0 in round 0, which has none."""
    subset = directory / "subset.parquet"
    if not subset.exists():
        return 0
    return int(table_metadata(read_schema(subset)).get("seed", 0))


def aligned(values: NDArray[Any], ids: Ids, wanted: Ids) -> NDArray[Any]:
    """Values of the particles ``wanted``, from those of ``ids``; 0 for a particle that is not among these."""
    if np.array_equal(ids, wanted):
        return values
    order = np.argsort(ids)
    place = np.minimum(np.searchsorted(ids, wanted, sorter=order), len(ids) - 1)
    found = ids[order[place]] == wanted
    return np.where(found, values[order[place]], 0)
