"""What the bands of a log are: their frequencies, and the noise of their coefficients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.types import Floats


def mean_squared_frequency(metadata: Mapping[str, Any]) -> Floats:
    """Mean of s² over the coefficients of each band ``(bands,)``, 1/Å².

    >>> mean_squared_frequency({"band_edges": [1, 2, 4], "box": 10, "pixel_size_angstrom": 1.0}).round(3).tolist()
    [0.01, 0.07]
    """
    edges = np.asarray(metadata["band_edges"], dtype=np.int64)
    shell = np.arange(edges[-1], dtype=np.float64)
    of_band = np.add.reduceat(shell**3, edges[:-1]) / np.add.reduceat(shell, edges[:-1])
    return np.asarray(of_band / (metadata["box"] * metadata["pixel_size_angstrom"]) ** 2)


def coefficients_noise(metadata: Mapping[str, Any], columns: Mapping[str, NDArray[Any]]) -> Floats:
    """Noise power per coefficient of some particles, ``(n, bands)``; infinite where their images have none.

    By ``noise_power`` of their rows, else of their optics groups, and as the scores took it, ``noise_factor``.
    """
    if "noise_power" in columns:
        power = np.nan_to_num(columns["noise_power"].astype(np.float64), nan=np.inf)
    else:
        groups = np.array([[np.inf if v is None else v for v in row] for row in metadata["noise_power"]])
        power = groups[columns["optics_group"]]
    if metadata["score_settings"]["noise_per_particle"]:
        power = power * columns["noise_factor"].astype(np.float64)[:, None]
    return np.asarray(power)
