"""The stage: a rule applied to the log of the last round."""

from __future__ import annotations

import logging
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cryocore.config import Select
from cryocore.data import Particles, require_same_particles, score_columns
from cryocore.errors import InputError
from cryocore.files import read_table, write_table
from cryocore.select.rules import apply_rule
from cryocore.star import filter_star

log = logging.getLogger(__name__)


def select(
    particles: Path, scores: Path, *, settings: Select, round_number: int, out_table: Path, out_star: Path
) -> None:
    """Write the subset of a round: a table of all particles, and a STAR file of the kept ones.

    The STAR file is the parent file without the rows that are not kept, plus the scores as further columns
    (``cryocoreDual`` and so on).
    """
    data = Particles.read(particles)
    names = score_columns(pq.read_schema(scores))
    if settings.score not in names:
        raise InputError(
            f"there is no score {settings.score!r} in {scores}",
            setting="select.score",
            remedy=f"Use one of {', '.join(names)}",
        )
    table = read_table(scores, ["particle_id", *names])
    require_same_particles(table.column("particle_id").to_numpy(), data.ids, file=scores)
    values = table.column(settings.score).to_numpy()
    weights = apply_rule(values, data.ids, data.column("half"), settings, round_number)
    kept = weights > 0
    subset = pa.table({"particle_id": data.ids, "weight": weights, "selected": kept})
    write_table(out_table, subset, round=round_number, settings=settings.model_dump())
    extra = {_label(n): table.column(n).to_numpy()[kept] for n in names}
    filter_star(Path(data.parent), kept, extra, out_star)
    log.info("round %d keeps %d of %d particles", round_number, kept.sum(), len(data))


def _label(name: str) -> str:
    return "cryocore" + "".join(part.capitalize() for part in name.split("_"))
