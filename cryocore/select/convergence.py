"""Rounds that change nothing: how much the sums of a round would differ from those of the one before.

A particle counts in a half map by its weight times its envelope, a = w g exp(-B s²/4). Where these change, the noise of
the map changes by the same share:

    change = max over half sets and bands of  sqrt(sum of (a - a')² / sum of a'²),

over the bands in which the map holds signal. Below ``select.tolerance`` the round keeps the weights and envelopes of
the one before, and with them its maps and scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cryocore.log.bands import mean_squared_frequency
from cryocore.tables.particles import BFACTOR, SCALE
from cryocore.types import Floats

LEAST_SIGNAL = 0.1
"""Share of signal in the map from which on a band counts."""


def change(subset: pa.Table, last: pa.Table, half: NDArray[np.integer[Any]], metadata: Mapping[str, Any]) -> float:
    """How much the sums of half sets would differ from the last ones.

    Parameters
    ----------
    subset, last : tables of the same particles with their weights and, where they differ, their envelopes
    half : ``(n,)``, 1 or 2
    metadata : of a log, whose bands count
    """
    frequencies = np.append(0.0, mean_squared_frequency(metadata)[np.asarray(metadata["signal_share"]) > LEAST_SIGNAL])
    of_each = []
    for frequency2 in frequencies if BFACTOR in subset.column_names + last.column_names else frequencies[:1]:
        now, before = (_amplitude(table, float(frequency2)) for table in (subset, last))
        of_each += [_relative(now[half == h], before[half == h]) for h in (1, 2)]
    return max(of_each)


def _amplitude(table: pa.Table, frequency2: float) -> Floats:
    """How much each particle counts at a squared frequency in 1/Å², ``(n,)``."""
    amplitude = table.column("weight").to_numpy().astype(np.float64)
    if BFACTOR in table.column_names:
        amplitude *= table.column(SCALE).to_numpy() * np.exp(-0.25 * frequency2 * table.column(BFACTOR).to_numpy())
    return amplitude


def _relative(now: Floats, before: Floats) -> float:
    total = float(np.square(before).sum())
    return float(np.sqrt(np.square(now - before).sum() / total)) if total > 0 else np.inf
