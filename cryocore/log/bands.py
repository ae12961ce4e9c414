"""What the bands of a log are: their frequencies, and the noise of their coefficients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.log.names import APPLIED_BFACTOR, APPLIED_SCALE
from cryocore.types import Floats, Ints

BAND_SUMS = ("inner_product", "projection_power", "noise_factor")
"""Columns that say what the bands of a particle's image have of its prediction."""
NOISE = (0.1, 10.0)
"""Bounds of ``noise_factor`` as a level of noise: what lies beyond is an image with something in it."""
GAIN_COUNT = 100.0
"""Information by which a band's mean ratio of image to prediction is drawn to 1: as known to ±0.1 beforehand."""


def mean_squared_frequency(metadata: Mapping[str, Any]) -> Floats:
    """Mean of s² over the coefficients of each band ``(bands,)``, 1/Å².

    >>> mean_squared_frequency({"band_edges": [1, 2, 4], "box": 10, "pixel_size_angstrom": 1.0}).round(3).tolist()
    [0.01, 0.07]
    """
    return of_coefficients(metadata, lambda s2: s2)


def of_coefficients(metadata: Mapping[str, Any], function: Callable[[Floats], Floats]) -> Floats:
    """Mean of a function of s² in 1/Å² over the coefficients of each band, ``(..., bands)``."""
    edges = np.asarray(metadata["band_edges"], dtype=np.int64)
    shell = np.arange(edges[-1], dtype=np.float64)
    values = function((shell / (metadata["box"] * metadata["pixel_size_angstrom"])) ** 2) * shell
    return np.asarray(np.add.reduceat(values, edges[:-1], axis=-1) / np.add.reduceat(shell, edges[:-1]))


def coefficients_noise(metadata: Mapping[str, Any], columns: Mapping[str, NDArray[Any]]) -> Floats:
    """Noise power per coefficient of some particles, ``(n, bands)``; infinite where their images have none.

    By ``noise_power`` of their rows, else of their optics groups, and as the scores took it, ``noise_factor``.
    """
    if "noise_power" in columns:
        power = np.nan_to_num(columns["noise_power"].astype(np.float64), nan=np.inf)
    else:
        power = _of_groups(metadata)[columns["optics_group"]]
    if metadata["score_settings"]["noise_per_particle"]:
        power = power * np.nan_to_num(columns["noise_factor"].astype(np.float64), nan=np.inf)[:, None]
    return np.asarray(power)


def noise_level(metadata: Mapping[str, Any], columns: Mapping[str, NDArray[Any]]) -> Floats:
    """Noise power of some particles' images over that of all optics groups in the geometric mean, ``(n,)``.

    That of the row or optics group, in the geometric mean of the bands that all groups know, and ``noise_factor`` where
    the scores took it.
    """
    groups = _of_groups(metadata)
    seen = np.isfinite(groups).any(axis=1)
    common = np.isfinite(groups[seen]).all(axis=0) & (groups > 0.0).all(axis=0)
    own = columns["noise_power"].astype(np.float64) if "noise_power" in columns else groups[columns["optics_group"]]
    known = common & np.isfinite(own) & (own > 0.0)
    of_all = np.log(np.where(common, groups[seen], 1.0)).sum(axis=0) / max(int(seen.sum()), 1)
    beyond = np.where(known, np.log(np.where(known, own, 1.0)) - of_all, 0.0)
    level = np.exp(beyond.sum(axis=1) / np.maximum(known.sum(axis=1), 1))
    if metadata["score_settings"]["noise_per_particle"]:
        level *= np.clip(np.nan_to_num(columns["noise_factor"].astype(np.float64), nan=1.0), *NOISE)
    return np.asarray(level)


def _of_groups(metadata: Mapping[str, Any]) -> Floats:
    """Noise power of optics groups ``(groups, bands)``; infinite where it is unknown."""
    return np.array([[np.inf if v is None else v for v in row] for row in metadata["noise_power"]], dtype=np.float64)


def signal_to_noise(
    metadata: Mapping[str, Any], columns: Mapping[str, NDArray[Any]], gain: Floats | float = 1.0
) -> tuple[Floats, Floats]:
    """c / sigma² and e / sigma² of some particles, ``(n, bands)`` each: of their image with its prediction, and of the
    prediction, shrunk to the share of the map that is signal and multiplied by ``gain``; 0 where sums are unknown."""
    factor = np.asarray(metadata["signal_share"]) * gain
    noise = coefficients_noise(metadata, columns)
    product, power = (np.asarray(columns[name], dtype=np.float64) for name in BAND_SUMS[:2])
    known = np.isfinite(product) & np.isfinite(power)
    return factor / noise * np.where(known, product, 0.0), factor**2 / noise * np.where(known, power, 0.0)


def without_envelope(
    metadata: Mapping[str, Any], columns: Mapping[str, NDArray[Any]], matched: Floats, energy: Floats
) -> tuple[Floats, Floats]:
    """What :func:`signal_to_noise` gives for predictions that have no B-factor and scale of their own, where the log
    has them."""
    undone: Floats | float = 1.0
    if APPLIED_BFACTOR in columns:
        applied = columns[APPLIED_BFACTOR].astype(np.float64)[:, None]
        undone = np.exp(0.25 * applied * mean_squared_frequency(metadata))
    if APPLIED_SCALE in columns:
        undone = undone / columns[APPLIED_SCALE].astype(np.float64)[:, None]
    return undone * matched, undone**2 * energy


def matches(matched: Floats, energy: Floats, envelopes: Floats) -> tuple[Floats, Floats]:
    """q c / sigma² and q² e / sigma² of n particles for each of some envelopes q ``(points, bands)``.

    Both ``(n, points)``, summed over bands; the log-likelihood of an envelope is the first less half of the second.
    """
    return times(matched, envelopes), times(energy, envelopes**2)


def over_scales(matched: Floats, energy: Floats, spread: float) -> Floats:
    """Log-likelihood g c - ½ g² e of what has c ``matched`` and e ``energy``, integrated over scales g that are normal
    about 1 with a standard deviation ``spread``."""
    found = matched - 0.5 * energy
    if spread > 0.0:
        left = 1.0 + spread**2 * energy
        found += 0.5 * spread**2 * (matched - energy) ** 2 / left - 0.5 * np.log(left)
    return found


def moments(log_density: Floats, mean: Floats, sd: Floats | float = 0.0) -> tuple[Floats, Floats]:
    """Mean and standard deviation ``(n,)`` of what has a ``mean`` and an ``sd`` at each point of a density
    ``(n, points)``."""
    density = np.exp(log_density - log_density.max(axis=1, keepdims=True))
    density /= density.sum(axis=1, keepdims=True)
    centre = np.sum(density * mean, axis=1)
    return centre, np.sqrt(np.sum(density * ((mean - centre[:, None]) ** 2 + np.square(sd)), axis=1))


def times(rows: Floats, matrix: Floats) -> Floats:
    """``rows @ matrix.T`` in an order of sums that does not depend on the number of cores."""
    return np.asarray(np.einsum("nk,mk->nm", rows, matrix))


def of_nodes(log_values: Floats, node: Ints, n_nodes: int) -> Floats:
    """Sums ``(nodes, points)`` of rows ``(n, points)`` by their node ``(n,)``."""
    order = np.argsort(node, kind="stable")
    found, starts = np.unique(node[order], return_index=True)
    sums = np.zeros((n_nodes, log_values.shape[1]))
    if len(found):
        sums[found] = np.add.reduceat(log_values[order], starts, axis=0)
    return sums
