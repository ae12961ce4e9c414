"""The numbers of a case: every score in every round, and the last subset beside what any method could reach."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cryocore.backend import Backend
from cryocore.config.run import Config
from cryocore.log.columns import score_columns
from cryocore.log.names import lower_is_better
from cryocore.log.rounds import open_round
from cryocore.simulate.plant import CORRECT
from cryocore.tables.io import read_table, table_metadata
from cryocore.tables.particles import Particles, require_same_particles
from cryocore.types import Bools
from cryocore.workflow.settings import stage_settings
from experiments.comparisons import Run, comparison_maps, cryosieve_rule, oracle_score, rounded_auc

Kinds = NDArray[np.object_]
Progress = Callable[[str], None]

VARIANTS = ("self_contribution_in", "self_contribution_out")
"""Of CryoSieve's rule: a particle's share of its own prediction stays in, or is taken out."""
ROUND_VALUES = ("round", "n_kept", "correct_rate", "resolution_angstrom", "fsc_truth_area")


def silent(text: str) -> None:
    """No progress."""


def evaluate(home: Path, config: Config, backend: Backend, progress: Progress = silent) -> dict[str, Any]:
    """Measure a finished run with planted errors.

    Parameters
    ----------
    home : the directory that the workflow ran in; its results are below ``results/``
    config : its settings
    progress : told what is being done

    Returns
    -------
    plain values: ``n``, ``error_rate`` (planted), ``selected_by``, ``rounds`` (see :func:`round_numbers`), ``maps``
    (subset -> n, correct_rate, fsc_truth_area), ``oracle`` (AUC by kind of error) and ``cryosieve_rule`` (by
    :data:`VARIANTS`); the last two are None without a true map
    """
    results = home / "results" / config.run
    made = results / ("simulated" if config.input.star is None else "planted")
    data = Particles.read(results / "particles.parquet")
    correct, kinds = read_truth(made / "truth.parquet", data)
    progress("scores of all rounds")
    rounds = [round_numbers(results, r, correct, kinds) for r in range(config.n_rounds + 1)]
    last = open_round(log_of(results, config.n_rounds))
    log = last.table(["weight", "selected"])
    found: dict[str, Any] = {
        "n": len(data),
        "error_rate": round(float(1.0 - correct.mean()), 6),
        "selected_by": stage_settings(config, "validate")["score"],
        "rounds": rounds,
        "oracle": None,
        "cryosieve_rule": None,
    }
    with tempfile.TemporaryDirectory(prefix="cryocore-experiment-") as folder:
        run = Run(results, config, true_map_of(config, made), correct, data.column("half"), backend, Path(folder))
        replace(data, root=str((home / data.root).resolve())).write(run.particles)
        oracle = None
        if run.true_map is not None:
            progress("score with the true map")
            oracle = oracle_score(run, run.true_map)
            found["oracle"] = aucs_by_kind(oracle, correct, kinds)
        progress("maps of other subsets")
        weights = log.column("weight").to_numpy().astype(np.float64)
        found["maps"] = comparison_maps(run, weights, log.column("selected").to_numpy(), oracle, last.quality())
        if run.true_map is not None:
            found["cryosieve_rule"] = {
                name: cryosieve_rule(run, self_contribution=name == "self_contribution_in", progress=progress)
                for name in VARIANTS
            }
    return found


def true_map_of(config: Config, made: Path) -> Path | None:
    """The true map of a simulation, or the one that the configuration names."""
    if config.input.star is None:
        return made / "true_map.mrc"
    return None if config.input.true_map is None else Path(config.input.true_map)


def read_truth(path: Path, data: Particles) -> tuple[Bools, Kinds]:
    """Which particles are correct, and the kind of error of the others, ``(n,)`` each."""
    table = read_table(path)
    require_same_particles(table.column("particle_id").to_numpy(), data.ids, file=path)
    kinds = table.column("error_kind").to_numpy()
    return kinds == CORRECT, kinds


def log_of(results: Path, round_number: int) -> Path:
    """The log of a round."""
    return results / "log" / f"round={round_number}" / "log.parquet"


def round_numbers(results: Path, round_number: int, correct: Bools, kinds: Kinds) -> dict[str, Any]:
    """A round: its metrics, its error-rate estimate, and the AUC of every score in its log by kind of error."""
    path = log_of(results, round_number)
    schema = pq.read_schema(path)
    names = score_columns(schema)
    table = read_table(path, names)
    folder = results / f"round_{round_number}"
    metrics = json.loads((folder / "metrics.json").read_text())
    about = [metrics, table_metadata(schema)]
    if (folder / "subset.parquet").exists():
        about.append(table_metadata(pq.read_schema(folder / "subset.parquet")))
    aucs = {
        name: aucs_by_kind(table.column(name).to_numpy(), correct, kinds, lower_is_better=lower_is_better(name))
        for name in names
    }
    return {
        **{name: metrics.get(name) for name in ROUND_VALUES},
        "error_rate_estimate": error_rate_estimate(about),
        "aucs": {name: found for name, found in aucs.items() if found["any"] is not None},
    }


def aucs_by_kind(
    values: NDArray[np.floating[Any]], correct: Bools, kinds: Kinds, *, lower_is_better: bool = False
) -> dict[str, float | None]:
    """AUC of the correct particles against all incorrect ones (``any``) and, where there are several kinds, against
    each."""
    found = {"any": rounded_auc(values, correct, lower_is_better=lower_is_better)}
    incorrect = sorted({str(kind) for kind in kinds[~correct]})
    for kind in incorrect if len(incorrect) > 1 else []:
        pair = correct | (kinds == kind)
        found[kind] = rounded_auc(values[pair], correct[pair], lower_is_better=lower_is_better)
    return found


def error_rate_estimate(sources: list[dict[str, Any]]) -> dict[str, float | None] | None:
    """The estimate of the share of incorrect particles and its interval, from the first source that holds one.

    A source holds ``error_rate`` as a mapping with ``value``, ``low`` and ``high``; None where no source has a value.

    >>> error_rate_estimate([{}, {"error_rate": {"value": 0.3, "low": 0.2, "high": 0.4, "method": "mixture"}}])
    {'value': 0.3, 'low': 0.2, 'high': 0.4}
    """
    for source in sources:
        found = source.get("error_rate")
        if isinstance(found, dict) and found.get("value") is not None:
            return {name: found.get(name) for name in ("value", "low", "high")}
    return None
