"""``cryocore info``: what a file is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cryocore.commands.output import AsJson, answer


def info(
    files: Annotated[list[Path], typer.Argument(help=".star, .cs, .thu, .mrc, .mrcs or .parquet.", metavar="FILE...")],
    as_json: AsJson = False,
) -> None:
    """Say in some ten lines what files of particles, images, maps and tables hold.

    **Examples**

    `cryocore info run_data.star`

    `cryocore info results/demo/particles.parquet results/demo/log/round=0/log.parquet --json`
    """
    from cryocore.formats.info import as_text, describe

    found = [describe(file) for file in files]
    answer("\n\n".join(map(as_text, found)), found, as_json)
