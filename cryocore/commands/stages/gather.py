"""``cryocore gather``: the scores of all shards as one table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cryocore.commands.stages import options


def gather(
    particles: options.ParticleTable,
    out: Annotated[Path, typer.Argument(help="Table to write, .parquet.", metavar="SCORES")],
    shards: Annotated[list[Path], typer.Argument(help="What score wrote of each part, in order.", metavar="PART...")],
) -> None:
    """Put the scores of all parts into one table.

    **Examples**

    `cryocore gather particles.parquet scores.parquet scores_0.parquet scores_1.parquet`
    """
    from cryocore.gather import gather as run

    run(particles, shards, out)
