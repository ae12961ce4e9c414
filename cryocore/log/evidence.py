"""What a log says of particles, as the mixture reads it: independent scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.errors import InputError
from cryocore.log.prior import covariates_of
from cryocore.statistics import centre_and_spread
from cryocore.types import Floats

Columns = Mapping[str, NDArray[Any]]

NEEDED_COLUMNS = ("z", "expected_z")
CENTRED_COLUMNS = ("zc", "expected_zc")
DISCERNING_COLUMNS = ("ldac", "expected_ldac")
ALTERNATIVES = {"slightly_misoriented": ("local", "mean_pose_gain"), "miscentred": ("shift", "mean_shift_gain")}
"""Kind of error -> log odds of the pose against poses of that kind, and what these gain in the mean."""
MIXTURE_COLUMNS = (
    *NEEDED_COLUMNS,
    *CENTRED_COLUMNS,
    *DISCERNING_COLUMNS,
    *(name for names in ALTERNATIVES.values() for name in names),
    "noise_factor",
)
"""Columns of the log that the model reads; all but z and expected_z may be missing, or NaN throughout."""

MOST_FADED, MOST_DEVIATIONS = 1.5, 4.0
"""Bounds of the logarithm of the brightness that k follows, as it is and in robust standard deviations: what lies
beyond is an image with something in it, such as a gold bead."""
FEWEST_SPOILT = 20
"""Images that are noisier than images of any brightness, whose scores say how wide they spread."""
SPOILT_EXCESS = 2.0
"""How much wider than by theory scores of spoilt images spread: their noise has four times the power."""
MOST_CROWDED = 4.0
"""Bound of the logarithm of the density of views that k follows."""


@dataclass(frozen=True)
class Odds:
    """Log-likelihood ratio of a pose to poses near it, as a function of how strong the image is.

    ``whole`` : ``(n,)``, of an image as strong as its prediction
    ``faint`` : ``(n,)``, its slope where nothing of the prediction is in the image
    """

    whole: Floats
    faint: Floats

    def at(self, strength: Floats) -> Floats:
        """Of images ``strength`` ``(n,)`` times as strong: a parabola to a strength of 1, a line beyond.

        The logarithm of a mean of exponentials is concave in the strength, so that the whole ratio of a faint image,
        scaled down, is too low.
        """
        return strength * (self.faint + np.minimum(strength, 1.0) * (self.whole - self.faint))

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> Odds:
        """Those of some particles."""
        return Odds(self.whole[rows], self.faint[rows])


@dataclass(frozen=True)
class Evidence:
    """What the log says of n particles.

    ``observed``, ``expected`` : ``(n, d)``, independent scores of unit variance, and what is expected of correct
        particles. d = 2: zc without ldac, and ldac; d = 1: zc, or z, where the log has not more
    ``z``, ``expected_z`` : ``(n,)``
    ``brightness`` : ``(n,)``, half the logarithm of the noise power over that of all; 0 where unknown
    ``crowding`` : ``(n,)``, logarithm of the density of views around a particle's own, over the median; 0 where unknown
    ``view_rank`` : ``(n,)``, rank of that density, from -1 for the fewest to 1; 0 where unknown
    ``ratios`` : kind of error -> log-likelihood ratio of correct to that kind; 0 where unknown
    ``covariates`` : ``(n, k)``, what is known before any score
    ``spoilt`` : ``(n,)``, images with something in them, whose scores say little
    ``classes`` : the kinds that can be distinguished, correct first; junk only where the log has zc
    """

    observed: Floats
    expected: Floats
    z: Floats
    expected_z: Floats
    brightness: Floats
    crowding: Floats
    view_rank: Floats
    ratios: dict[str, Odds]
    covariates: Floats
    spoilt: NDArray[np.bool_]
    classes: tuple[str, ...]

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        """Particles that have a score at all, ``(n,)``."""
        finite = np.isfinite(self.observed).all(axis=1) & np.isfinite(self.z) & np.isfinite(self.expected_z)
        return finite & (self.expected[:, 0] > 0) & (self.expected_z > 0)

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> Evidence:
        """The evidence of some particles."""
        return Evidence(
            self.observed[rows],
            self.expected[rows],
            self.z[rows],
            self.expected_z[rows],
            self.brightness[rows],
            self.crowding[rows],
            self.view_rank[rows],
            {kind: ratio.take(rows) for kind, ratio in self.ratios.items()},
            self.covariates[rows],
            self.spoilt[rows],
            self.classes,
        )


def evidence(columns: Columns, symmetry: str | None = None) -> Evidence:
    """Sort the columns of a log, each ``(n,)``, into what the model reads.

    ``symmetry`` is the point group of the views on which the prior depends; None: it depends on the expected score
    alone.

    Raises
    ------
    InputError  if z or expected_z is missing.
    """
    for name in NEEDED_COLUMNS:
        if name not in columns:
            raise InputError(f"the log lacks {name}", column=name, fix="Score the particles again")
    z, expected_z = (_floats(columns[name]) for name in NEEDED_COLUMNS)
    classes: list[str] = ["correct", "misoriented"]
    ratios: dict[str, Odds] = {}
    observed, expected, whole = z[:, None], expected_z[:, None], expected_z
    if _has(columns, *CENTRED_COLUMNS):
        classes.append("junk")
        observed, expected = (_floats(columns[name])[:, None] for name in CENTRED_COLUMNS)
        whole = expected[:, 0]
        if _has(columns, *DISCERNING_COLUMNS):
            ldac, expected_ldac = (_floats(columns[name])[:, None] for name in DISCERNING_COLUMNS)
            observed, expected = _parted(observed, expected, ldac, expected_ldac)
    covariates = covariates_of(columns, whole, symmetry)
    for kind, (name, gain) in ALTERNATIVES.items():
        if _has(columns, name):
            log_odds = np.nan_to_num(_floats(columns[name]), nan=0.0)
            faint = -np.nan_to_num(_floats(columns[gain]), nan=0.0) if _has(columns, gain) else log_odds
            ratios[kind] = Odds(log_odds, faint)
        if kind in ratios or (kind == "slightly_misoriented" and observed.shape[1] == 2):
            classes.append(kind)
    crowding = _crowding(covariates)
    excess = _excess(np.column_stack([observed, z]), outlying(columns))
    for kind, ratio in ratios.items():
        variance = excess[:, 0 if kind == "miscentred" else observed.shape[1] - 1] ** 2
        ratios[kind] = Odds(ratio.whole / variance, ratio.faint / variance)
    return Evidence(
        observed=observed / excess[:, :-1],
        expected=expected / excess[:, :-1],
        z=z / excess[:, -1],
        expected_z=expected_z / excess[:, -1],
        brightness=_brightness(columns),
        crowding=crowding,
        view_rank=_centred_rank(crowding),
        ratios=ratios,
        covariates=covariates,
        spoilt=excess.max(axis=1) >= SPOILT_EXCESS,
        classes=tuple(classes),
    )


def _floats(values: NDArray[Any]) -> Floats:
    return np.asarray(values, dtype=np.float64)


def _has(columns: Columns, *names: str) -> bool:
    return all(name in columns and np.isfinite(columns[name]).any() for name in names)


def outlying(columns: Columns) -> NDArray[np.bool_]:
    """Images ``(n,)`` that are noisier than images of any brightness are: something else is in them."""
    brightness, centre, reach = _log_brightness(columns)
    return brightness > centre + reach


def _brightness(columns: Columns) -> Floats:
    brightness, centre, reach = _log_brightness(columns)
    return np.where(np.abs(brightness - centre) <= reach, brightness, 0.0)


def _log_brightness(columns: Columns) -> tuple[Floats, float, float]:
    """Half the logarithm of each image's noise factor ``(n,)``, its median, and how far from it brightness may be."""
    factor = _floats(columns.get("noise_factor", np.ones(len(columns["z"]))))
    brightness = 0.5 * np.log(np.maximum(np.nan_to_num(factor, nan=1.0), 1e-6))
    centre, spread = centre_and_spread(brightness)
    return brightness, centre, min(MOST_DEVIATIONS * spread, MOST_FADED)


