"""The stage: a rule applied to the log of the last round."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cryocore.data import GIVEN_SCORES, Particles, require_same_particles, score_columns
from cryocore.errors import InputError
from cryocore.files import AGAIN, as_numpy, read_schema, read_table, write_table
from cryocore.formats import filter_particles, kind_of
from cryocore.select.choose import Selection, choose, columns_needed
from cryocore.select.registry import MIXTURE
from cryocore.settings.select import Select

log = logging.getLogger(__name__)

FIGURE_OF_MERIT = "rlnParticleFigureOfMerit"


def select(
    particles: Path,
    scores: Path,
    *,
    settings: Select,
    symmetry: str,
    seed: int,
    round_number: int,
    out_table: Path,
    out_star: Path,
) -> None:
    """Write the subset of a round: a table of all particles, and the kept ones in the format of the parent file.

    The table holds ``particle_id``, ``weight``, ``selected`` and, where the log allows one, ``posterior``; its metadata
    the estimated error rate. ``out_star`` is the parent file without the rows that are not kept; a STAR file has the
    weights as ``rlnParticleFigureOfMerit`` and the scores as further columns (``cryocoreDual`` and so on).
    """
    data = Particles.read(particles)
    schema = read_schema(scores)
    try:
        columns = read_columns(scores, columns_needed(settings, schema.names))
        require_same_particles(columns["particle_id"], data.ids, file=scores)
        selection = choose(columns, settings, round_number, symmetry=symmetry, seed=seed)
    except InputError as error:
        raise error.about(scores) from None
    rate = selection.error_rate
    metadata = subset_metadata(settings, seed, round_number, selection)
    write_kept(Path(data.parent), scores, selection.weights, selection.selected, out_star)
    write_table(out_table, subset_table(data.ids, selection), **metadata)
    if rate is not None:
        log.info(
            "error rate %.1f %% (%.1f to %.1f)%s",
            *(100 * v for v in (rate.value, rate.low, rate.high)),
            f"; {rate.note}" if rate.note else "",
        )
    log.info("round %d keeps %d of %d particles", round_number, selection.selected.sum(), len(data))


def read_columns(log_file: Path, names: list[str]) -> dict[str, NDArray[Any]]:
    """Columns of a log as arrays ``(n,)``; lists, all of one length k, as ``(n, k)``."""
    table = read_table(log_file, names)
    texts = [f.name for f in table.schema if pa.types.is_string(f.type)]  # names are in dictionaries
    if texts:
        raise InputError("it holds texts where numbers are expected", file=log_file, column=texts[0], remedy=AGAIN)
    return table_columns(table)


def table_columns(table: pa.Table) -> dict[str, NDArray[Any]]:
    """The columns of a table as :func:`read_columns` gives them."""
    return {name: _array(table.column(name)) for name in table.column_names}


def subset_table(ids: NDArray[np.uint64], selection: Selection) -> pa.Table:
    """One row per particle of the data set."""
    table = {"particle_id": ids, "weight": selection.weights, "selected": selection.selected}
    if selection.posterior is not None:
        table["posterior"] = selection.posterior.astype(np.float32)
    return pa.table(table)


def subset_metadata(settings: Select, seed: int, round_number: int, selection: Selection) -> dict[str, Any]:
    """What made a subset, and the error rate that was estimated on the way."""
    rate = selection.error_rate
    return {
        "round": round_number,
        "settings": settings.model_dump(),
        "seed": seed,
        "error_rate": rate and rate.as_dict(),
    }


def write_kept(parent: Path, scores: Path, weights: NDArray[np.float32], kept: NDArray[np.bool_], out: Path) -> None:
    """Write the rows of the parent file that are kept ``(n,)``; a STAR file with weights and scores as columns.

    The weights are RELION's figure of merit: ``relion_reconstruct --fom_weighting`` weighs by it.
    """
    is_star = kind_of(parent) == "star"
    has_already = {MIXTURE, *GIVEN_SCORES.values()}
    names = [n for n in score_columns(read_schema(scores)) if n not in has_already] if is_star else []
    found = read_table(scores, names)
    extra = {FIGURE_OF_MERIT: weights[kept]} if is_star else {}
    filter_particles(parent, kept, extra | {_label(n): found.column(n).to_numpy()[kept] for n in names}, out)


def _array(column: pa.ChunkedArray) -> NDArray[Any]:
    if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
        flat = as_numpy(pa.chunked_array([chunk.flatten() for chunk in column.chunks], column.type.value_type))
        return flat.reshape(len(column), -1) if len(column) else flat.reshape(0, 0)
    return as_numpy(column)


def _label(name: str) -> str:
    return "cryocore" + "".join(part.capitalize() for part in name.split("_"))
