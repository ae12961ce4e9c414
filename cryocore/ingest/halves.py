"""Half sets: those of the file, or a seeded split that keeps micrographs whole."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryocore.errors import InputError
from cryocore.hashing import mix
from cryocore.ingest.columns import Columns
from cryocore.types import Ids, Ints

log = logging.getLogger(__name__)

SUBSET = "rlnRandomSubset"
MAX_SHARE = 0.6


def half_sets(columns: Columns, ids: NDArray[np.uint64], micrographs: NDArray[np.object_], seed: int) -> Ints:
    """Half set of each particle, 1 or 2, ``(n,)``.

    ``rlnRandomSubset`` is used if it has both values; otherwise :func:`split` makes the halves, and the log says so.
    """
    file = columns.tables.path
    if len(columns) < 2:
        raise InputError("two half sets need at least two particles", file=file, fix="Give more particles")
    if columns.has(SUBSET):
        given = columns.numbers(SUBSET)
        columns.require(np.isin(given, (1, 2)), SUBSET, given, "a half set (1 or 2)", "Correct it or remove the column")
        if given.min() != given.max():
            first = int((given == 1).sum())
            if max(first, len(given) - first) > MAX_SHARE * len(given):
                log.warning("%s: uneven half sets, %d and %d particles", file, first, len(given) - first)
            return given.astype(np.int64)
        log.info("%s: %s is %d in every row and is ignored", file, SUBSET, int(given[0]))
    half, unit = split(ids, micrographs, seed)
    counts = ", ".join(str(int((half == h).sum())) for h in (1, 2))
    log.info("%s: half sets made from seed %d, by %s: %s particles", file, seed, unit, counts)
    return half


def split(ids: NDArray[np.uint64], micrographs: NDArray[np.object_], seed: int) -> tuple[Ints, str]:
    """Two balanced half sets, of whole micrographs where they allow it, else of particles.

    Micrographs come in random order, the largest first, and go to the smaller half. Particles are ordered by a hash
    of their id and the seed and go to either half in turn.

    Returns
    -------
    half : (n,)      1 or 2
    unit : "micrograph" or "particle"
    """
    code, names = pd.factorize(micrographs)
    if len(names) > 1:
        size = np.bincount(code)
        shuffled = np.random.default_rng(seed).permutation(len(names))
        order = shuffled[np.argsort(-size[shuffled], kind="stable")]
        half_of, total = np.zeros(len(names), dtype=np.int64), [0, 0]
        for micrograph in order:
            side = int(total[1] < total[0])
            half_of[micrograph], total[side] = side + 1, total[side] + int(size[micrograph])
        if max(total) <= MAX_SHARE * len(ids):
            return half_of[code], "micrograph"
    rank = np.empty(len(ids), dtype=np.int64)
    rank[np.argsort(_hashes(ids, seed), kind="stable")] = np.arange(len(ids))
    return rank % 2 + 1, "particle"


def _hashes(ids: Ids, seed: int) -> Ids:
    with np.errstate(over="ignore"):
        return mix(ids + np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64))
