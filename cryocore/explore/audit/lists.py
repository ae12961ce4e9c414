"""Lists to hold beside one that was selected: as many particles, drawn by their ids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cryocore.errors import InputError
from cryocore.hashing import hashed_uniform
from cryocore.log.rounds import LogRound
from cryocore.select.groups import BIN_COLUMNS, bins
from cryocore.types import Bools, Ids, Ints

STREAM = 31
SAME_SIZE, SAME_VIEWS = 0, 1
"""Streams of the draws of both kinds of lists."""


def dealt(selected: Bools, strata: NDArray[np.integer], images: Ids, *, seed: int, kind: int, repeat: int) -> Bools:
    """A list with as many particles of each stratum as one that was selected has, drawn at random ``(n,)``.

    Parameters
    ----------
    selected : (n,)
    strata : (n,)  group of each particle, from 0
    images : (n,)  id of the image of each: copies of an image are drawn together
    kind, repeat : which of several draws

    >>> chosen, strata = np.array([True, True, False, False, True]), np.array([0, 0, 0, 1, 1])
    >>> found = dealt(chosen, strata, np.arange(5, dtype=np.uint64), seed=0, kind=0, repeat=0)
    >>> np.bincount(strata[found]).tolist()
    [2, 1]
    """
    place = hashed_uniform(images, 1, seed=seed, stream=STREAM + kind, first=repeat)[:, 0]
    order = np.lexsort((np.arange(len(images)), images, place, strata))
    size = np.bincount(strata)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order)) - np.repeat(np.cumsum(size) - size, size)
    return np.asarray(rank < np.bincount(strata[selected], minlength=len(size))[strata])


def groups_within(log: LogRound, half: NDArray[np.int8], kinds: Sequence[str]) -> Ints:
    """The group of each particle ``(n,)``: its half set, and its bins of view, micrograph or defocus.

    Raises
    ------
    InputError  if the log does not know of a kind.
    """
    strata = half.astype(np.int64) - 1
    for kind in kinds:
        columns = {name: log.column(name) for name in BIN_COLUMNS[kind]}
        missing = [name for name, values in columns.items() if values is None]
        if missing:
            fix = "Deal within something else"
            raise InputError(f"the log knows no {kind} of its particles", file=log.path, column=missing[0], fix=fix)
        known = {name: values for name, values in columns.items() if values is not None}
        bin_index = bins(kind, known, log.symmetry)
        strata = np.unique(strata * (int(bin_index.max()) + 1) + bin_index, return_inverse=True)[1]
    return strata
