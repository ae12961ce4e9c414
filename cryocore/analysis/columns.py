"""The columns of a log that the analysis reads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cryocore.data import SCORES
from cryocore.errors import InputError
from cryocore.files import read_table, table_metadata
from cryocore.geometry.rotations import quaternion_to_matrix
from cryocore.rates import lower_is_better

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DEFAULT_LOSSES = ("z", "ncc", "l2_loss")
"""The loss that is analysed unless another is named: the first that the log has."""
EXPECTED_OF = {"zc": "expected_zc"}
"""The square root of the projection energy that goes with a score, where it is not ``expected_z``."""


@dataclass(frozen=True)
class LossColumns:
    """What is known of n particles in one round; None for what the log does not say.

    ``loss`` ``(n,)`` : as in the log, all finite; ``name`` says which
    ``ids`` ``(n,)`` : stable ids
    ``rotations`` ``(n, 3, 3)`` : object to image
    ``expected`` ``(n,)`` : square root of the projection energy over the noise
    ``defocus_angstrom`` ``(n,)`` : mean of both axes
    ``micrograph`` ``(n,)`` : codes from 0
    ``image_energy`` ``(n,)`` : image power, all bands
    ``flags`` ``(n,)`` : 1 right, 0 wrong, -1 unknown
    ``n_left_out`` : particles of the log without a finite loss or pose
    """

    name: str
    loss: Floats
    ids: NDArray[np.uint64]
    rotations: Floats | None = None
    expected: Floats | None = None
    defocus_angstrom: Floats | None = None
    micrograph: Ints | None = None
    image_energy: Floats | None = None
    flags: NDArray[np.int8] | None = None
    symmetry: str = "C1"
    round: int = 0
    n_left_out: int = 0

    def __len__(self) -> int:
        return len(self.loss)

    @property
    def views(self) -> Floats | None:
        """Viewing directions in the object's frame, ``(n, 3)``."""
        return None if self.rotations is None else self.rotations[:, 2]

    @property
    def score(self) -> Floats:
        """The loss with its sign chosen so that higher is better, ``(n,)``."""
        return -self.loss if lower_is_better(self.name) else self.loss

    def take(self, rows: NDArray[np.integer[Any]] | NDArray[np.bool_]) -> LossColumns:
        """The columns of some particles."""
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        taken: dict[str, Any] = {k: v[rows] for k, v in values.items() if isinstance(v, np.ndarray)}
        return replace(self, **taken)


def read_columns(source: str | Path, *, loss: str | None = None, round_number: int | None = None) -> LossColumns:
    """Read one round of a run's directory, of its log or of a single ``log.parquet``; the last unless one is named.

    Raises
    ------
    InputError  if there is no log, no such round or no such loss.
    """
    path, number = _log_of(Path(source), round_number)
    with pq.ParquetFile(path) as file:
        names, metadata, n = file.schema_arrow.names, table_metadata(file.schema_arrow), file.metadata.num_rows
    chosen = loss or next((name for name in DEFAULT_LOSSES if name in names and _has_values(path, name)), None)
    if chosen is None or chosen not in names or not _has_values(path, chosen):
        known = ", ".join(name for name in SCORES if name in names) or "none"
        problem = "the log has no loss" if chosen is None else f"the log has no values of {chosen!r}"
        raise InputError(problem, file=path, remedy=f"Name a column with values; scores of this log: {known}")
    read = _Reader(path, names)
    columns = LossColumns(
        name=chosen,
        loss=read.floats([chosen], n)[:, 0],
        ids=read_table(path, ["particle_id"]).column(0).to_numpy(),
        rotations=read.rotations(n),
        expected=read.optional(EXPECTED_OF.get(chosen, "expected_z")),
        defocus_angstrom=read.mean("defocus_u_angstrom", "defocus_v_angstrom"),
        micrograph=read.codes("micrograph"),
        image_energy=read.energy("image_power"),
        flags=read.flags("is_correct"),
        symmetry=str(metadata.get("symmetry") or "C1"),
        round=number,
    )
    usable = np.isfinite(columns.loss)
    for values in (columns.expected, columns.defocus_angstrom, columns.image_energy):
        usable &= True if values is None else np.isfinite(values)
    return _with_left_out(columns.take(np.flatnonzero(usable)), n)


