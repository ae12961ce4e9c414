"""Classifiers: logistic regression and boosted trees on features, a convolutional network on pictures.

A model gives log odds of the classes that it was fitted to, both taken as equally frequent. Nothing is pickled: what
scikit-learn fits is stored by skops, networks as tensors; the description beside them is JSON.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import skops.io
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from cryocore.classify.examples import Examples
from cryocore.config.classify import CLASSIFIERS, Classify
from cryocore.errors import InputError
from cryocore.tables.io import atomic_path, why
from cryocore.types import Bools, Floats, Floats32

FORMAT = "cryocore.classify.model 1"
LEADING, LEAD = ("mixture",), 100.0
"""The feature that logistic regression starts from, all but free of its penalty: what the log's scores know already."""
PENALTIES = (1.0, 10.0, 100.0, 1000.0)
NEWTON: dict[str, Any] = {"solver": "newton-cholesky", "max_iter": 200}
LARGEST = 30.0
"""Log odds beyond which a model is not believed."""
GIVE = "Give a folder written by cryocore train"
TRUSTED = ("sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",)


class Model(Protocol):
    """What tells correct from incorrect."""

    def log_odds(self, examples: Examples) -> Floats:
        """Of correct against incorrect, ``(n,)``, both taken as equally frequent."""

    def save(self, folder: Path) -> None:
        """Write the model's own file into a folder."""


@dataclass(frozen=True)
class OnFeatures:
    """An estimator of scikit-learn, of features that are standardised and multiplied by ``gain`` ``(f,)``."""

    estimator: Any
    gain: Floats
    standard: StandardScaler | None = None

    def log_odds(self, examples: Examples) -> Floats:
        """See :class:`Model`."""
        values = examples.features if self.standard is None else self.standard.transform(examples.features)
        return np.clip(self.estimator.decision_function(values * self.gain), -LARGEST, LARGEST).astype(np.float64)

    def save(self, folder: Path) -> None:
        """As model.skops."""
        with atomic_path(folder / "model.skops") as temporary:
            skops.io.dump({"estimator": self.estimator, "gain": self.gain, "standard": self.standard}, temporary)


@dataclass(frozen=True)
class OnPictures:
    """A convolutional network (:mod:`cryocore.classify.network`)."""

    network: Any
    device: str = "cpu"

    def log_odds(self, examples: Examples) -> Floats:
        """See :class:`Model`."""
        return np.clip(self.network.log_odds(examples.pictures, device=self.device), -LARGEST, LARGEST)

    def save(self, folder: Path) -> None:
        """As network.pt."""
        self.network.save(folder / "network.pt")


@dataclass(frozen=True)
class Scaled:
    """A model whose log odds are scaled: slope and intercept."""

    model: Model
    slope: float
    intercept: float

    def log_odds(self, examples: Examples) -> Floats:
        """See :class:`Model`."""
        return np.clip(self.slope * self.model.log_odds(examples) + self.intercept, -LARGEST, LARGEST)

    def save(self, folder: Path) -> None:
        """As the model itself; the scale belongs to the description."""
        self.model.save(folder)


def fit_model(
    kind: str,
    examples: Examples,
    correct: Bools,
    weight: Floats32,
    validation: Bools,
    settings: Classify,
    *,
    seed: int,
    folder: Path | None = None,
    name: str = "",
    device: str = "cpu",
    start: Any = None,
) -> Model:
    """Fit a model of a kind.

    Parameters
    ----------
    correct : (n,)       the classes
    weight : (n,)      what each example counts among those of its class; the classes count the same
    validation : (n,)  examples that decide when to stop, whole micrographs; the others are learned from
    folder : where a network keeps what an interrupted training continues from
    name : of the progress bar
    start : a :class:`~cryocore.classify.network.Network` to go on from, for a network

    Raises
    ------
    InputError  if there are no examples of a class to learn from.
    """
    learned = ~validation
    for flag, what in ((True, "correct"), (False, "incorrect")):
        if not (learned & (correct == flag)).any():
            raise InputError(f"there is no example that is {what} to learn from", fix="Give more particles")
    if kind == "cnn":
        from cryocore.classify.network import Training, fit  # torch is not needed otherwise

        weight, labels = balanced(correct, weight, learned), correct.astype(np.float32)
        given: dict[str, Any] = {"seed": seed, "folder": folder, "name": name, "device": device, "start": start}
        network = fit(examples.pictures, labels, weight, validation, settings=Training.of(settings), **given)
        return OnPictures(network, device)
    if kind == "boosting":
        trees = boosted_trees(examples.features, correct, weight, validation, seed)
        return OnFeatures(trees, np.ones(len(examples.names)))
    gain = np.where(np.isin(examples.names, LEADING), LEAD, 1.0)
    standard = StandardScaler().fit(examples.features[learned])
    values = standard.transform(examples.features) * gain
    return OnFeatures(logistic(values, correct, weight, validation), gain, standard)


