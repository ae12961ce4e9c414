"""Files appear whole or not at all; tables carry their description with them."""

from __future__ import annotations

import json
import math
import os
import shutil
import struct
import tempfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import Any
from zipfile import BadZipFile, ZipFile, is_zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cryocore.errors import FULL, InputError
from cryocore.tables.shards import WHOLE, Shard

METADATA_KEY = b"cryocore"
ROW_GROUP = 1 << 17
"""Rows that are read together at least."""
ARCHIVE_BEGINS = b"PK\x03\x04"
AGAIN = "Delete it and run snakemake again"
ARCHIVE_ERRORS = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    EOFError,
    RuntimeError,  # encrypted
    BadZipFile,
    TokenError,
    struct.error,
    zlib.error,
)
"""What zipfile and numpy raise for an archive that is missing or damaged."""
OTHER_LAYOUT = ("decoy_z", "better_pose_gain")
"""Columns of logs whose other columns mean the same under other names: they are refused."""
UNREADABLE = (pa.ArrowException, OSError, UnicodeDecodeError)
"""What pyarrow raises for a table that is damaged; a page that does not match its checksum, OSError without number."""


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` if the block succeeds.

    The temporary file has the suffix of ``path`` and is removed when the block raises. Errors of the file system name
    ``path``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _about(path):
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        with _about(path, temporary):
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _about(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Let errors that are about the temporary file, or about no file as that of a full disk, name ``path``."""
    try:
        yield
    except OSError as error:
        if temporary is None or error.filename == str(temporary) or (error.filename is None and error.errno in FULL):
            error.filename = str(path)
            del error.filename2  # of a rename
        raise


def why(error: BaseException) -> str:
    """The reason of an error in one line, without numbers and paths that its reader knows."""
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    lines = str(error).strip("'").splitlines()
    return lines[0].rstrip(". ") if lines else type(error).__name__


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


class Arrays:
    """The members of an open ``.npz`` archive; what their headers declare is checked before memory is taken."""

    def __init__(self, archive: ZipFile, n_bytes: int) -> None:
        self._archive, self._n_bytes = archive, n_bytes

    def __getitem__(self, name: str) -> NDArray[Any]:
        """A member, checked against its checksum; ValueError if it is not what its header says."""
        info = self._archive.getinfo(f"{name}.npy")
        with self._archive.open(info) as member:
            version = np.lib.format.read_magic(member)
            read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            if version not in read_header:
                raise ValueError(f"{name} is an array of version {version}")
            shape, _, dtype = read_header[version](member)
            declared = math.prod(shape) * dtype.itemsize
            if dtype.hasobject or declared != info.file_size - member.tell() or info.file_size > self._n_bytes:
                raise ValueError(f"{name} is {dtype} {shape}, which is not what it holds")
        with self._archive.open(info) as member:
            return np.asarray(np.lib.format.read_array(member, allow_pickle=False))

    def of(self, name: str, shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
        """A member that has a shape and type; ValueError if it has not."""
        values = self[name]
        if values.shape != shape or values.dtype != dtype:
            raise ValueError(f"{name} is {values.dtype} {values.shape}, not {np.dtype(dtype)} {shape}")
        return values


@contextmanager
def open_arrays(path: str | Path, what: str) -> Iterator[Arrays]:
    """The named arrays of an ``.npz`` file, read and checked against their checksums when they are asked for.

    Raises
    ------
    InputError  naming ``what`` the file is, if it or one of its arrays cannot be read, or the block raises ValueError.
    """
    with _readable(path, what), Path(path).open("rb") as file:
        if file.read(len(ARCHIVE_BEGINS)) != ARCHIVE_BEGINS or not is_zipfile(file):
            raise ValueError("it is no .npz archive")
        with ZipFile(file) as archive:
            yield Arrays(archive, os.fstat(file.fileno()).st_size)


@contextmanager
def stream_array(path: str | Path, name: str, what: str) -> Iterator[Callable[[tuple[int, ...]], NDArray[Any]]]:
    """An array of an ``.npz`` file, piece after piece: a function from the shape of the next piece to the piece.

    Its checksum is compared when the last piece is read.

    Raises
    ------
    InputError  naming ``what`` the file is, if it cannot be read or ends too early.
    """
    with _readable(path, what), ZipFile(path) as file, file.open(f"{name}.npy") as stream:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise ValueError(f"{name} is written in an unknown way")
        dtype = np.lib.format.read_array_header_1_0(stream)[2]

        def piece(shape: tuple[int, ...]) -> NDArray[Any]:
            with _readable(path, what):
                data = stream.read(math.prod(shape) * dtype.itemsize)
                return np.frombuffer(data, dtype).reshape(shape)

        yield piece


@contextmanager
def _readable(path: str | Path, what: str) -> Iterator[None]:
    """Turn what reading a damaged archive raises into an error for the user."""
    try:
        yield
    except InputError:
        raise
    except ARCHIVE_ERRORS as error:
        raise InputError(f"the {what} cannot be read ({why(error)})", file=path, fix=AGAIN) from None


def copy_file(source: str | Path, target: str | Path) -> None:
    """Copy a file; it appears under its name when it is whole."""
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as indented JSON."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


def parquet_options(schema: pa.Schema) -> dict[str, Any]:
    """How tables of a schema are written: what reads fast. Numbers hardly repeat, and have no dictionary."""
    named = [f.name for f in schema if pa.types.is_dictionary(f.type) or pa.types.is_string(f.type)]
    return {"compression": "lz4", "use_dictionary": named or False, "write_page_checksum": True}


def write_table(path: str | Path, table: pa.Table, **metadata: Any) -> None:
    """Write a Parquet table; ``metadata`` is stored as JSON in the file's schema."""
    described = with_metadata(table, **metadata)
    with atomic_path(path) as temporary:
        pq.write_table(described, temporary, row_group_size=ROW_GROUP, **parquet_options(table.schema))


def write_tables(path: str | Path, tables: Iterator[pa.Table], **metadata: Any) -> None:
    """Write tables of one schema one after the other, a row group each, as :func:`write_table` writes one."""
    with atomic_path(path) as temporary:
        first = with_metadata(next(tables), **metadata)
        with pq.ParquetWriter(temporary, first.schema, **parquet_options(first.schema)) as writer:
            writer.write_table(first)
            for table in tables:
                writer.write_table(table.replace_schema_metadata(first.schema.metadata))


def with_metadata(table: pa.Table, **metadata: Any) -> pa.Table:
    """The same table, its schema carrying ``metadata`` (merged over what it has)."""
    merged = {**table_metadata(table.schema), **metadata}
    kept = {k: v for k, v in (table.schema.metadata or {}).items() if k != METADATA_KEY}
    return table.replace_schema_metadata({**kept, METADATA_KEY: json.dumps(merged, sort_keys=True)})


def table_metadata(schema: pa.Schema) -> dict[str, Any]:
    """The metadata that :func:`write_table` stored."""
    try:
        found = json.loads((schema.metadata or {}).get(METADATA_KEY, b"{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


@contextmanager
def open_table(
    path: str | Path, *, absent: str = "Run the workflow stage that writes it", fix: str = AGAIN
) -> Iterator[pq.ParquetFile]:
    """A Parquet file to read from, its pages checked against their checksums. (``pq.read_table`` starts pandas.)

    Raises
    ------
    InputError  if the file is ``absent``, has a column of ``OTHER_LAYOUT``, or cannot be read, also when that shows
        later: ``fix``.
    """
    try:
        opened = pq.ParquetFile(path, memory_map=True, page_checksum_verification=True)
    except FileNotFoundError:
        raise InputError("file does not exist", file=path, fix=absent) from None
    except UNREADABLE as error:
        raise _no_table(path, error, fix) from None
    with opened as file:
        if foreign := next((name for name in OTHER_LAYOUT if name in file.schema_arrow.names), None):
            raise InputError("a log of another layout", file=path, column=foreign, fix="Score the particles again")
        try:
            yield file
        except UNREADABLE as error:
            if isinstance(error, InputError) or (isinstance(error, OSError) and error.errno):  # of another file
                raise
            raise _no_table(path, error, fix) from None


def _no_table(path: str | Path, error: Exception, fix: str) -> InputError:
    return InputError(f"not a readable Parquet file ({why(error)})", file=path, fix=fix)


def read_table(
    path: str | Path, columns: list[str] | None = None, *, shard: Shard = WHOLE, fix: str = AGAIN
) -> pa.Table:
    """Read a Parquet table written by this project, or say why that is impossible, and the fix.

    Of a shard only the row groups that hold it are read.
    """
    with open_table(path, fix=fix) as file:
        missing = next((name for name in columns or () if name not in file.schema_arrow.names), None)
        if missing is not None:
            raise InputError(
                f"the table has no column {missing!r}", file=path, column=missing, fix="Run snakemake again"
            )
        table = file.read(columns=columns) if shard == WHOLE else _read_range(file, columns, shard)
    return table if columns is None else table.select(columns)


def _read_range(file: pq.ParquetFile, columns: list[str] | None, shard: Shard) -> pa.Table:
    """The rows of a shard."""
    sizes = [file.metadata.row_group(g).num_rows for g in range(file.metadata.num_row_groups)]
    starts = np.cumsum([0, *sizes])
    rows = shard.row_range(int(starts[-1]))
    groups = [g for g, n in enumerate(sizes) if starts[g] < rows.stop and rows.start < starts[g] + n]
    first = int(starts[groups[0]]) if groups else 0
    table = file.read_row_groups(groups, columns=columns)
    return table.slice(rows.start - first, rows.stop - rows.start)


def read_schema(path: str | Path) -> pa.Schema:
    """The columns of a Parquet table and its description."""
    with open_table(path) as file:
        return file.schema_arrow


def conforming(
    table: pa.Table, schema: pa.Schema, *, file: str | Path, fix: str = AGAIN, gaps: Collection[str] = ()
) -> pa.Table:
    """The columns of ``schema`` in its types.

    Raises
    ------
    InputError  if one is missing, of another kind, or has empty places although it is not among ``gaps``.
    """
    columns = []
    for field in schema:
        if field.name not in table.column_names:
            raise InputError("the column is missing", file=file, column=field.name, fix=fix)
        column = table.column(field.name)
        if _kind(column.type) != _kind(field.type):
            problem = f"it holds {_kind(column.type)} where {_kind(field.type)} are expected"
            raise InputError(problem, file=file, column=field.name, fix=fix)
        if column.null_count and field.name not in gaps:
            row = int(np.argmax(column.is_null().to_numpy()))
            raise InputError("there is no value", file=file, row=row + 1, column=field.name, fix=fix)
        try:
            columns.append(column.cast(field.type))
        except pa.ArrowException as error:
            raise InputError(f"a value is out of range ({why(error)})", file=file, column=field.name, fix=fix) from None
    return pa.Table.from_arrays(columns, schema=schema)


def _kind(kind: pa.DataType) -> str:
    """What a column holds, as text."""
    if pa.types.is_dictionary(kind):
        return _kind(kind.value_type)
    names = {"whole numbers": pa.types.is_integer, "numbers": pa.types.is_floating, "flags": pa.types.is_boolean}
    texts = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return next((name for name, is_it in names.items() if is_it(kind)), "texts" if texts else str(kind))


def refuse_rows(bad: NDArray[Any], values: NDArray[Any], column: str, fault: str, *, file: str | Path) -> None:
    """Refuse the first row ``(n,)`` of a table for which ``bad`` holds; ``fault`` follows its value."""
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(f"{values[row]:g} {fault}", file=file, row=row + 1, column=column, fix=AGAIN)


def as_numpy(column: pa.ChunkedArray) -> NDArray[Any]:
    """A column ``(n,)``, maybe read-only; without starting pandas where these are numbers or flags, none missing,
    or names in a dictionary, None where one is missing."""
    if pa.types.is_boolean(column.type) and not column.null_count:
        return as_numpy(column.cast(pa.uint8())).astype(bool)
    if pa.types.is_dictionary(column.type) and len(column):
        codes = column.unify_dictionaries().combine_chunks()
        names = [*codes.dictionary.to_pylist(), None]
        places = codes.indices.cast(pa.int32())
        if column.null_count:
            places = places.fill_null(len(names) - 1)
        return np.array(names, dtype=object)[as_numpy(pa.chunked_array([places]))]
    number = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    if not number or column.null_count or not column.num_chunks:
        return np.asarray(column.to_numpy())
    parts = [np.from_dlpack(chunk) for chunk in column.chunks]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
