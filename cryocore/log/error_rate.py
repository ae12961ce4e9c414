"""How many particles are incorrect: an estimate with its 95 % interval, and a second opinion."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from cryocore.hashing import hashed_order
from cryocore.log.evidence import Evidence, evidence
from cryocore.log.mixture import FEWEST, FINE, Mixture, evidence_log_odds, expectation_maximisation, fit_evidence
from cryocore.statistics import posterior
from cryocore.types import Floats, Ids

log = logging.getLogger(__name__)


BOOTSTRAP = 50
"""Fits to resampled particles."""
RESAMPLED = 1_000
"""Most particles that are resampled; the spread found with them is scaled to all of them."""
COARSE = 1e-4
"""Mean change of the probability of being correct by a step at which such a fit ends."""
MODEL_ERROR, PER_AMBIGUITY = 0.01, 0.25
"""Standard deviation of what the model itself is wrong by: a constant, and a share of the mean of p (1 - p) over the
particles, with p the probability of being correct; see docs/explanation/error-model.md."""
DISAGREEMENT = 0.1
"""Difference from Storey's estimate that is worth a note."""
INVERTED, LEAST_INVERTED = -2.5, 0.1
"""zc below which an image shows the inverse of its prediction, where 0.6 % of junk is, and the share of such images
that is worth a note: gold beads bring 4 %."""
NO_SIGNAL = "images match the map at random poses as well as at their own"


@dataclass(frozen=True)
class ErrorRate:
    """Share of the particles that are not correct.

    ``value`` with its 95 % interval ``low`` to ``high``; ``method`` is mixture, or none where there are too few
    particles or no signal, when the interval says nothing; ``second_opinion`` is Storey's estimate, NaN where there is
    none; ``note`` is empty unless the two disagree, images are inverted, or the interval says nothing.
    """

    value: float
    low: float
    high: float
    method: str
    second_opinion: float
    note: str

    def of_chance(self) -> ErrorRate:
        """The same where images show no signal: the model then tells chance from chance."""
        return replace(self, low=0.0, high=1.0, method="none", note=NO_SIGNAL)

    def as_dict(self) -> dict[str, float | str | None]:
        """Values for JSON, rounded; None for what is not a number."""
        numbers = {name: getattr(self, name) for name in ("value", "low", "high", "second_opinion")}
        plain = {name: round(v, 4) if np.isfinite(v) else None for name, v in numbers.items()}
        return {**plain, "method": self.method, "note": self.note}

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> Self | None:
        """What the metadata of a log or of a subset hold, as :meth:`as_dict` gave it; None where they hold none."""
        found = metadata.get("error_rate")
        if not found:
            return None
        values: dict[str, Any] = {name: np.nan if value is None else value for name, value in found.items()}
        return cls(**values)


def estimate(
    columns: Mapping[str, NDArray[Any]],
    *,
    ids: Ids,
    half: NDArray[np.int8],
    seed: int = 0,
    symmetry: str | None = None,
) -> ErrorRate:
    """The error rate of a data set from the log of one round.

    Parameters
    ----------
    columns : those of ``cryocore.log.evidence.MIXTURE_COLUMNS`` that the log has, each ``(n,)``, and random_pose_z
        ``(n, k)``
    ids : (n,)   stable ids; copies of an image share its id, and are drawn together
    half : (n,)  half sets, kept equal in size when particles are resampled
    seed : of the resampling
    """
    data = evidence(columns, symmetry)
    model = fit_evidence(data, ids=ids, seed=seed)
    log_odds = evidence_log_odds(model, data)
    return estimate_from(data, model, log_odds, columns, ids=ids, half=half, seed=seed)


def estimate_from(
    data: Evidence,
    model: Mixture,
    log_odds: Floats,
    columns: Mapping[str, NDArray[Any]],
    *,
    ids: Ids,
    half: NDArray[np.int8],
    seed: int = 0,
    share: float | None = None,
    doubt: float = 0.0,
) -> ErrorRate:
    """:func:`estimate` for a model that is fitted already, and the log odds ``(n,)`` by it.

    ``share`` is the estimate where it is known better, and ``doubt`` the standard deviation of what is known beside the
    model.
    """
    second = storey(columns, data)
    if data.known.sum() < FEWEST:
        return ErrorRate(second if np.isfinite(second) else 0.0, 0.0, 1.0, "none", second, "too few particles")
    value = model.error_rate if share is None else share
    deviations = resampled(data, model, ids=ids, half=half, seed=seed) - model.error_rate
    below, above = np.quantile(deviations, [0.025, 0.975])
    likely = np.sort(posterior(log_odds)[data.known])  # the same sum in any order of rows
    own = MODEL_ERROR + PER_AMBIGUITY * float(np.mean(likely * (1.0 - likely)))
    own = ndtri(0.975) * float(np.hypot(own, doubt))
    low = max(0.0, value - float(np.hypot(max(above, 0.0), own)))
    high = min(1.0, value + float(np.hypot(max(-below, 0.0), own)))
    note = inverted(columns, data) or disagreement(value, low, high, second)
    return ErrorRate(value, low, high, "mixture", second, note)


