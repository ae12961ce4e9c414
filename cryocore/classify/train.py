"""Models for other data sets: fitted to lessons of finished runs, judged by committees on what they have not seen."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.classify.committee import Folds, fit_committee
from cryocore.classify.evaluation import Evaluation
from cryocore.classify.examples import Examples
from cryocore.classify.lessons import Lessons, make_lessons, true_lessons
from cryocore.classify.models import fit_model, save_model
from cryocore.classify.results import write_results
from cryocore.classify.rounds import ScoredRound
from cryocore.errors import InputError
from cryocore.ingest.plant import CORRECT
from cryocore.log.rounds import open_round
from cryocore.settings.classify import Classify

log = logging.getLogger(__name__)


def lessons_of(scored: ScoredRound, settings: Classify, labels: str) -> Lessons:
    """Lessons of a finished round; ``labels`` may be ``truth``, where its log knows which particles are right."""
    if labels != "truth":
        return make_lessons(scored, settings)
    return true_lessons(scored, settings, *known_truth(scored))


def known_truth(scored: ScoredRound) -> tuple[NDArray[np.int8], NDArray[np.str_]]:
    """Flags ``(n,)``, 1 right, 0 wrong, -1 unknown, and kinds of error as far as the run knows them.

    Raises
    ------
    InputError  if the log flags no particle.
    """
    log_round = open_round(scored.scores)
    flags = log_round.flags()
    if not (flags >= 0).any():
        raise InputError(
            "the log does not know which particles are right",
            file=scored.scores,
            remedy="Use labels planted, or plant errors (input.plant) and run the workflow on them",
        )
    kinds = np.where(flags == 1, CORRECT, "wrong").astype("<U16")
    if "error_kind" in log_round.columns:
        known = log_round.table(["error_kind"]).column(0).fill_null("unknown")
        kinds = np.array(known.to_pylist(), dtype="<U16")
    return flags, kinds


def train(
    rounds: Sequence[ScoredRound], settings: Classify, labels: str, out_dir: Path, *, seed: int, device: str = "cpu"
) -> Evaluation:
    """Fit a model to the lessons of one or more rounds and write it with its card.

    The card is that of a committee, which judges every lesson by a model that has not seen it; the model itself is
    fitted to all lessons but those that say when to stop, and its log odds are scaled as the committee's.
    """
    lessons = joined([lessons_of(scored, settings, labels) for scored in rounds])
    folds = Folds.of(lessons.examples.micrograph, settings.n_folds, seed)
    kind = settings.model
    training: dict[str, Any] = {"folder": out_dir / "training", "device": device}
    committee = fit_committee(kind, lessons, folds, settings, seed=seed, **training)
    slope, intercept = np.mean([committee.scale[h] for h in (1, 2)], axis=0).tolist()
    stopping = folds(lessons.examples) == 0
    given: tuple[Any, ...] = lessons.examples, lessons.right, lessons.weight, stopping, settings
    model = fit_model(kind, *given, seed=seed, **training, name="final")
    about: dict[str, Any] = {
        "kind": kind,
        "labels": labels,
        "image_size": settings.image_size,
        "scale": [slope, intercept],
        "runs": [str(scored.directory.parent.name) for scored in rounds],
        "features": list(lessons.examples.names),
    }
    save_model(out_dir, model, about)
    log.info("%s written", out_dir)
    return write_results(out_dir, rounds[0], lessons, committee.log_odds(lessons.examples), about, folds)


def joined(parts: Sequence[Lessons]) -> Lessons:
    """Lessons of several rounds; micrographs of different ones differ."""
    if len(parts) == 1:
        return parts[0]
    ids = np.concatenate([np.unique(part.examples.ids) for part in parts])
    n_shared = len(ids) - len(np.unique(ids))
    if n_shared:
        raise InputError(
            f"the runs share {n_shared} particles: what a model has seen of one it would be judged by in another",
            remedy="Train on runs of different images, or on one of them",
        )
    examples = []
    for number, part in enumerate(parts):
        names = np.char.add(f"{number}:", part.examples.micrograph)
        examples.append(replace(part.examples, micrograph=names))
    arrays = {name: np.concatenate([getattr(p, name) for p in parts]) for name in ("right", "weight", "kinds")}
    return Lessons(Examples.joined(examples), **arrays)
