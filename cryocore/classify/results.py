"""What is known of a round's classifier: its card and its pictures, in a folder beside the scores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.classify.card import write_card
from cryocore.classify.ensemble import Folds, probability
from cryocore.classify.evaluation import Evaluation, compare, evaluate
from cryocore.classify.evaluation_figures import evaluation_figures
from cryocore.classify.example_images import ExampleImages
from cryocore.classify.rounds import ScoredRound
from cryocore.classify.training_set import TrainingSet
from cryocore.figures.look import save_both
from cryocore.simulate.plant import KINDS
from cryocore.types import Floats

SCORES = ("z", "zc", "ldac", "contrast", "local", "shift", "dual", "llr", "ncc", "mixture")
"""Features that are scores of the log, or rise with one."""
EXAMPLES = "examples.npz"
WHAT = {"logistic": "Logistic regression on features", "boosting": "Boosted trees on features"}


def write_results(
    out_dir: Path,
    scored: ScoredRound,
    training_set: TrainingSet,
    log_odds: Floats,
    about: dict[str, Any],
    folds: Folds,
    others: Mapping[str, Floats] | None = None,
) -> Evaluation:
    """Write the card of an ensemble: what it says of its training set, each scored by a model that has not seen it.

    Of training particles that are correct only as far as is known, those count that are probably correct. ``others``
    are the log odds ``(n,)`` of models that a fine-tuned one is compared with.
    """
    known = ~training_set.correct | (training_set.weight > 0.5)
    rows = np.flatnonzero(known)
    examples, correct = training_set.examples.take(rows), training_set.correct[rows]
    share = probability(log_odds[rows], "truth", float(1.0 - correct.mean()))
    given: dict[str, Any] = {"groups": examples.micrograph, "seed": scored.seed}
    evaluation = evaluate(share, correct, kinds=training_set.kinds[rows], **given)
    comparison = compare(share, scores_of(training_set, rows), correct, **given)
    tuning = compare(share, {n: odds[rows] for n, odds in others.items()}, correct, **given) if others else None
    write_card(
        out_dir,
        about=described(scored, training_set, about, folds),
        evaluation=evaluation,
        comparison=comparison,
        tuning=tuning,
        figures=evaluation_figures(evaluation, comparison),
    )
    return evaluation


def scores_of(training_set: TrainingSet, rows: NDArray[np.intp]) -> dict[str, Floats]:
    """The scores of the log, as far as features keep their order, ``(n,)`` each."""
    names, values = training_set.examples.names, training_set.examples.features[rows]
    return {name: values[:, names.index(name)].astype(np.float64) for name in SCORES if name in names}


def described(scored: ScoredRound, training_set: TrainingSet, about: dict[str, Any], folds: Folds) -> dict[str, Any]:
    """The card's words and tables."""
    kinds, counts = np.unique(training_set.kinds, return_counts=True)
    apart = "whole micrographs" if folds.of_micrograph is not None else "particles, since micrographs are few,"
    return {
        "name": f"{WHAT.get(about['kind'], 'Convolutional network on images')}, labels: {about['labels']}",
        "purpose": "Probability that a particle is correct, from band sums and images compared with the half maps.",
        "split": f"{folds.n} folds of {apart} within each half set: each training particle is scored by a model fitted "
        "to the other folds of its own half set. Where nobody has flagged them, correct means correct with a "
        "probability above 0.5 by the mixture of the log.",
        "data": {
            "round": int(scored.metadata["round"]),
            "box": int(scored.metadata["box"]),
            "pixel_size_angstrom": float(scored.metadata["pixel_size_angstrom"]),
            "particles": len(scored.data),
            "estimated_error_rate": float(scored.error_rate),
            "training_set": {str(kind): int(count) for kind, count in zip(kinds, counts, strict=True)},
            "planted": about["labels"] == "planted" or bool({*kinds.tolist()} & {*KINDS}),
        },
        "training": {name: value for name, value in about.items() if name != "features"},
    }


def write_example_images(out_dir: Path, example_images: ExampleImages) -> None:
    """Write examples.png and examples.npz: the particles that the classifier is most sure of."""
    save_both(example_images.figure(), out_dir, "examples")
    example_images.write(out_dir / EXAMPLES)
