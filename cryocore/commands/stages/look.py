"""``cryocore look``: particles and maps of what a run leaves out, for its report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cryocore.commands.stages import options


def look(
    run_dir: Annotated[Path, typer.Argument(help="results/RUN; its images are read, or its cache.", metavar="RUN")],
    out_dir: Annotated[Path, typer.Argument(help="Folder for pictures and numbers.", metavar="OUT_DIR")],
    *,
    settings: options.Settings,
    number: Annotated[str, typer.Option("--round", help="Round whose list counts: last or a number.")] = "last",
    backend: options.Backend = "auto",
    threads: options.Threads = 2,
) -> None:
    """Draw particles that a run selects and leaves out, and reconstruct what is left out, for its report.

    `cryocore gallery` and `cryocore dropped` answer the same one by one, and tell more.

    **Examples**

    `cryocore look results/my results/my/left_out --config my.yaml`
    """
    from cryocore.backend import get_backend
    from cryocore.explore.look import look as run

    run(run_dir, out_dir, number=number, seed=settings["seed"], backend=get_backend(backend, threads=threads))