def logistic(values: Floats, correct: Bools, weight: Floats32, validation: Bools) -> LogisticRegression:
    """Ridge logistic regression whose penalty is the one that is best for the examples held back."""
    best, lowest = PENALTIES[0], np.inf
    learned = ~validation
    for penalty in PENALTIES if validation.any() else ():
        model = LogisticRegression(C=1.0 / penalty, **NEWTON)
        model.fit(values[learned], correct[learned], sample_weight=balanced(correct, weight, learned)[learned])
        loss = np.logaddexp(0.0, np.where(correct, -1.0, 1.0) * model.decision_function(values))
        held_back = float(np.average(loss[validation], weights=balanced(correct, weight, validation)[validation]))
        best, lowest = (penalty, held_back) if held_back < lowest else (best, lowest)
    everything = np.ones_like(correct)
    model = LogisticRegression(C=1.0 / best, **NEWTON)
    return model.fit(values, correct, sample_weight=balanced(correct, weight, everything))


def boosted_trees(
    features: Floats32, correct: Bools, weight: Floats32, validation: Bools, seed: int
) -> HistGradientBoostingClassifier:
    """Gradient boosting that stops when the examples held back gain no more."""
    learned = ~validation
    held_back: dict[str, Any] = {}
    if validation.any():
        own = balanced(correct, weight, validation)[validation]
        held_back = {"X_val": features[validation], "y_val": correct[validation], "sample_weight_val": own}
    model = HistGradientBoostingClassifier(
        learning_rate=0.05,
        max_iter=300,
        max_leaf_nodes=6,
        min_samples_leaf=30,
        l2_regularization=5.0,
        early_stopping=bool(held_back),
        n_iter_no_change=20,
        random_state=seed,
    )
    own = balanced(correct, weight, learned)[learned]
    with threadpool_limits(1, "openmp"):  # so few examples are slower on several threads
        return model.fit(features[learned], correct[learned], sample_weight=own, **held_back)


def balanced(correct: Bools, weight: Floats32, among: Bools) -> Floats32:
    """Weights ``(n,)`` with which both classes count the same among some examples, 1 in the mean."""
    out = weight.astype(np.float64)
    for flag in (True, False):
        members = correct == flag
        out[members] *= 0.5 * among.sum() / max(out[members & among].sum(), 1e-12)
    return out.astype(np.float32)


def save_model(folder: Path, model: Model, about: dict[str, Any]) -> None:
    """Write a model with its description, model.json."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder)
    with atomic_path(folder / "model.json") as temporary:
        temporary.write_text(json.dumps({"format": FORMAT, **about}, indent=2, sort_keys=True) + "\n")


def load_model(folder: Path, device: str = "cpu") -> tuple[Model, dict[str, Any]]:
    """A model, its log odds scaled, and its description.

    Raises
    ------
    InputError  if the folder holds none, or one that cannot be read without running code.
    """
    about = read_about(folder)
    return Scaled(_load(folder, about["kind"], device), *about["scale"]), about


def read_about(folder: Path) -> dict[str, Any]:
    """The description of a model.

    Raises
    ------
    InputError  if the folder holds none of this version.
    """
    file = folder / "model.json"
    try:
        about: dict[str, Any] = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"not a model ({why(error)})", file=file, fix=GIVE) from None
    valid = isinstance(about, dict) and about.get("format") == FORMAT and about.get("kind") in CLASSIFIERS
    if not valid or np.shape(about.get("scale", ())) != (2,):
        raise InputError("not a model of this version", file=file, fix=GIVE)
    return about


def _load(folder: Path, kind: str, device: str) -> Model:
    if kind == "cnn":
        from cryocore.classify.network import Network

        return OnPictures(Network.load(folder / "network.pt"), device)
    file = folder / "model.skops"
    try:
        return OnFeatures(**skops.io.load(file, trusted=list(TRUSTED)))
    except Exception as error:  # skops raises whatever its parts raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"the model cannot be read ({reason})", file=file, fix=GIVE) from None
