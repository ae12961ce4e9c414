"""The stage: training particles, an ensemble of models, and its probability for every particle."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cryocore.backend import Backend
from cryocore.classify.ensemble import Folds, probability
from cryocore.classify.example_images import ExampleImages
from cryocore.classify.examples import Examples, examples_of
from cryocore.classify.models import load_model, save_model
from cryocore.classify.results import write_example_images, write_results
from cryocore.classify.rounds import ScoredRound
from cryocore.classify.start import fit_beside, start_of
from cryocore.classify.training_set import make_training_set
from cryocore.config.classify import Classify
from cryocore.log.names import PROBABILITY
from cryocore.tables.io import open_table, write_tables
from cryocore.types import Floats

log = logging.getLogger(__name__)

AT_A_TIME = 4096
"""Particles whose pictures are held in memory."""
TRAINING = "training"
"""Folder in the round's, of what an interrupted training continues from."""


def classify(
    particles: Path,
    scores: Path,
    round_dir: Path,
    subset: Path | None,
    *,
    settings: Classify,
    symmetry: str,
    seed: int,
    backend: Backend,
    out_table: Path,
    out_dir: Path,
    model: Path | None = None,
    cache: Path | None = None,
) -> None:
    """Write the probability of every particle, and what is known of the classifier to ``out_dir``.

    The classifier of a half set learns from particles of that half set alone, and every particle is scored by a model
    that has seen no particle of its micrograph.

    Parameters
    ----------
    scores : log.parquet of the round
    out_table : particle_id and probability; its metadata describe the classifier
    model : a folder written by ``cryocore train``; None: the run makes its own
    """
    given: dict[str, Any] = {"symmetry": symmetry, "seed": seed, "backend": backend, "cache": cache}
    scored = ScoredRound.read(particles, scores, round_dir, subset, **given)
    if model is not None:
        made, about = load_model(model, backend.device)
        log_odds: Callable[[Examples], Floats] = made.log_odds
    else:
        about = {"kind": settings.model, "labels": settings.labels, "image_size": settings.image_size}
        training_set = make_training_set(scored, settings)
        folds = Folds.of(scored.data.column("micrograph").astype(np.str_), settings.n_folds, seed)
        training: dict[str, Any] = {"folder": round_dir / TRAINING, "device": backend.device}
        start = start_of(settings, training_set.examples.pictures)
        about |= {} if start is None else {"start": start.about()}
        ensemble, others = fit_beside(settings.model, training_set, folds, settings, start, seed=seed, **training)
        log_odds = ensemble.log_odds
        save_model(out_dir, ensemble.models[1, 0], {**about, "scale": ensemble.scale[1]})  # for other runs
        write_results(out_dir, scored, training_set, log_odds(training_set.examples), about, folds, others)
    example_images = ExampleImages()
    write_tables(out_table, scored_tables(scored, log_odds, about, example_images), classifier=about)
    write_example_images(out_dir, example_images)


def scored_tables(
    scored: ScoredRound, log_odds: Callable[[Examples], Floats], about: dict[str, Any], example_images: ExampleImages
) -> Iterator[pa.Table]:
    """The probability, a row group of the log at a time; a few thousand particles are in memory at a time."""
    n_correct, start = 0, 0
    with open_table(scored.scores) as file:
        for group in range(file.num_row_groups):
            part = file.read_row_group(group)
            found = np.empty(len(part), dtype=np.float32)
            for first in range(0, len(part), AT_A_TIME):
                piece = part.slice(first, AT_A_TIME)
                rows = np.arange(start + first, start + first + len(piece))
                given = scored.weights, piece, scored.context, int(about["image_size"]), "classify"
                examples = examples_of(scored.scorer, scored.data, rows, *given)
                likely = probability(log_odds(examples), str(about["labels"]), scored.error_rate)
                example_images.add(examples, likely)
                found[first : first + len(piece)] = likely
            yield pa.table({"particle_id": part.column("particle_id"), PROBABILITY: found})
            n_correct, start = n_correct + int((found > 0.5).sum()), start + len(part)
    log.info("%d of %d particles are correct with a probability above 0.5", n_correct, start)
