"""``cryocore ingest``: from a file of particles to the particle table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cryocore.commands.stages import options


def ingest(
    source: Annotated[Path, typer.Argument(help="Refined particles: .star, .cs or .thu.", metavar="SOURCE")],
    particles: Annotated[Path, typer.Argument(help="Table to write, .parquet.", metavar="PARTICLES")],
    *,
    settings: options.Settings,
) -> None:
    """Check every particle of a file and write the particle table.

    **Examples**

    `cryocore ingest run_data.star particles.parquet --config my.yaml`
    """
    from cryocore.ingest.copies import Choice
    from cryocore.ingest.particles import ingest as run

    data = run(
        source,
        root=settings["root"],
        pixel_size_angstrom=settings["pixel_size_angstrom"],
        seed=settings["seed"],
        passthrough=settings["passthrough"],
        choice=Choice(**settings["choice"]),
    )
    data.write(particles)
