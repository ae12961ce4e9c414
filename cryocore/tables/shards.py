"""Parts of a data set that are jobs of their own: ranges of rows, whose results are put together in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from cryocore.errors import InputError


@dataclass(frozen=True)
class Shard:
    """Part ``index``, from 0, of ``count`` parts of nearly the same size."""

    index: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """From ``index/count``.

        >>> Shard.parse("3/8")
        Shard(index=3, count=8)
        """
        index, _, count = text.partition("/")
        if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
            raise InputError(f"no shard {text!r}", fix="Write INDEX/COUNT, the index from 0")
        return cls(int(index), int(count))

    def row_range(self, n: int) -> slice:
        """Its rows of ``n``.

        >>> [Shard(i, 3).row_range(10) for i in range(3)]
        [slice(0, 3, None), slice(3, 6, None), slice(6, 10, None)]
        """
        return slice(self.index * n // self.count, (self.index + 1) * n // self.count)

    def rows(self, n: int) -> NDArray[np.intp]:
        """Its rows of ``n``, one by one."""
        return np.arange(n)[self.row_range(n)]


WHOLE = Shard()
"""All of it."""
