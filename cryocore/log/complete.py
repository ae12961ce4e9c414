"""What follows from all scores of a round together: the mixture's log odds and the error rate, written with them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cryocore.log.columns import table_columns
from cryocore.log.error_rate import ErrorRate, estimate_from
from cryocore.log.mixture import MIXTURE_COLUMNS, NEEDED_COLUMNS, evidence, evidence_log_odds, fit_evidence
from cryocore.log.names import MIXTURE
from cryocore.tables.io import open_table, read_schema, read_table, write_tables
from cryocore.tables.particles import IMAGE
from cryocore.types import Floats

log = logging.getLogger(__name__)


def write_log(out: Path, parts: Sequence[Path], *, seed: int) -> None:
    """Write the log of a round: the rows of its scores, part after part, with ``mixture`` and the error rate.

    The scores that the mixture reads are in memory for all particles; of the others, one row group at a time.

    Parameters
    ----------
    parts : tables of scores, of the same columns and metadata
    seed : of what the mixture is fitted to where there are many particles, and of the interval of the error rate
    """
    known = read_schema(parts[0]).names
    names = ["particle_id", "half", *(n for n in (IMAGE, *MIXTURE_COLUMNS, "random_pose_z") if n in known)]
    odds, rate = assessed(table_columns(pa.concat_tables(read_table(part, names) for part in parts)), seed)

    def tables() -> Iterator[pa.Table]:
        start = 0
        for path in parts:
            with open_table(path) as file:
                for group in range(file.num_row_groups):
                    rows = file.read_row_group(group)
                    stop = start + len(rows)
                    yield rows.append_column(MIXTURE, pa.array(odds[start:stop].astype(np.float32)))
                    start = stop

    write_tables(out, tables(), error_rate=rate and rate.as_dict())
    if rate is not None:
        low, value, high = (100 * v for v in (rate.low, rate.value, rate.high))
        log.info("error rate %.1f %% (%.1f to %.1f)%s", value, low, high, f"; {rate.note}" if rate.note else "")


def assessed(columns: Mapping[str, NDArray[Any]], seed: int) -> tuple[Floats, ErrorRate | None]:
    """Log odds of being correct ``(n,)``, NaN where the scores do not say, and the error rate, None likewise.

    ``columns`` are particle_id, half and those that :func:`cryocore.log.error_rate.estimate` reads.
    """
    ids, half = columns["particle_id"], columns["half"]
    nothing = np.full(len(ids), np.nan)
    if any(name not in columns for name in NEEDED_COLUMNS):
        return nothing, None
    data = evidence(columns)
    if not data.known.any():
        return nothing, None
    model = fit_evidence(data, ids=ids, seed=seed)
    rate = estimate_from(data, model, columns, ids=columns.get(IMAGE, ids), half=half, seed=seed)
    return evidence_log_odds(model, data), rate