def _with_left_out(columns: LossColumns, n: int) -> LossColumns:
    if not len(columns):
        raise InputError(f"no particle has a finite {columns.name}", column=columns.name, remedy="Name another column")
    return replace(columns, n_left_out=n - len(columns))


def _log_of(source: Path, wanted: int | None) -> tuple[Path, int]:
    if source.is_dir():
        files = [*source.glob("round=*/log.parquet")] or [*source.glob("log/round=*/log.parquet")]
    else:
        files = [source] if source.exists() else []
    if not files:
        raise InputError("there is no log here", file=source, remedy="Give results/<run>, its log or a log.parquet")
    by_number = {_number(path): path for path in files}
    number = max(by_number) if wanted is None else wanted
    if number not in by_number:
        rounds = ", ".join(map(str, sorted(by_number)))
        raise InputError(f"there is no round {number} in the log", file=source, remedy=f"Give one of {rounds}")
    return by_number[number], number


def _number(path: Path) -> int:
    found = re.fullmatch(r"round=(\d+)", path.absolute().parent.name)
    return int(found[1]) if found else 0


def _has_values(path: Path, name: str) -> bool:
    column = read_table(path, [name]).column(0)
    return bool(pc.any(pc.is_finite(column)).as_py()) if pa.types.is_floating(column.type) else False


@dataclass(frozen=True)
class _Reader:
    """Columns that may be missing from a file, or null throughout."""

    path: Path
    names: Sequence[str]

    def floats(self, names: Sequence[str], n: int) -> Floats:
        out = np.empty((n, len(names)))
        for i, name in enumerate(names):
            out[:, i] = read_table(self.path, [name]).column(0).to_numpy()
        return out

    def optional(self, name: str) -> Floats | None:
        if name not in self.names or not _has_values(self.path, name):
            return None
        return np.asarray(read_table(self.path, [name]).column(0).to_numpy(), dtype=np.float64)

    def mean(self, *names: str) -> Floats | None:
        columns = [self.optional(name) for name in names]
        return (
            None if any(c is None for c in columns) else np.asarray(np.mean([c for c in columns if c is not None], 0))
        )

    def rotations(self, n: int) -> Floats | None:
        names = [f"quat_{c}" for c in "wxyz"]
        if any(self.optional(name) is None for name in names):
            return None
        quaternions = self.floats(names, n)
        if not np.isfinite(quaternions).all():
            return None
        return quaternion_to_matrix(quaternions)

    def codes(self, name: str) -> Ints | None:
        if name not in self.names:
            return None
        column = read_table(self.path, [name]).column(0)
        if column.null_count == len(column):
            return None
        encoded = pc.dictionary_encode(column.cast(pa.string()).fill_null("")).combine_chunks()
        names = encoded.dictionary.to_numpy(zero_copy_only=False).astype(np.str_)
        return np.asarray(np.argsort(np.argsort(names))[encoded.indices.to_numpy()], dtype=np.int64)

    def energy(self, name: str) -> Floats | None:
        """Sum over the bands of a column of lists."""
        if name not in self.names:
            return None
        column = read_table(self.path, [name]).column(0)
        if column.null_count or not len(column):
            return None
        flat = pc.list_flatten(column).to_numpy()
        return np.asarray(flat.reshape(len(column), -1).sum(axis=1, dtype=np.float64)) if flat.size else None

    def flags(self, name: str) -> NDArray[np.int8] | None:
        if name not in self.names:
            return None
        known = read_table(self.path, [name]).column(0)
        if known.null_count == len(known):
            return None
        return pc.fill_null(known.cast(pa.int8()), -1).to_numpy()
