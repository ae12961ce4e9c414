"""The weights of bands, as the log has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.score.scores import Weighting


def weighting(metadata: Mapping[str, Any], columns: Mapping[str, NDArray[Any]], bands: slice) -> Weighting:
    """What the bands of some particles are worth, by the log's metadata and columns."""
    half = columns["half"].astype(np.intp) - 1
    if "noise_power" in columns:
        power = np.nan_to_num(columns["noise_power"][:, bands].astype(np.float64), nan=np.inf)
    else:
        groups = np.array([[np.inf if v is None else v for v in row[bands]] for row in metadata["noise_power"]])
        power = groups[columns["optics_group"]]
    if metadata["score_settings"]["noise_per_particle"]:
        power = power * columns["noise_factor"].astype(np.float64)[:, None]
    signal = np.asarray(metadata["signal_share"])[bands]
    mean, view_correlation = (
        np.asarray(metadata[n])[:, bands][half] for n in ("rotational_average", "neighbour_correlation")
    )
    return Weighting(power, signal, mean, view_correlation)
