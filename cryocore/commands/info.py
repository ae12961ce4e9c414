"""``cryocore info``: what a file is, or what this installation computes with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cryocore.commands.output import AsJson, answer


def info(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help=".star, .cs, .thu, .mrc, .mrcs or .parquet; none: the installation.", metavar="[FILE]..."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say in some ten lines what files of particles, images, maps and tables hold; without one, what computes here.

    **Examples**

    `cryocore info run_data.star`

    `cryocore info results/demo/particles.parquet results/demo/log/round=0/log.parquet --json`
    """
    from cryocore.convert.info import as_text, describe

    if not files:
        from cryocore.commands.installation import installation

        state = installation()
        answer(as_text(state), state, as_json)
        return
    found = [describe(file) for file in files]
    answer("\n\n".join(map(as_text, found)), found, as_json)
