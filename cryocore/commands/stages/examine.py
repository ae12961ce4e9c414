"""``cryocore examine``: questions to the data set as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cryocore.commands.stages import options


def examine(
    particles: options.ParticleTable,
    round_dir: options.RoundFolder,
    out: Annotated[Path, typer.Argument(help="Answers to write, .json.", metavar="ANSWERS")],
    *,
    settings: options.Settings,
    backend: options.Backend = "auto",
    threads: options.Threads = 2,
) -> None:
    """Ask of the data set as a whole whether it has the run's point group, and whether particles are there twice.

    Beside the answers duplicates.parquet is written, a selection that leaves out the second of each pair.

    **Examples**

    `cryocore examine particles.parquet round_0 examine.json --config my.yaml`
    """
    from cryocore.backend import get_backend
    from cryocore.examine import examine as run

    run(
        particles,
        round_dir,
        symmetry=settings["symmetry"],
        seed=settings["seed"],
        backend=get_backend(backend, threads=threads),
        out=out,
    )
