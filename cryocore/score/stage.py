"""The stage: one streaming pass that compares every image with its half set's map, whole or by shards."""

from __future__ import annotations

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cryocore.backend import Backend
from cryocore.config.score import Score
from cryocore.log.complete import write_log
from cryocore.log.names import APPLIED, COMPLETED, REASON
from cryocore.score.chunks import CHUNK
from cryocore.score.noise import read_noise, write_noise
from cryocore.score.scorer import Scorer
from cryocore.tables.io import open_table, read_schema, read_table, table_metadata, write_table, write_tables
from cryocore.tables.particles import (
    QUALITY,
    UNCHANGED_SINCE,
    Particles,
    read_quality,
    read_quaternions,
    read_reasons,
    read_subset,
    read_weights,
    unchanged_since,
)
from cryocore.tables.shards import WHOLE, Shard

log = logging.getLogger(__name__)


def score(
    particles: Path,
    round_dir: Path,
    subset: Path | None,
    *,
    settings: Score,
    symmetry: str,
    round_number: int,
    seed: int,
    backend: Backend,
    out: Path,
    cache: Path | None = None,
    shard: Shard = WHOLE,
    noise: Path | None = None,
    previous_log: Path | None = None,
) -> None:
    """Write the log of a round: every particle against the map of its own half set, without its self-contribution in
    it.

    Reads half1.mrc, half2.mrc, mask.mrc, fsc.parquet and sampling.npz of ``round_dir``; transforms from
    ``cache`` instead of images, if it is given.

    Parameters
    ----------
    shard : the part of the particles to score; of a part only the scores are written, which ``gather`` completes
    noise : what :func:`noise_of_round` wrote; None: the noise is estimated first
    previous_log : that of the round before; its scores are taken where the subset says that it has not changed
    """
    since = unchanged_since(subset)
    told = {} if since is None else {UNCHANGED_SINCE: since}
    if previous_log is not None and told and asked_alike(previous_log, settings):
        write_again(previous_log, out, shard, round=round_number, **told)
        return log.info("nothing changes: the scores are those of the round before")
    data = Particles.read(particles, shard)
    weights, selected = read_subset(subset, data, shard)
    quality = read_quality(subset, data, shard)
    described = {told: quality[name] for name, told in zip(QUALITY, APPLIED, strict=True) if name in quality}
    data = data.with_envelopes(quality)
    reason = read_reasons(subset, len(data), shard)
    given: dict[str, Any] = {"symmetry": symmetry, "round_number": round_number, "seed": seed, "cache": cache}
    if noise is not None:
        given |= {"noise": read_noise(noise, data, shard), "poses": read_quaternions(particles)}
    scorer = Scorer.of(data, weights, round_dir, settings, backend=backend, **given)
    chunks = (np.arange(start, min(start + CHUNK, len(data))) for start in range(0, len(data), CHUNK))

    def rows_of_log(rows: NDArray[np.intp]) -> pa.Table:
        table = scorer.table(data, rows, weights, selected=selected)
        for name, values in described.items():
            table = table.append_column(name, pa.array(values[rows]))
        return table.append_column(REASON, reason.slice(rows[0], len(rows)))

    tables = map(rows_of_log, chunks)
    if shard != WHOLE:
        write_tables(out, tables, **scorer.metadata(data), **told)
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".scores.", dir=out.parent) as folder:
            scores = Path(folder) / "scores.parquet"
            write_tables(scores, tables, **scorer.metadata(data), **told)
            write_log(out, [scores], seed=seed)
    log.info("scored %d particles in %d bands", len(data), scorer.comparison.reference.n_bands)


def asked_alike(previous_log: Path, settings: Score) -> bool:
    """Whether the scores of the round before are by the same settings."""
    return bool(table_metadata(read_schema(previous_log))["score_settings"] == settings.model_dump(mode="json"))


def write_again(previous_log: Path, out: Path, shard: Shard, **metadata: Any) -> None:
    """Write the log of the round before as that of another, whose ``metadata`` differ; of a shard its scores alone."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with open_table(previous_log) as file:
        if shard == WHOLE:
            tables = map(file.read_row_group, range(file.num_row_groups))
            return write_tables(out, tables, **metadata)
        scores = [name for name in file.schema_arrow.names if name not in COMPLETED]
    write_table(out, read_table(previous_log, scores, shard=shard), **metadata)


def noise_of_round(
    particles: Path,
    round_dir: Path,
    subset: Path | None,
    *,
    settings: Score,
    symmetry: str,
    seed: int,
    backend: Backend,
    out: Path,
) -> None:
    """Write the noise that all shards of a round are scored with; parameters as those of :func:`score`."""
    data = Particles.read(particles).with_quality(subset)
    given: dict[str, Any] = {"symmetry": symmetry, "round_number": 0, "seed": seed, "backend": backend}
    write_noise(out, Scorer.of(data, read_weights(subset, data), round_dir, settings, **given).noise, data)
