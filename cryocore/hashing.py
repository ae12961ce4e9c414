"""Draws that are a function of a particle's id, and so of neither the order nor the grouping of the work."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cryocore.types import Floats, Ids


def hashed_uniform(ids: Ids, n: int, *, seed: int, stream: int, first: int = 0) -> Floats:
    """``(len(ids), n)`` numbers, uniform in [0, 1), that depend only on id, seed, stream and column, from ``first`` on.

    The mixing function is SplitMix64 (Steele et al. 2014, OOPSLA).
    """
    start = np.array([seed * 1009 + stream], dtype=np.uint64)
    mixed = mix(ids[:, None] ^ mix(start)[:, None])
    columns = mix(np.arange(first + 1, first + n + 1, dtype=np.uint64))[None, :]
    return (mix(mixed ^ columns) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def mix(x: Ids) -> Ids:
    """Well spread hashes of ids: one step of SplitMix64."""
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def hashed_order(ids: Ids, *, seed: int, stream: int, most: int | None = None) -> NDArray[np.intp]:
    """An order of particles that depends on ids and seed, and not on the order of rows: its first ``most``, or all."""
    place = hashed_uniform(ids, 1, seed=seed, stream=stream)[:, 0]
    if most is None or most >= len(ids):
        return np.lexsort((ids, place))
    first = np.flatnonzero(place <= np.partition(place, most - 1)[most - 1])
    return first[np.lexsort((ids[first], place[first]))][:most]
