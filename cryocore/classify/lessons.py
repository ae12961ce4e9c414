"""Examples with classes, made within a round that has no truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryocore.classify.examples import Examples, examples_of
from cryocore.classify.planted import lesson_rows, plant_errors, without
from cryocore.classify.rounds import ScoredRound
from cryocore.errors import InputError
from cryocore.ingest.plant import CORRECT
from cryocore.settings.classify import Classify
from cryocore.types import Bools, Floats32

PROBABLE = 0.9
"""Probability of being right, by the mixture, from which a particle is an example of a right one."""


@dataclass(frozen=True)
class Lessons:
    """Examples in two classes.

    ``right``, ``weight`` ``(n,)`` : the class of each, and what it counts among those of its class
    ``kinds`` ``(n,)`` : what made the second class
    """

    examples: Examples
    right: Bools
    weight: Floats32
    kinds: NDArray[np.str_]


def make_lessons(scored: ScoredRound, settings: Classify) -> Lessons:
    """Some particles of a round, judged by half maps that lack them, in two classes.

    ``planted``: as they are, each counting as much as it is probably right by the mixture; and the same images made
    wrong. ``probable``: those that are probably right, and all of them.
    """
    data, context, size = scored.data, scored.context, settings.image_size
    rows = lesson_rows(data, scored.weights, settings.n_lessons, scored.seed)
    apart = without(scored.scorer, data, scored.weights, rows, scored.directory)
    nothing = np.zeros(len(data), dtype=np.float32)
    table = apart.table(data, rows, nothing, "lessons as they are")
    as_is = examples_of(apart, data, rows, nothing, table, context, size, "pictures as they are")
    likely = scored.likely[rows].astype(np.float32)
    if settings.labels == "planted":
        planted = plant_errors(data, rows, settings.errors, scored.seed)
        blind, wrong = planted.scorer(apart, scored.seed), planted.particles
        table = blind.table(wrong, rows, nothing, "lessons made wrong")
        made = examples_of(blind, wrong, rows, nothing, table, context, size, "pictures made wrong")
        weight = np.concatenate([likely, np.ones_like(likely)])
        return _joined(as_is, made, weight, planted.kinds)
    best = np.flatnonzero(likely > PROBABLE)
    if len(best) == 0:
        raise InputError(
            f"no particle is right with a probability above {PROBABLE}",
            setting="classify.labels",
            remedy="Use planted",
        )
    weight = np.ones(len(best) + len(rows), dtype=np.float32)
    return _joined(as_is.take(best), as_is, weight, np.full(len(rows), "any"))


def true_lessons(scored: ScoredRound, settings: Classify, flags: NDArray[np.int8], kinds: NDArray[np.str_]) -> Lessons:
    """Particles of which is known whether they are right: ``flags`` ``(n,)`` 1 right, 0 wrong, -1 unknown."""
    rows = lesson_rows(scored.data, scored.weights, settings.n_lessons, scored.seed, most=1.0)
    rows = rows[flags[rows] >= 0]
    examples = scored.examples(rows, settings.image_size, "pictures")
    return Lessons(examples, flags[rows] == 1, np.ones(len(rows), dtype=np.float32), kinds[rows])


def _joined(right: Examples, wrong: Examples, weight: Floats32, kinds: NDArray[np.str_]) -> Lessons:
    flags = np.arange(len(right) + len(wrong)) < len(right)
    names = np.concatenate([np.full(len(right), CORRECT), kinds])
    return Lessons(Examples.joined([right, wrong]), flags, weight, names)
