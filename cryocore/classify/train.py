"""Models for other data sets: fitted to a training set of finished runs, scored by ensembles on what they have not
seen."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.classify.ensemble import Folds
from cryocore.classify.evaluation import Evaluation
from cryocore.classify.examples import Examples
from cryocore.classify.models import fit_model, save_model
from cryocore.classify.results import write_results
from cryocore.classify.rounds import ScoredRound
from cryocore.classify.start import fit_beside, start_of
from cryocore.classify.training_set import TrainingSet, make_training_set, true_training_set
from cryocore.config.classify import Classify
from cryocore.errors import InputError
from cryocore.log.rounds import open_round
from cryocore.simulate.plant import CORRECT

log = logging.getLogger(__name__)


def training_set_of(scored: ScoredRound, settings: Classify, labels: str) -> TrainingSet:
    """Training particles of a finished round; ``labels`` may be ``truth``, where its log knows which particles are
    correct."""
    if labels != "truth":
        return make_training_set(scored, settings)
    return true_training_set(scored, settings, *known_truth(scored))


def known_truth(scored: ScoredRound) -> tuple[NDArray[np.int8], NDArray[np.str_]]:
    """Flags ``(n,)``, 1 correct, 0 incorrect, -1 unknown, and kinds of error as far as the run knows them.

    Raises
    ------
    InputError  if the log flags no particle.
    """
    log_round = open_round(scored.scores)
    flags = log_round.flags()
    if not (flags >= 0).any():
        raise InputError(
            "the log does not know which particles are correct",
            file=scored.scores,
            fix="Use labels planted, or plant errors (input.plant) and run the workflow on them",
        )
    kinds = np.where(flags == 1, CORRECT, "incorrect").astype("<U16")
    if "error_kind" in log_round.columns:
        known = log_round.table(["error_kind"]).column(0).fill_null("unknown")
        kinds = np.array(known.to_pylist(), dtype="<U16")
    return flags, kinds


def train(
    rounds: Sequence[ScoredRound], settings: Classify, labels: str, out_dir: Path, *, seed: int, device: str = "cpu"
) -> Evaluation:
    """Fit a model to the training particles of one or more rounds and write it with its card.

    The card is that of an ensemble, which scores every training particle by a model that has not seen it; the model
    itself is fitted to all training particles but those that say when to stop, and its log odds are scaled as the
    ensemble's.
    """
    training_set = joined([training_set_of(scored, settings, labels) for scored in rounds])
    folds = Folds.of(training_set.examples.micrograph, settings.n_folds, seed)
    kind = settings.model
    training: dict[str, Any] = {"folder": out_dir / "training", "device": device}
    start = start_of(settings, training_set.examples.pictures)
    ensemble, others = fit_beside(kind, training_set, folds, settings, start, seed=seed, **training)
    slope, intercept = np.mean([ensemble.scale[h] for h in (1, 2)], axis=0).tolist()
    stopping = folds(training_set.examples) == 0
    given: tuple[Any, ...] = training_set.examples, training_set.correct, training_set.weight, stopping, settings
    model = fit_model(kind, *given, seed=seed, **training, name="final", start=start and start.network)
    about: dict[str, Any] = {
        "kind": kind,
        "labels": labels,
        "image_size": settings.image_size,
        "scale": [slope, intercept],
        "runs": [str(scored.directory.parent.name) for scored in rounds],
        "features": list(training_set.examples.names),
        **({} if start is None else {"start": start.about()}),
    }
    save_model(out_dir, model, about)
    log.info("%s written", out_dir)
    log_odds = ensemble.log_odds(training_set.examples)
    return write_results(out_dir, rounds[0], training_set, log_odds, about, folds, others)


def joined(parts: Sequence[TrainingSet]) -> TrainingSet:
    """Training particles of several rounds; micrographs of different ones differ."""
    if len(parts) == 1:
        return parts[0]
    ids = np.concatenate([np.unique(part.examples.ids) for part in parts])
    n_shared = len(ids) - len(np.unique(ids))
    if n_shared:
        raise InputError(
            f"the runs share {n_shared} particles: what a model has seen of one it would be scored by in another",
            fix="Train on runs of different images, or on one of them",
        )
    examples = []
    for number, part in enumerate(parts):
        names = np.char.add(f"{number}:", part.examples.micrograph)
        examples.append(replace(part.examples, micrograph=names))
    arrays = {name: np.concatenate([getattr(p, name) for p in parts]) for name in ("correct", "weight", "kinds")}
    return TrainingSet(Examples.joined(examples), **arrays)
