"""NumPy files of records, as cryoSPARC writes its tables: read without pickle, and only what the file has room for."""

from __future__ import annotations

import tokenize
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.lib import format as npy
from numpy.typing import NDArray

from cryocore.errors import InputError
from cryocore.formats.foreign import identify
from cryocore.tables.io import atomic_path
from cryocore.types import Ints

Records = NDArray[np.void]

UID = "uid"
PASSTHROUGH = "*passthrough_particles*.cs"
MAX_HEADER_BYTES = 1 << 18
COMPRESSED_BEGINS = b"\x94CSDAT"
HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
FAULTS = (ValueError, TypeError, SyntaxError, KeyError, OverflowError, RecursionError, MemoryError, tokenize.TokenError)
"""What NumPy raises for a header that is damaged."""
FIX = "Give a .cs file of particles, or export them again"


def read_records(path: str | Path) -> Records:
    """The rows ``(n,)`` of a ``.cs`` file, n > 0.

    Raises
    ------
    InputError  if the file is missing, no table of records, holds Python objects, or is shorter than its header says.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            shape, dtype = _read_header(file, path)
            start = file.tell()
            n_bytes = file.seek(0, 2) - start
            expected = shape[0] * dtype.itemsize
            if n_bytes < expected:
                problem = f"truncated: {n_bytes} bytes where its header announces {shape[0]} rows, {expected} bytes"
                raise InputError(problem, file=path, fix="Copy the file again")
            file.seek(start)
            return np.fromfile(file, dtype=dtype, count=shape[0])
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", file=path, fix=FIX) from None


def read_shape(path: str | Path) -> tuple[int, tuple[str, ...]]:
    """How many rows a ``.cs`` file has, and the names of its fields, by its header alone."""
    with Path(path).open("rb") as file:
        shape, dtype = _read_header(file, Path(path))
    return shape[0], dtype.names or ()


def write_records(path: str | Path, records: Records) -> None:
    """Write rows as a ``.cs`` file; the same rows always give the same bytes."""
    records = np.ascontiguousarray(records)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        npy.write_array_header_1_0(file, npy.header_data_from_array_1_0(records))
        file.write(records.view(np.uint8).data)


def _read_header(file: BinaryIO, path: Path) -> tuple[tuple[int], np.dtype[Any]]:
    """Shape and type of the rows; the file stands at the first one."""
    begins = file.read(npy.MAGIC_LEN)
    if begins.startswith(COMPRESSED_BEGINS):
        fix = "Export the particles in cryoSPARC, or save them in its NumPy format"
        raise InputError("it is a compressed cryoSPARC data set", file=path, fix=fix)
    version = (begins[-2], begins[-1]) if len(begins) == npy.MAGIC_LEN else None
    if not begins.startswith(npy.MAGIC_PREFIX) or version not in HEADERS:
        found = identify(path, but="npy")
        if found is not None:
            raise InputError(f"not a cryoSPARC file: it is {found.name}", file=path, fix=found.fix)
        raise InputError("not a cryoSPARC file: it is no NumPy file", file=path, fix=FIX)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python 2 wrote the files of early cryoSPARC versions
            shape, _, dtype = HEADERS[version](file, max_header_size=MAX_HEADER_BYTES)
    except FAULTS as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"its header is damaged ({reason})", file=path, fix=FIX) from None
    if dtype.hasobject:
        raise InputError("it holds Python objects, which are not read", file=path, fix=FIX)
    if dtype.names is None or dtype.itemsize == 0 or len(shape) != 1 or isinstance(shape[0], bool) or shape[0] < 0:
        raise InputError("it holds no table of records", file=path, fix=FIX)
    if shape[0] == 0:
        raise InputError("it has no rows", file=path, fix="Give a file that has particles")
    return (shape[0],), dtype


@dataclass(frozen=True)
class Source:
    """Rows of a file, and where among them each particle is; None: in order."""

    path: Path
    records: Records
    rows: Ints | None = None


@dataclass(frozen=True)
class Fields:
    """The fields of a ``.cs`` file and those that its passthrough file adds, one value per particle."""

    sources: tuple[Source, ...]

    def __len__(self) -> int:
        return len(self.sources[0].records)

    @property
    def path(self) -> Path:
        """The file that was asked for."""
        return self.sources[0].path

    @property
    def names(self) -> tuple[str, ...]:
        """All fields, those of the first file first."""
        return tuple(dict.fromkeys(name for source in self.sources for name in source.records.dtype.names or ()))

    def has(self, name: str) -> bool:
        """Whether a file has the field."""
        return any(name in (source.records.dtype.names or ()) for source in self.sources)

    def values(self, name: str) -> NDArray[Any]:
        """The field as it is stored, ``(n, ...)``."""
        source = next(s for s in self.sources if name in (s.records.dtype.names or ()))
        column = source.records[name]
        return column if source.rows is None else column[source.rows]

    def numbers(self, name: str, shape: tuple[int, ...] = ()) -> NDArray[Any]:
        """The field as native numbers, ``(n, *shape)``."""
        values = self.values(name)
        if values.dtype.kind not in "fiub" or values.shape[1:] != shape:
            problem = f"holds {values.dtype.name} {values.shape[1:] or ''} where numbers {shape or ''} are expected"
            raise InputError(" ".join(problem.split()), file=self.path, column=name, fix=FIX)
        return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))

    def integers(self, name: str) -> Ints:
        """The field as integers, ``(n,)``."""
        values = self.numbers(name)
        whole = np.isfinite(values) & (np.abs(values.astype(np.float64)) < 2**53)
        bad = np.flatnonzero(~whole)
        if len(bad):
            problem = f"{values[bad[0]]} is no count"
            raise InputError(problem, file=self.path, row=int(bad[0]) + 1, column=name, fix=FIX)
        return values.astype(np.int64)

    def texts(self, name: str) -> pa.Array:
        """The field as a dictionary-encoded column of text."""
        values = self.values(name)
        if values.dtype.kind not in "SU" or values.ndim != 1:
            problem = f"holds {values.dtype.name} where text is expected"
            raise InputError(problem, file=self.path, column=name, fix=FIX)
        try:
            stored = pa.array(np.ascontiguousarray(values))
            chunks = stored.chunks if isinstance(stored, pa.ChunkedArray) else [stored]  # large columns come in chunks
            column = pa.chunked_array(chunks).dictionary_encode().unify_dictionaries().combine_chunks()
            words = column.dictionary.cast(pa.string())
        except (pa.ArrowInvalid, UnicodeError):
            raise InputError("is not UTF-8 text", file=self.path, column=name, fix=FIX) from None
        if pc.any(pc.match_substring_regex(words, "[[:cntrl:]]")).as_py():
            raise InputError("holds control characters", file=self.path, column=name, fix=FIX)
        return pa.DictionaryArray.from_arrays(column.indices, words)


def read_fields(path: str | Path, passthrough: str | Path | None = None, needed: tuple[str, ...] = ()) -> Fields:
    """A ``.cs`` file and, joined by ``uid``, its passthrough file.

    Without ``passthrough`` and with some of the ``needed`` fields missing, the file's folder is searched for one
    ``*passthrough_particles*.cs`` that has all its particles.
    """
    path = Path(path)
    own = Source(path, read_records(path))
    ids = _uids(own)
    if passthrough is not None:
        other = _joined(ids, Path(passthrough))
        if other is None:
            problem = f"lacks particles of {path}, or has them twice"
            raise InputError(problem, file=passthrough, column=UID, fix="Give the passthrough file of the same job")
        return Fields((own, other))
    if all(Fields((own,)).has(name) for name in needed):
        return Fields((own,))
    found = [s for p in sorted(path.parent.glob(PASSTHROUGH)) if p != path and (s := _joined_quietly(ids, p))]
    return Fields((own, *found[:1]))


def _uids(source: Source) -> NDArray[np.uint64]:
    """The particles' own numbers ``(n,)``."""
    records, path = source.records, source.path
    if UID not in (records.dtype.names or ()):
        raise InputError("the particles have no uid", file=path, column=UID, fix=FIX)
    values = records[UID]
    if values.dtype.kind not in "ui" or values.ndim != 1:
        raise InputError(f"holds {values.dtype.name} where integers are expected", file=path, column=UID, fix=FIX)
    return values.astype(np.uint64)


def _joined(ids: NDArray[np.uint64], path: Path) -> Source | None:
    """The rows of another file in the order of ``ids``; None if it lacks some or has some twice."""
    source = Source(path, read_records(path))
    others = _uids(source)
    order = np.argsort(others, kind="stable")
    ranked = others[order]
    at = np.minimum(np.searchsorted(ranked, ids), len(ranked) - 1)
    twice = np.append(ranked[1:] == ranked[:-1], False)[at]
    if twice.any() or not np.array_equal(ranked[at], ids):
        return None
    return Source(path, source.records, order[at])


def _joined_quietly(ids: NDArray[np.uint64], path: Path) -> Source | None:
    try:
        return _joined(ids, path)
    except InputError:
        return None
