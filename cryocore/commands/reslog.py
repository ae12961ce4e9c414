"""``cryocore reslog``: resolution against the number of particles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cryocore.commands.output import AsJson, answer
from cryocore.commands.stages import options


def reslog(
    run_dir: Annotated[Path, typer.Argument(help="results/RUN; its images are read, or its cache.", metavar="RUN")],
    number: Annotated[str, typer.Option("--round", help="Round whose particles and mask count: last or a number.")] = (
        "last"
    ),
    sizes: Annotated[str | None, typer.Option(help="Particles in the subsets, as 500,1000,2000; default: seven.")] = (
        None
    ),
    repeats: Annotated[int, typer.Option(help="Independent sequences; three or more give B's error.", min=1)] = 1,
    bound: Annotated[
        bool, typer.Option("--bound", help="Also what all particles reach at poses of others: noise and overall shape.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the subsets.", min=0)] = 0,
    backend: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: options.Threads = 2,
    plot: Annotated[Path | None, typer.Option(help="Draw it: .png, .svg or .pdf.")] = None,
    as_json: AsJson = False,
) -> None:
    """Reconstruct random subsets of growing size and fit the Rosenthal-Henderson B-factor.

    Of all particles, and of those that a round keeps. Reads the images, or the cache where the run keeps one, each once
    per set and repeat: this takes about as long as two rounds' reconstructions. docs/how-to/orientation.md explains.

    **Examples**

    `cryocore reslog results/demo --plot reslog.png`

    `cryocore reslog results/demo --round 2 --sizes 500,1000,2000,4000 --repeats 3 --json`
    """
    from cryocore.backend import get_backend
    from cryocore.explore.replay.request import numbers
    from cryocore.explore.reslog import reslog as measure

    wanted = None if sizes is None else [int(v) for v in numbers(sizes)]
    engine = get_backend(backend, threads=threads)
    if plot:
        from cryocore.figures.look import require_format

        require_format(plot)  # before any image is read
    found = measure(run_dir, engine, number=number, sizes=wanted, repeats=repeats, seed=seed, bound=bound)
    if plot:
        from cryocore.explore.reslog.figures import reslog_figure
        from cryocore.figures.look import save

        save(reslog_figure(found), plot)
    answer("\n\n".join(s.text for s in found), [s.as_dict() for s in found], as_json)
