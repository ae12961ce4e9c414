"""Particles of a round by what is known of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryocore.classify.rounds import ScoredRound
from cryocore.classify.train import known_truth
from cryocore.errors import InputError
from cryocore.hashing import hashed_uniform
from cryocore.tables.io import read_table

STREAM = 22


def chosen_rows(
    scored: ScoredRound, which: str = "all", ids: Path | None = None, count: int | None = None
) -> NDArray[np.intp]:
    """Rows in ascending order: ``which`` is all, kept, dropped, correct or incorrect; ``ids`` names a table of ids.

    Raises
    ------
    InputError  if there are none, or the table names particles that the run does not have.
    """
    chosen = np.ones(len(scored.data), dtype=bool)
    if which in ("kept", "dropped"):
        chosen = scored.selected == (which == "kept")
    elif which in ("correct", "incorrect"):
        chosen = known_truth(scored)[0] == int(which == "correct")
    if ids is not None:
        wanted = (
            read_table(ids, ["particle_id"], fix="Give a Parquet table with particle_id")
            .column(0)
            .to_numpy()
            .astype(np.uint64)
        )
        missing = ~np.isin(wanted, scored.data.ids)
        if missing.any():
            raise InputError(
                f"{missing.sum()} of its particles are not in this run, {wanted[missing][0]} for one",
                file=ids,
                column="particle_id",
                fix="Give ids of this run's particles.parquet",
            )
        chosen &= np.isin(scored.data.ids, wanted)
    rows = np.flatnonzero(chosen)
    if len(rows) == 0:
        raise InputError(f"no particle is {which}", fix="Choose other particles")
    if count is not None and len(rows) > count:
        place = hashed_uniform(scored.data.ids[rows], 1, seed=scored.seed, stream=STREAM)[:, 0]
        rows = np.sort(rows[np.argsort(place, kind="stable")[:count]])
    return rows
