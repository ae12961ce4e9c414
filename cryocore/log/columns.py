"""Columns of a log as arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
from numpy.typing import NDArray

from cryocore.errors import InputError
from cryocore.log.names import NOT_SCORES
from cryocore.tables.io import AGAIN, as_numpy, read_table


def read_columns(log_file: Path, names: list[str]) -> dict[str, NDArray[Any]]:
    """Columns of a log as arrays ``(n,)``; lists, all of one length k, as ``(n, k)``.

    Raises
    ------
    InputError  if the file lacks one, or it holds texts; names of files are in dictionaries.
    """
    return numeric_columns(read_table(log_file, names), log_file)


def numeric_columns(table: pa.Table, file: Path) -> dict[str, NDArray[Any]]:
    """The columns of a table of ``file`` as :func:`read_columns` gives them."""
    texts = [f.name for f in table.schema if pa.types.is_string(f.type)]
    if texts:
        raise InputError("it holds texts where numbers are expected", file=file, column=texts[0], fix=AGAIN)
    return table_columns(table)


def table_columns(table: pa.Table) -> dict[str, NDArray[Any]]:
    """The columns of a table as arrays, whatever they hold."""
    return {name: _array(table.column(name)) for name in table.column_names}


def _array(column: pa.ChunkedArray) -> NDArray[Any]:
    if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
        flat = as_numpy(pa.chunked_array([chunk.flatten() for chunk in column.chunks], column.type.value_type))
        return flat.reshape(len(column), -1) if len(column) else flat.reshape(0, 0)
    return as_numpy(column)


def score_columns(schema: pa.Schema) -> list[str]:
    """Names of the columns of a log that score a particle, in order."""
    return [f.name for f in schema if pa.types.is_floating(f.type) and f.name not in NOT_SCORES]
