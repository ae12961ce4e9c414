"""``cryocore gather``: the log of a round from the scores of its parts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cryocore.commands.stages import options


def gather(
    particles: options.ParticleTable,
    out: Annotated[Path, typer.Argument(help="Table to write, .parquet.", metavar="LOG")],
    shards: Annotated[list[Path], typer.Argument(help="What score wrote of each part, in order.", metavar="PART...")],
    *,
    settings: options.Settings,
) -> None:
    """Put the scores of all parts together as the log of a round.

    **Examples**

    `cryocore gather particles.parquet log.parquet scores_0.parquet scores_1.parquet --config my.yaml`
    """
    from cryocore.log.gather import gather as run

    run(particles, shards, seed=settings["seed"], out=out)
