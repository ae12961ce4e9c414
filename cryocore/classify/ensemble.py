"""Models that score only what they have not seen: one per half set and fold of micrographs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from cryocore.classify.examples import Examples
from cryocore.classify.models import LARGEST, Model, balanced, fit_model
from cryocore.classify.training_set import TrainingSet
from cryocore.config.classify import Classify
from cryocore.errors import InputError
from cryocore.hashing import hashed_uniform
from cryocore.types import Bools, Floats, Floats32

log = logging.getLogger(__name__)

STREAM_FOLDS = 21
FEWEST_MICROGRAPHS = 2
"""Micrographs per fold, below which particles are put into folds one by one."""


@dataclass(frozen=True)
class Folds:
    """The fold of each micrograph by name, or of each particle by its id where there are too few micrographs."""

    n: int
    of_micrograph: Mapping[str, int] | None
    seed: int

    @classmethod
    def of(cls, micrograph: NDArray[np.str_], n: int, seed: int) -> Folds:
        """``micrograph`` ``(m,)`` are those of all particles."""
        names, sizes = np.unique(micrograph, return_counts=True)
        if len(names) < FEWEST_MICROGRAPHS * n:
            log.warning(
                "%d micrograph%s for %d folds: particles are split one by one",
                len(names),
                "" if len(names) == 1 else "s",
                n,
            )
            return cls(n, None, seed)
        fold, filled = {}, np.zeros(n, dtype=np.int64)
        order = np.random.default_rng([seed, STREAM_FOLDS]).permutation(len(names))
        for i in order[np.argsort(-sizes[order], kind="stable")]:
            smallest = int(np.argmin(filled))
            fold[str(names[i])] = smallest
            filled[smallest] += sizes[i]
        return cls(n, fold, seed)

    def __call__(self, examples: Examples) -> NDArray[np.intp]:
        """The fold of each example, ``(n,)``."""
        if self.of_micrograph is None:
            uniform = hashed_uniform(examples.ids, 1, seed=self.seed, stream=STREAM_FOLDS)[:, 0]
            return (uniform * self.n).astype(np.intp)
        names, at = np.unique(examples.micrograph, return_inverse=True)
        return np.array([self.of_micrograph[str(name)] for name in names], dtype=np.intp)[at]


@dataclass(frozen=True)
class Ensemble:
    """Models by half set and fold, each fitted to the other folds of its half set, and how their log odds are scaled.

    ``scale`` : slope and intercept by half set, from examples that the models have not seen
    """

    models: Mapping[tuple[int, int], Model]
    folds: Folds
    scale: Mapping[int, tuple[float, float]]

    def log_odds(self, examples: Examples) -> Floats:
        """Of each example by the model of its half set that has not seen its micrograph, ``(n,)``."""
        raw = unseen(self.models, self.folds, examples)
        slope, intercept = (np.array([self.scale[int(h)][i] for h in examples.half]) for i in range(2))
        return np.clip(slope * raw + intercept, -LARGEST, LARGEST)


def fit_ensemble(
    kind: str,
    training_set: TrainingSet,
    folds: Folds,
    settings: Classify,
    *,
    seed: int,
    folder: Path | None = None,
    device: str = "cpu",
    start: Any = None,
) -> Ensemble:
    """Fit an ensemble to a training set; networks go on from ``start`` if there is one.

    Raises
    ------
    InputError  if a half set has too few examples of a class.
    """
    examples, correct, weight = training_set.examples, training_set.correct, training_set.weight
    fold = folds(examples)
    models: dict[tuple[int, int], Model] = {}
    for h in (1, 2):
        for f in range(folds.n):
            members = np.flatnonzero((examples.half == h) & (fold != f))
            part, name = examples.take(members), f"half set {h}, fold {f + 1} of {folds.n}"
            stopping = fold[members] == (f + 1) % folds.n
            try:
                models[h, f] = fit_model(
                    kind,
                    part,
                    correct[members],
                    weight[members],
                    stopping,
                    settings,
                    seed=seed,
                    folder=folder and folder / f"half{h}_fold{f + 1}",
                    name=name,
                    device=device,
                    start=start,
                )
            except InputError as error:
                raise InputError(f"{name}: {error.problem}", setting="classify", fix="Give more particles") from None
    raw = unseen(models, folds, examples)
    scale = {h: calibration(*(v[examples.half == h] for v in (raw, correct, weight))) for h in (1, 2)}
    return Ensemble(models, folds, scale)


def unseen(models: Mapping[tuple[int, int], Model], folds: Folds, examples: Examples) -> Floats:
    """Log odds as the models give them."""
    fold, out = folds(examples), np.zeros(len(examples))
    for (h, f), model in models.items():
        members = np.flatnonzero((examples.half == h) & (fold == f))
        if len(members):
            out[members] = model.log_odds(examples.take(members))
    return out


def calibration(log_odds: Floats, correct: Bools, weight: Floats32) -> tuple[float, float]:
    """Slope and intercept that make log odds fit the classes, both counted the same (Platt 1999); slope >= 0."""
    even = balanced(correct, weight, np.ones_like(correct))
    model = LogisticRegression(C=1e3).fit(log_odds[:, None], correct, sample_weight=even)
    slope = float(model.coef_[0, 0])
    return (slope, float(model.intercept_[0])) if slope > 0 else (1e-3, 0.0)


def probability(log_ratio: Floats, labels: str, error_rate: float) -> Floats:
    """Probability of being correct, ``(n,)``, from log odds of the classes that were learned, equally frequent.

    Parameters
    ----------
    labels : what the classes were. ``truth``, ``planted``: correct and incorrect ones. ``probable``: correct ones, and
        particles as they are (Elkan & Noto 2008, KDD 213); where their ratio says more than certainty, a small part
        of it keeps them in order.
    error_rate : share of the particles that are incorrect
    """
    share = float(np.clip(error_rate, 1e-3, 1 - 1e-3))
    if labels != "probable":
        return np.asarray(expit(log_ratio + np.log((1 - share) / share)))
    return np.minimum((1.0 - share) * np.exp(log_ratio), 1.0 - 1e-4 * (1.0 - expit(log_ratio)))
