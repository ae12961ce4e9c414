"""``cryocore select``: the particles of the next round."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cryocore.commands.stages import options


def select(
    particles: options.ParticleTable,
    scores: options.ScoreTable,
    out_table: Annotated[Path, typer.Argument(help="Weights to write, .parquet.", metavar="SUBSET")],
    out_file: Annotated[Path, typer.Argument(help="Kept particles, in the format of the source.", metavar="KEPT")],
    *,
    settings: options.Settings,
    round_number: Annotated[int, typer.Option("--round", help="Number of the round that is selected for.", min=1)] = 1,
    probability: options.Probability = None,
    last_subset: Annotated[
        Path | None, typer.Option(help="subset.parquet of the round before, which stays where little changes.")
    ] = None,
) -> None:
    """Choose the particles of the next round by the scores of the one before.

    `cryocore replay` answers the same for a finished run, and tells more.

    **Examples**

    `cryocore select particles.parquet log.parquet subset.parquet subset.star --config my.yaml`
    """
    from cryocore.config.select import Select
    from cryocore.select.stage import select as run

    run(
        particles,
        scores,
        settings=Select.model_validate(settings["select"]),
        symmetry=settings["symmetry"],
        seed=settings["seed"],
        round_number=round_number,
        out_table=out_table,
        out_star=out_file,
        probability=probability,
        last_subset=last_subset,
    )
