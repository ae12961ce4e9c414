"""``cryocore truth``: what is known of the particles, checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cryocore.commands.stages import options


def truth(
    particles: options.ParticleTable,
    source: Annotated[Path, typer.Argument(help="Table with particle_id, is_correct and maybe error_kind.")],
    out: Annotated[Path, typer.Argument(help="Table to write, .parquet.", metavar="TRUTH")],
) -> None:
    """Write what is known of the particles of a run, in their order, where readers of the log look for it.

    **Examples**

    `cryocore truth particles.parquet simulated/truth.parquet truth.parquet`
    """
    from cryocore.log.truth import truth as run

    run(particles, source, out)
