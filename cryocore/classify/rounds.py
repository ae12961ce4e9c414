"""A scored round, opened again: its particles, its maps, its log, and what the log's scores say of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cryocore.backend import Backend
from cryocore.classify.examples import Examples, columns_of, examples_of
from cryocore.classify.features import COLUMNS, Context
from cryocore.config.score import Score
from cryocore.errors import InputError
from cryocore.log.columns import read_columns
from cryocore.log.error_rate import ErrorRate
from cryocore.log.names import MIXTURE
from cryocore.log.rounds import find_rounds, run_seed, wanted_round
from cryocore.score.scorer import Scorer
from cryocore.statistics import posterior
from cryocore.tables.io import open_table, read_schema, read_table, table_metadata
from cryocore.tables.particles import Particles, read_subset, require_same_particles

CONTEXT = 20_000
"""Particles that a context is made from, where there are more."""
UNKNOWN_RATE = 0.5
"""Error rate that is taken where the log allows no estimate."""


@dataclass(frozen=True)
class ScoredRound:
    """A round and its scores.

    ``weights`` ``(n,)`` : of the particles in the half maps of ``directory``
    ``likely`` ``(n,)`` : probability of being correct by the mixture; 0 where the log allows none
    ``error_rate`` : share of incorrect particles by the mixture
    """

    data: Particles
    weights: NDArray[np.float32]
    selected: NDArray[np.bool_]
    scorer: Scorer
    scores: Path
    directory: Path
    metadata: Mapping[str, Any]
    context: Context
    likely: NDArray[np.float64]
    error_rate: float
    seed: int

    @classmethod
    def read(
        cls,
        particles: Path,
        scores: Path,
        directory: Path,
        subset: Path | None,
        *,
        symmetry: str,
        seed: int,
        backend: Backend,
        cache: Path | None = None,
    ) -> ScoredRound:
        """From the files of a round; ``scores`` is its log."""
        data = Particles.read(particles).with_quality(subset)
        weights, selected = read_subset(subset, data)
        schema = read_schema(scores)
        metadata = table_metadata(schema)
        columns = read_columns(scores, ["particle_id", MIXTURE])
        require_same_particles(columns["particle_id"], data.ids, file=scores)
        rate = ErrorRate.of(metadata)
        given: dict[str, Any] = {"symmetry": symmetry, "round_number": int(metadata["round"]), "seed": seed}
        how = Score.model_validate(metadata["score_settings"])
        scorer = Scorer.of(data, weights, directory, how, **given, backend=backend, cache=cache)
        likely = posterior(columns[MIXTURE].astype(np.float64))
        error_rate = UNKNOWN_RATE if rate is None else rate.value
        context = read_context(scores, metadata, len(data), seed=seed)
        return cls(data, weights, selected, scorer, scores, directory, metadata, context, likely, error_rate, seed)

    def examples(self, rows: NDArray[np.integer[Any]], image_size: int, progress: str | None = None) -> Examples:
        """Particles of some rows, in ascending order, as the log has them."""
        names = [n for n in (*COLUMNS, "noise_power") if n in read_schema(self.scores).names]
        table = read_table(self.scores, names).take(pa.array(rows))
        return examples_of(self.scorer, self.data, rows, self.weights, table, self.context, image_size, progress)


def open_run(run_dir: Path, wanted: str, backend: Backend) -> ScoredRound:
    """A round of a finished run: ``wanted`` is its number, or ``last``.

    Raises
    ------
    InputError  if the directory is not that of a run, or its maps and images are not there.
    """
    found = wanted_round(find_rounds(run_dir), wanted)
    if found.run_dir is None:
        raise InputError("there are no maps beside this log", file=run_dir, fix="Give the directory of a run")
    directory = found.run_dir / f"round_{found.number}"
    files = [directory / f"{name}.parquet" for name in ("weights", "subset")]
    cache = found.run_dir / "cache" / "transforms.npz"
    return ScoredRound.read(
        found.run_dir / "particles.parquet",
        found.path,
        directory,
        next((file for file in files if file.exists()), None),
        symmetry=found.symmetry,
        seed=run_seed(directory),
        backend=backend,
        cache=cache if cache.exists() else None,
    )


def read_context(scores: Path, metadata: Mapping[str, Any], n: int, *, seed: int) -> Context:
    """The context of a log, from evenly spaced particles of it."""
    names = [name for name in (*COLUMNS, "noise_power") if name in read_schema(scores).names]
    step = -(-n // CONTEXT)
    parts = []
    with open_table(scores) as file:
        start = 0
        for group in range(file.num_row_groups):
            part = file.read_row_group(group, columns=names)
            parts.append(part.take(pa.array(np.arange(-start % step, len(part), step))))
            start += len(part)
    return Context.of(columns_of(pa.concat_tables(parts)), metadata, seed=seed)
