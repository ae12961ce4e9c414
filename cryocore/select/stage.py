"""The stage: a rule applied to the log of the last round."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cryocore.config.rules import RULES
from cryocore.config.select import Select
from cryocore.errors import InputError
from cryocore.formats.kinds import CTF_COLUMNS, kind_of
from cryocore.formats.source import FIGURE_OF_MERIT, Source, in_full
from cryocore.log.columns import score_columns
from cryocore.log.error_rate import ErrorRate
from cryocore.log.names import MIXTURE
from cryocore.log.quality import Quality, quality
from cryocore.log.rounds import LogRound, open_round
from cryocore.log.signal import Signal
from cryocore.select.choose import Selection, choose, columns_needed
from cryocore.select.convergence import change
from cryocore.select.reasons import reasons
from cryocore.tables.io import read_table, table_metadata, write_table
from cryocore.tables.particles import GIVEN_SCORES, QUALITY, UNCHANGED_SINCE, Particles, require_same_particles
from cryocore.types import Floats32

log = logging.getLogger(__name__)


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
    probability: Path | None = None,
    last_subset: Path | None = None,
) -> None:
    """Write the subset of a round: a table of all particles, and the kept ones in the format of the parent file.

    The table holds ``particle_id``, ``weight``, ``selected`` and ``reason`` (:mod:`cryocore.select.reasons`), with
    ``posterior`` where the log allows one and ``QUALITY`` where particles are of unequal quality
    (:mod:`cryocore.log.quality`); its metadata the estimated error rate. ``out_star`` is the parent file without the
    rows that are not kept, with the half sets if they were made here, and with B-factors and scales where there are
    any; a STAR file has the weights as ``rlnParticleFigureOfMerit`` and the scores as further columns (``cryocoreDual``
    and so on).

    Parameters
    ----------
    scores : log.parquet of the round before
    probability : what a classifier says of the particles; None: there is none
    last_subset : the subset of the round before, which stays where the new one hardly differs
    """
    data = Particles.read(particles)
    last = open_round(scores, beside=[] if probability is None else [probability])
    selection = selection_of(last, data, settings, round_number, symmetry=symmetry)
    found = quality_of(last, settings, seed)
    metadata = subset_metadata(settings, seed, round_number, selection, found)
    table = subset_table(data.ids, selection, found)
    if last_subset is not None and settings.tolerance > 0 and not RULES[settings.rule].goes_on:
        before = read_table(last_subset)
        moved = change(table, before, data.column("half"), last.metadata)
        if moved < settings.tolerance:
            metadata = carried(metadata, table_metadata(before.schema), round_number - 1)
            table = before
            log.info("round %d stays as it was: weights change by %.2f %%", round_number, 100 * moved)
    quality_columns = {name: table.column(name).to_numpy() for name in QUALITY if name in table.column_names}
    envelopes = data.total_envelopes(quality_columns)
    weights, selected = (table.column(name).to_numpy(zero_copy_only=False) for name in ("weight", "selected"))
    write_kept(Source.of(data), last, weights, selected, out_star, envelopes)
    write_table(out_table, table, **metadata)
    n_guarded = np.count_nonzero(selection.guarded) if UNCHANGED_SINCE not in metadata else 0
    guard = f", {n_guarded:,} of them for their rare views" if n_guarded else ""
    log.info("round %d keeps %d of %d particles%s", round_number, np.count_nonzero(selected), len(data), guard)


def carried(metadata: Mapping[str, Any], before: Mapping[str, Any], number: int) -> dict[str, Any]:
    """The metadata of a subset where it is that of the round ``number``, whose own are ``before``."""
    kept = {name: value for name, value in metadata.items() if name != "quality"}
    quality = {"quality": before["quality"]} if "quality" in before else {}
    return kept | quality | {UNCHANGED_SINCE: before.get(UNCHANGED_SINCE, number)}


def selection_of(last: LogRound, data: Particles, settings: Select, round_number: int, *, symmetry: str) -> Selection:
    """What the settings choose for a round by the log of the one before.

    Raises
    ------
    InputError  naming the log, if it is of other particles, shows no signal, or too little would be kept.
    """
    try:
        columns = last.read(columns_needed(settings, last.columns))
        require_same_particles(columns["particle_id"], data.ids, file=last.path)
        require_signal(Signal.of(last.metadata), last.number)
        return choose(columns, settings, round_number, symmetry=symmetry, rate=ErrorRate.of(last.metadata))
    except InputError as error:
        raise error.about(last.path) from None


def quality_of(last: LogRound, settings: Select, seed: int) -> Quality | None:
    """The envelopes of particles by a log, where the settings want any and particles differ."""
    return None if settings.quality == "none" else quality(last, seed=seed)


def require_signal(signal: Signal | None, round_number: int) -> None:
    """Refuse to select from a set that is no different from noise: what a rule would keep is chance.

    Raises
    ------
    InputError  if images match the map no better at their own poses than at random ones.
    """
    if signal is not None and signal.is_missing:
        raise InputError(
            f"no signal: in round {round_number} the {signal.n:,} images match the map at random poses as well as at "
            f"their own (z differs by {signal.gain:.3f}, {signal.standard_errors:.1f} standard errors), as noise does",
            fix="Look at the images and at the half maps of that round: particles without density, poses of another "
            "file, or inverted contrast look like this",
        )


def subset_table(ids: NDArray[np.uint64], selection: Selection, found: Quality | None = None) -> pa.Table:
    """One row per particle of the data set."""
    kinds = np.full(len(ids), "unknown", dtype=object) if selection.kinds is None else selection.kinds
    reason = reasons(kinds, selection.selected, selection.guarded)
    table = {"particle_id": ids, "weight": selection.weights, "selected": selection.selected, "reason": reason}
    if selection.posterior is not None:
        table["posterior"] = selection.posterior.astype(np.float32)
    return pa.table(table if found is None else table | found.columns())


def subset_metadata(
    settings: Select, seed: int, round_number: int, selection: Selection, found: Quality | None = None
) -> dict[str, Any]:
    """What made a subset, and the error rate and the spread of envelopes that were estimated on the way."""
    rate = selection.error_rate
    described = {} if found is None else {"quality": found.as_dict()}
    return described | {
        "round": round_number,
        "settings": settings.model_dump(),
        "seed": seed,
        "error_rate": rate and rate.as_dict(),
    }


def write_kept(
    source: Source,
    last: LogRound,
    weights: NDArray[np.float32],
    kept: NDArray[np.bool_],
    out: Path,
    envelopes: Mapping[str, Floats32] = MappingProxyType({}),
) -> None:
    """Write the particles that are kept ``(n,)`` as their file has them; a STAR file also with weights and scores.

    The weights are RELION's figure of merit: ``relion_reconstruct --fom_weighting`` weighs by it. Half sets that were
    made here are written, so that whoever goes on with the particles keeps them, and so are the ``envelopes`` of their
    CTFs, ``ctf_bfactor`` and ``ctf_scale`` ``(n,)``. The file names the directory that its image paths start from, so
    that it can be read where it lies.
    """
    is_star = kind_of(source.path) == "star"
    has_already = {MIXTURE, *GIVEN_SCORES.values()}
    names = [n for n in score_columns(last.schema) if n not in has_already] if is_star else []
    found = last.table(names)
    extra: dict[str, NDArray[Any]] = {FIGURE_OF_MERIT: weights} if is_star else {}
    for name, values in envelopes.items():
        extra[CTF_COLUMNS[name]] = in_full(values) if is_star else values
    source.write(kept, extra | {_label(n): found.column(n).to_numpy() for n in names}, out)


def _label(name: str) -> str:
    return "cryocore" + "".join(part.capitalize() for part in name.split("_"))