def _excess(scores: Floats, outlying: NDArray[np.bool_]) -> Floats:
    """How much wider than by theory the scores ``(n, k)`` of outlying images spread, ``(n, k)``; 1 for all others.

    Something else in an image, such as a gold bead, is no noise of the power that its scores suppose.
    """
    found = np.ones_like(scores)
    rows = np.flatnonzero(outlying & np.isfinite(scores).all(axis=1))
    if len(rows) >= FEWEST_SPOILT:
        found[rows] = [max(1.0, centre_and_spread(column)[1]) for column in scores[rows].T]
    return found


def _crowding(covariates: Floats) -> Floats:
    if covariates.shape[1] < 2:
        return np.zeros(len(covariates))
    density = np.log(np.maximum(covariates[:, 1], 1e-3))
    return np.clip(np.nan_to_num(density - np.nanmedian(density)), -MOST_CROWDED, MOST_CROWDED)


def _centred_rank(values: Floats) -> Floats:
    """Ranks ``(n,)`` from -1 to 1, equal values alike; 0 where all values are."""
    levels = np.sort(values)
    below, not_above = (np.searchsorted(levels, values, side=side) for side in ("left", "right"))
    return np.asarray((below + not_above) / max(len(values), 1) - 1.0)


def _parted(zc: Floats, expected_zc: Floats, ldac: Floats, expected_ldac: Floats) -> tuple[Floats, Floats]:
    """zc without ldac and ldac, ``(n, 2)``, and what is expected of them; ldac counts for nothing where it is unknown.

    Both are sums over the same noise, and correlate by the ratio of what is expected of them.
    """
    known = np.isfinite(ldac) & np.isfinite(expected_ldac) & (expected_zc > 0)
    ldac, expected_ldac = np.where(known, ldac, 0.0), np.where(known, expected_ldac, 0.0)
    ratio = np.divide(expected_ldac, expected_zc, out=np.zeros_like(zc), where=known)
    correlation = np.clip(ratio, 0.0, 0.99)
    rest = np.sqrt(1.0 - correlation**2)
    observed = np.concatenate([(zc - correlation * ldac) / rest, ldac], axis=1)
    return observed, np.concatenate([rest * expected_zc, expected_ldac], axis=1)
