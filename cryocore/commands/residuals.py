"""``cryocore residuals``: images, predictions and residuals of a run's particles as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cryocore.commands.output import AsJson, answer, require_choice
from cryocore.commands.stages import options

WHICH = ("all", "kept", "dropped", "correct", "incorrect")


def residuals(
    run_dir: Annotated[Path, typer.Argument(help="results/RUN; its images are read.", metavar="RUN")],
    out: Annotated[Path, typer.Option(help="Folder for the stacks.")],
    number: Annotated[str, typer.Option("--round", help="Round whose maps predict: last or a number.")] = "last",
    which: Annotated[str, typer.Option(help=f"Particles: {', '.join(WHICH)}.")] = "all",
    count: Annotated[int | None, typer.Option(help="At most so many, drawn by their ids.", min=1)] = None,
    ids: Annotated[Path | None, typer.Option(help="Parquet table whose particle_id says which.")] = None,
    kind: Annotated[str, typer.Option("--format", help="mrc or npy.")] = "mrc",
    backend: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: options.Threads = 2,
    as_json: AsJson = False,
) -> None:
    """Write what the half maps predict of particles, the images beside it, and what is left.

    A particle is compared with its own half map without its self-contribution in it. The page
    docs/how-to/use-a-classifier.md explains units.

    **Examples**

    `cryocore residuals results/demo --out residuals --which dropped --count 500`

    `cryocore residuals results/demo --out incorrect --which incorrect --format npy`
    """
    from cryocore.backend import get_backend
    from cryocore.classify.export import export_residuals
    from cryocore.classify.rounds import open_run
    from cryocore.classify.subset import chosen_rows

    require_choice(which, WHICH, "--which")
    require_choice(kind, ("mrc", "npy"), "--format")
    scored = open_run(run_dir, number, get_backend(backend, threads=threads))
    rows = chosen_rows(scored, which, ids, count)
    files = export_residuals(scored, rows, out, "npy" if kind == "npy" else "mrc")
    written = {"images": len(rows), "files": [str(file) for file in files]}
    answer(f"{len(rows)} images in {', '.join(file.name for file in files)} of {out}", written, as_json)
