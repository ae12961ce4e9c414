"""``cryocore refine``: poses of a list of particles refined anew by RELION."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cryocore.commands.stages import options


def refine(
    run_dir: Annotated[Path, typer.Argument(help="results/RUN, finished; its images are read.", metavar="RUN")],
    which: Annotated[str, typer.Argument(help="all, or recommended.", metavar="LIST")],
    out_dir: Annotated[Path, typer.Argument(help="Folder for half maps, poses and numbers.", metavar="OUT_DIR")],
    *,
    settings: options.Settings,
    threads: options.Threads = 2,
) -> None:
    """Refine the poses of a list of particles anew, from a low-passed map, with RELION.

    The settings are those of `refine` in the configuration. What RELION has done is kept in OUT_DIR/relion: the same
    command goes on where it was.

    **Examples**

    `cryocore refine results/my recommended results/my/refine/recommended --config my.yaml`
    """
    from cryocore.commands.output import require_choice
    from cryocore.config.refine import Refine
    from cryocore.refine import LISTS
    from cryocore.refine import refine as run

    require_choice(which, LISTS, "LIST")
    made = Refine.model_validate(settings["refine"])
    run(run_dir, which, out_dir, settings=made, symmetry=settings["symmetry"], threads=threads)
