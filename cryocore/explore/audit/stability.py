"""Is the list stable: chosen again from the log of half of the particles, and beside the list of the round before."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cryocore.errors import InputError
from cryocore.explore.audit.history import Choice
from cryocore.hashing import hashed_uniform
from cryocore.log.complete import write_log
from cryocore.log.error_rate import ErrorRate
from cryocore.log.names import LIKELY_KIND, MIXTURE
from cryocore.log.rounds import LogRound, open_round
from cryocore.select.choose import choose, columns_needed
from cryocore.tables.io import open_table, write_tables
from cryocore.types import Bools

STREAM = 35

log = logging.getLogger(__name__)


def stability(
    last: LogRound, choice: Choice, number: int, selected: Bools, *, splits: int, seed: int
) -> dict[str, Any]:
    """How much of a list is chosen again by half of the particles.

    Each of some splits deals the particles of each half set in two. All that a log says of particles together, the
    mixture and its error rate, is found anew from one part alone, and the rule is applied to it.

    Parameters
    ----------
    last : the log that the list was chosen by
    choice : how it was chosen, for round ``number``
    selected : (n,)  the list
    splits : how often particles are dealt in two
    seed : of the splits

    Returns
    -------
    ``jaccard`` of each part with the list's particles there, ``by_chance`` for lists of the same sizes, ``before`` with
    the list of the round before, None if that has all particles
    """
    columns = last.read(["particle_id", "half"])
    ids, half = columns["particle_id"], columns["half"]
    found, chance = [], []
    for split in range(splits):
        place = hashed_uniform(ids, 1, seed=seed, stream=STREAM, first=split)[:, 0]
        side = np.zeros(len(ids), dtype=np.int8)
        for h in (1, 2):
            members = np.flatnonzero(half == h)
            side[members[np.lexsort((ids[members], place[members]))[: len(members) // 2]]] = 1
        for part in (0, 1):
            rows = np.flatnonzero(side == part)
            again = chosen_by(last, rows, choice, number)
            found.append(jaccard(again, selected[rows]))
            chance.append(expected_jaccard(again, selected[rows]))
            log.info("split %d, part %d: Jaccard %.3f", split + 1, part + 1, found[-1])
    previous = last.column("selected")
    return {
        "jaccard": [round(v, 6) for v in found],
        "by_chance": round(float(np.mean(chance)), 6),
        "before": None if previous is None or previous.all() else round(jaccard(previous.astype(bool), selected), 6),
    }


def chosen_by(last: LogRound, rows: NDArray[np.intp], choice: Choice, number: int) -> Bools:
    """Which of some particles are chosen where the log knows no others, ``(len(rows),)``."""
    with TemporaryDirectory(prefix="cryocore-audit-") as folder:
        scores, whole = Path(folder) / "scores.parquet", Path(folder) / "log.parquet"
        write_tables(scores, _rows_of(last, rows))
        write_log(whole, [scores], seed=choice.seed)
        part = open_round(whole, beside=[])
        settings = choice.select.model_copy(update={"minimum": 1})
        if settings.rule == "count":
            share = len(rows) / last.n_particles
            settings = settings.model_copy(update={"value": [share * v for v in settings.value]})
        columns, rate = part.read(columns_needed(settings, part.columns)), ErrorRate.of(part.metadata)
        return choose(columns, settings, number, symmetry=last.symmetry, rate=rate).selected


def _rows_of(last: LogRound, rows: NDArray[np.intp]) -> Iterator[pa.Table]:
    """Some rows of a log, as they were before it was completed; one row group in memory at a time."""
    wanted = np.zeros(last.n_particles, dtype=bool)
    wanted[rows] = True
    start = 0
    with open_table(last.path) as file:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group)
            kept = wanted[start : start + len(table)]
            start += len(table)
            yield table.filter(pa.array(kept)).drop_columns([MIXTURE, LIKELY_KIND])


def jaccard(first: Bools, second: Bools) -> float:
    """What two lists share, of all that is on either; 1 for two empty ones.

    >>> jaccard(np.array([True, True, False]), np.array([True, False, False]))
    0.5
    """
    either = int(np.count_nonzero(first | second))
    return int(np.count_nonzero(first & second)) / either if either else 1.0


def expected_jaccard(first: Bools, second: Bools) -> float:
    """What two lists of these lengths share by chance.

    >>> expected_jaccard(np.ones(4, dtype=bool), np.array([True, True, False, False]))
    0.5
    """
    n, a, b = len(first), int(first.sum()), int(second.sum())
    both = a * b / max(n, 1)
    return both / (a + b - both) if a + b else 1.0


def require_repeatable(choice: Choice) -> None:
    """Refuse what cannot be chosen again from the log alone."""
    if choice.by_classifier:
        raise InputError("the list is chosen by a classifier, which learns from images", fix="Train it again instead")
