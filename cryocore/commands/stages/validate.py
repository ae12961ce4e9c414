"""``cryocore validate``: the evidence of one round."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cryocore.commands.stages import options


def validate(
    scores: options.ScoreTable,
    round_dir: options.RoundFolder,
    out_metrics: Annotated[Path, typer.Argument(help="Metrics to write, .json.", metavar="METRICS")],
    *,
    settings: options.Settings,
    truth: Annotated[Path | None, typer.Option(help="truth.parquet of the run, where it is known.")] = None,
    true_map: Annotated[Path | None, typer.Option(help="Map of the truth, .mrc; default: the configuration's.")] = None,
    probability: options.Probability = None,
    batches: Annotated[Path | None, typer.Option(help="batches.parquet of an iterative reconstruction.")] = None,
) -> None:
    """Write the metrics of a round: resolution, selection and, where the truth is known, how good the scores are.

    **Examples**

    `cryocore validate log.parquet round_0 metrics.json --config my.yaml`
    """
    from cryocore.validate import validate_round

    validate_round(
        scores,
        round_dir,
        truth,
        true_map,
        score_name=settings["score"],
        probability=probability,
        batches=batches,
        out_metrics=out_metrics,
    )
