"""``cryocore states``: whether the particles of a run are in more than one state."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cryocore.commands.output import AsJson, answer
from cryocore.commands.stages import options


def states(
    run_dir: Annotated[Path, typer.Argument(help="results/RUN; its images are read, or its cache.", metavar="RUN")],
    number: Annotated[str, typer.Option("--round", help="Round whose maps count: last or a number.")] = "last",
    out: Annotated[Path | None, typer.Option(help="Folder for log odds, lists and maps of both states.")] = None,
    seed: Annotated[int, typer.Option(help="Of the particles that are looked at.", min=0)] = 0,
    backend: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: options.Threads = 2,
    as_json: AsJson = False,
) -> None:
    """Look for a second state: a part of the molecule that is missing in some particles, or turned.

    Nothing is thrown out. With `--out`, the selected particles of each state are listed in the format of the source,
    and half maps are made of all particles, each by its probability of being correct and in that state.

    **Examples**

    `cryocore states results/demo`

    `cryocore states results/demo --round 1 --out states --json`
    """
    from cryocore.backend import get_backend
    from cryocore.explore.gallery import Seen
    from cryocore.explore.states import states as look_for
    from cryocore.explore.states.output import write_states
    from cryocore.explore.states.split import split

    device = get_backend(backend, threads=threads)
    seen = Seen.of_run(run_dir, number, device)
    found = look_for(seen, seed=seed)
    files: list[Path] = []
    if out is not None and found.second is not None:
        files = [*write_states(found, seen.data.ids, out), *split(run_dir, number, found.second, out, device)]
    text = "\n".join(filter(None, (found.text, ", ".join(map(str, files)))))
    answer(text, {**found.as_dict(), "files": [str(file) for file in files]}, as_json)
