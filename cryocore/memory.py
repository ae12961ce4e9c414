"""Memory that is used again: fresh memory costs page faults."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Memory:
    """Memory for one array after the other."""

    def __init__(self) -> None:
        self._bytes: NDArray[np.uint8] = np.empty(0, dtype=np.uint8)

    def array(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """An array of any content, in the memory of the last one."""
        n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
        if len(self._bytes) < n_bytes:
            self._bytes = self.allocate(n_bytes)
        return self._bytes[:n_bytes].view(dtype).reshape(shape)

    def allocate(self, n_bytes: int) -> NDArray[np.uint8]:
        """Fresh memory."""
        return np.empty(n_bytes, dtype=np.uint8)

    def holds(self, array: NDArray[Any]) -> bool:
        """Whether an array without gaps lies in it."""
        first, at = (a.__array_interface__["data"][0] for a in (self._bytes, array))
        return array.flags.c_contiguous and first <= at < first + len(self._bytes)
