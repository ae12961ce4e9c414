"""Tables as text, a row to a line, without a loop over rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

ROWS_PER_CHUNK = 1 << 16


def as_array(values: Any) -> pa.Array:
    """A column ``(n,)`` of numbers or texts; truth values become 1 and 0."""
    array = np.asarray(values)
    if array.dtype.kind == "b":
        return pa.array(array.astype(np.int8))
    if array.dtype.kind == "f":
        return pa.array(array + array.dtype.type(0))  # no negative zeros
    if array.dtype.kind in "iu":
        return pa.array(array)
    return pa.array(array, pa.string(), from_pandas=False)


def text_lines(columns: Sequence[pa.Array]) -> Iterator[bytes]:
    """Lines of values with a space between them, many at a time; numbers in the fewest digits that are them."""
    n = len(columns[0])
    for low in range(0, n, ROWS_PER_CHUNK):
        part = [pc.cast(column.slice(low, ROWS_PER_CHUNK), pa.large_string()) for column in columns]
        rows = pc.binary_join_element_wise(*part, pa.scalar(" ", pa.large_string()))
        ended = pc.binary_join_element_wise(rows, pa.scalar("", pa.large_string()), pa.scalar("\n", pa.large_string()))
        offsets = np.frombuffer(ended.buffers()[1], dtype=np.int64, count=len(ended) + 1)
        yield ended.buffers()[2][int(offsets[0]) : int(offsets[-1])].to_pybytes()


def rounded(values: NDArray[Any], decimals: int) -> NDArray[Any]:
    """Double-precision numbers to so many decimals; others as they are."""
    return np.round(values, decimals) if values.dtype == np.float64 else values
