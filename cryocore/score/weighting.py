"""The weights of bands, as the log has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.log.bands import coefficients_noise
from cryocore.score.scores import Weighting


def weighting(metadata: Mapping[str, Any], columns: Mapping[str, NDArray[Any]], bands: slice) -> Weighting:
    """What the bands of some particles are worth, by the log's metadata and columns."""
    half = columns["half"].astype(np.intp) - 1
    signal = np.asarray(metadata["signal_share"])[bands]
    mean, view_correlation = (
        np.asarray(metadata[n])[:, bands][half] for n in ("rotational_average", "neighbour_correlation")
    )
    return Weighting(coefficients_noise(metadata, columns)[:, bands], signal, mean, view_correlation)
