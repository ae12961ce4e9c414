"""Examples with classes, made within a round that has no truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryocore.classify.examples import Examples, examples_of
from cryocore.classify.planted import plant_errors, training_rows, without
from cryocore.classify.rounds import ScoredRound
from cryocore.config.classify import Classify
from cryocore.errors import InputError
from cryocore.simulate.plant import CORRECT
from cryocore.types import Bools, Floats32

PROBABLE = 0.9
"""Probability of being correct, by the mixture, from which a particle is an example of a correct one."""


@dataclass(frozen=True)
class TrainingSet:
    """Examples in two classes.

    ``correct``, ``weight`` ``(n,)`` : the class of each, and what it counts among those of its class
    ``kinds`` ``(n,)`` : what made the second class
    """

    examples: Examples
    correct: Bools
    weight: Floats32
    kinds: NDArray[np.str_]


def make_training_set(scored: ScoredRound, settings: Classify) -> TrainingSet:
    """Some particles of a round, scored by half maps that lack them, in two classes.

    ``planted``: as they are, each counting as much as it is probably correct by the mixture; and the same images made
    incorrect. ``probable``: those that are probably correct, and all of them.
    """
    data, context, size = scored.data, scored.context, settings.image_size
    rows = training_rows(data, scored.weights, settings.n_training, scored.seed)
    apart = without(scored.scorer, data, scored.weights, rows, scored.directory)
    nothing = np.zeros(len(data), dtype=np.float32)
    table = apart.table(data, rows, nothing, "training particles as they are")
    as_is = examples_of(apart, data, rows, nothing, table, context, size, "pictures as they are")
    likely = scored.likely[rows].astype(np.float32)
    if settings.labels == "planted":
        planted = plant_errors(data, rows, settings.errors, scored.seed)
        blind, incorrect = planted.scorer(apart, scored.seed), planted.particles
        table = blind.table(incorrect, rows, nothing, "training particles made incorrect")
        made = examples_of(blind, incorrect, rows, nothing, table, context, size, "pictures made incorrect")
        weight = np.concatenate([likely, np.ones_like(likely)])
        return _joined(as_is, made, weight, planted.kinds)
    best = np.flatnonzero(likely > PROBABLE)
    if len(best) == 0:
        raise InputError(
            f"no particle is correct with a probability above {PROBABLE}",
            setting="classify.labels",
            fix="Use planted",
        )
    weight = np.ones(len(best) + len(rows), dtype=np.float32)
    return _joined(as_is.take(best), as_is, weight, np.full(len(rows), "any"))


def true_training_set(
    scored: ScoredRound, settings: Classify, flags: NDArray[np.int8], kinds: NDArray[np.str_]
) -> TrainingSet:
    """Particles of which is known whether they are correct: ``flags`` ``(n,)`` 1 correct, 0 incorrect, -1 unknown."""
    rows = training_rows(scored.data, scored.weights, settings.n_training, scored.seed, most=1.0)
    rows = rows[flags[rows] >= 0]
    examples = scored.examples(rows, settings.image_size, "pictures")
    return TrainingSet(examples, flags[rows] == 1, np.ones(len(rows), dtype=np.float32), kinds[rows])


def _joined(correct: Examples, incorrect: Examples, weight: Floats32, kinds: NDArray[np.str_]) -> TrainingSet:
    flags = np.arange(len(correct) + len(incorrect)) < len(correct)
    names = np.concatenate([np.full(len(correct), CORRECT), kinds])
    return TrainingSet(Examples.joined([correct, incorrect]), flags, weight, names)
