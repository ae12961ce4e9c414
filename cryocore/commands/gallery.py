"""``cryocore gallery``: particles of a run to look at, left out and selected."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cryocore.commands.output import AsJson, answer
from cryocore.commands.stages import options


def gallery(
    run_dir: Annotated[Path, typer.Argument(help="results/RUN; the images that are shown are read.", metavar="RUN")],
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")],
    number: Annotated[str, typer.Option("--round", help="Round whose maps predict: last or a number.")] = "last",
    each: Annotated[int, typer.Option(help="Particles of each group at most.", min=1, max=100)] = 8,
    backend: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: options.Threads = 2,
    as_json: AsJson = False,
) -> None:
    """Draw particles that are left out, for each reason, at the edge, and selected.

    Of each: its image, the image low-passed, what its half map predicts without the particle's own share in it, and
    what is left, both low-passed alike. Contrast is that of the images, so that a weak prediction looks weak.

    **Examples**

    `cryocore gallery results/demo --out gallery`

    `cryocore gallery results/demo --round 1 --each 12 --out first_round`
    """
    from cryocore.backend import get_backend
    from cryocore.explore.gallery import Seen, strips, text, write_gallery

    seen = Seen.of_run(run_dir, number, get_backend(backend, threads=threads))
    found = strips(seen, each)
    files = write_gallery(found, seen, out)
    value = {"groups": {s.name: s.n for s in found}, "files": [str(file) for file in files]}
    answer(text(found, out), value, as_json)
