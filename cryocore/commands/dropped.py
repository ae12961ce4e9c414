"""``cryocore dropped``: the map of what a round leaves out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cryocore.commands.output import AsJson, answer
from cryocore.commands.stages import options


def dropped(
    run_dir: Annotated[Path, typer.Argument(help="results/RUN; its images are read, or its cache.", metavar="RUN")],
    number: Annotated[str, typer.Option("--round", help="Round whose list counts: last or a number.")] = "last",
    out: Annotated[Path | None, typer.Option(help="Folder for the half maps of each set.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw curves and slices: .png, .svg or .pdf.")] = None,
    seed: Annotated[int, typer.Option(help="Of what is drawn.", min=0)] = 0,
    backend: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: options.Threads = 2,
    as_json: AsJson = False,
) -> None:
    """Reconstruct the particles that a round leaves out, beside as many others of all and of the selected ones.

    Says whether they are worse copies of the same, or something else: wrong poses, or another state. Three passes over
    as many images as are left out.

    **Examples**

    `cryocore dropped results/demo --plot dropped.png`

    `cryocore dropped results/demo --round 1 --out dropped --json`
    """
    from cryocore.backend import get_backend
    from cryocore.explore.dropped import dropped as measure

    if plot:
        from cryocore.figures.look import require_format

        require_format(plot)  # before any image is read
    found = measure(run_dir, get_backend(backend, threads=threads), number=number, seed=seed, out_dir=out)
    if plot:
        from cryocore.explore.dropped.figures import dropped_figure
        from cryocore.figures.look import save

        save(dropped_figure(found), plot)
    answer(found.text, found.as_dict(), as_json)
