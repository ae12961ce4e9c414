"""``cryocore validate``: the evidence of one round, and its part of the log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cryocore.commands.stages import options


def validate(
    scores: options.ScoreTable,
    round_dir: options.RoundFolder,
    out_metrics: Annotated[Path, typer.Argument(help="Metrics to write, .json.", metavar="METRICS")],
    out_log: Annotated[Path, typer.Argument(help="Log of the round to write, .parquet.", metavar="LOG")],
    *,
    settings: options.Settings,
    truth: Annotated[Path | None, typer.Option(help="Table with particle_id and is_correct, where known.")] = None,
    true_map: Annotated[Path | None, typer.Option(help="Map of the truth, where known.")] = None,
    batches: Annotated[Path | None, typer.Option(help="batches.parquet of an iterative reconstruction.")] = None,
) -> None:
    """Write the metrics of a round, and its scores as a log that `cryocore replay` and others read.

    **Examples**

    `cryocore validate scores.parquet round_0 metrics.json log/round=0/log.parquet --config my.yaml`
    """
    from cryocore.validate import validate_round

    validate_round(
        scores,
        round_dir,
        truth,
        true_map,
        score_name=settings["score"],
        seed=settings["seed"],
        batches=batches,
        out_metrics=out_metrics,
        out_log=out_log,
    )
