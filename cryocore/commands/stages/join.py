"""``cryocore join``: one file of several files of particles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cryocore.commands.stages import options


def join(
    out_file: Annotated[Path, typer.Argument(help="Particles of all files, .star.", metavar="JOINED")],
    sources: Annotated[list[Path], typer.Argument(help="Refined particles: .star, .cs or .thu.", metavar="SOURCE...")],
    *,
    settings: options.Settings,
) -> None:
    """Write the particles of several files as one, with their optics groups, half sets and ids.

    **Examples**

    `cryocore join joined.star first/run_data.star second/run_data.star --config my.yaml`
    """
    from cryocore.ingest.join import join as run

    run(sources, out_file, **settings)