def resampled(data: Evidence, model: Mixture, *, ids: Ids, half: NDArray[np.int8], seed: int) -> Floats:
    """Error rates ``(BOOTSTRAP,)`` of models fitted to particles drawn with replacement within each half set.

    Of more than 1,000 particles a part is drawn, and deviations from the model's error rate shrink by the root of the
    ratio. Particles of one id, copies of an image, are drawn together, since they are right or wrong together.
    """
    rows = np.flatnonzero(data.known)
    part = rows[hashed_order(ids[rows], seed=seed, stream=12, most=RESAMPLED)]
    sample, halves = data.take(part), half[part]
    start = expectation_maximisation(sample, np.ones(len(part)), model, tolerance=FINE, learn=False)
    rng = np.random.default_rng(seed)
    rates = np.empty(BOOTSTRAP)
    first = np.unique(ids[part], return_index=True)[1]
    one_each = len(first) == len(part)
    unit = np.arange(len(part)) if one_each else np.unique(ids[part], return_inverse=True)[1]
    halves = halves if one_each else halves[first]
    for i in range(BOOTSTRAP):
        drawn = np.zeros(len(halves))
        for h in np.unique(halves):
            members = np.flatnonzero(halves == h)
            drawn[members] = np.bincount(rng.integers(len(members), size=len(members)), minlength=len(members))
        counts = drawn[unit]
        rates[i] = expectation_maximisation(sample, counts, start, tolerance=COARSE, learn=False).error_rate
    return model.error_rate + (rates - start.error_rate) * np.sqrt(len(part) / len(rows))


def storey(columns: Mapping[str, NDArray[Any]], data: Evidence | None = None) -> float:
    """Twice the share of particles in the lower half of the null distribution (Storey 2002); NaN if that is unknown.

    The median of zc is 0 for every other pose, and for junk. Without zc the null is that of z at random poses, relative
    to what they score in the mean on images of the same √E; junk then counts for more than it is. Pose errors that
    leave part of the score escape both, and where scores say little, correct particles count as incorrect.

    ``data`` is the evidence of the columns, where it is at hand.
    """
    data = evidence(columns) if data is None else data
    known = data.known
    if "junk" in data.classes and known.any():
        return min(1.0, 2.0 * float(np.mean(np.asarray(columns["zc"])[known] < 0.0)))
    random_poses = np.asarray(columns.get("random_pose_z", np.zeros((len(known), 0))), dtype=np.float64)
    known = known & np.isfinite(random_poses).all(axis=1)
    if random_poses.shape[1] == 0 or not known.any():
        return float("nan")
    null, root = random_poses[known], data.expected_z[known]
    slope = float(null.mean(axis=1) @ root / (root @ root))
    below = data.z[known] - slope * root < np.median(null - slope * root[:, None])
    return min(1.0, 2.0 * float(np.mean(below)))


def inverted(columns: Mapping[str, NDArray[Any]], data: Evidence) -> str:
    """What it means where many images match the map upside down; empty where few do."""
    told = data.known & ~data.spoilt
    if "junk" not in data.classes or not told.any():
        return ""
    share = float(np.mean(np.asarray(columns["zc"])[told] < INVERTED))
    return f"{100 * share:.0f} % of the images match the map with inverted contrast" if share >= LEAST_INVERTED else ""


def disagreement(value: float, low: float, high: float, second: float) -> str:
    """What it means where Storey's estimate is far from the model's; empty where it is not."""
    if not np.isfinite(second) or abs(second - value) <= max(DISAGREEMENT, high - low):
        return ""
    if second < value:
        return (
            f"other poses alone suggest {100 * second:.0f} %: many errors are small ones, which score better than any "
            "other pose"
        )
    return (
        f"other poses alone suggest {100 * second:.0f} %: scores tell correct from incorrect badly, or the model does "
        "not fit"
    )
