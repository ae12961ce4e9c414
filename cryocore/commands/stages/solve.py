"""``cryocore reconstruct`` by iteration: the half maps of a selection by minimising a robust loss."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cryocore.commands.stages import options


def solve(
    particles: options.ParticleTable,
    out_dir: Annotated[Path, typer.Argument(help="Folder to write to.", metavar="ROUND_DIR")],
    *,
    settings: options.Settings,
    subset: options.Subset = None,
    mask: options.Mask = None,
    previous_map: options.PreviousMap = None,
    cache: options.Cache = None,
    backend: options.Backend = "auto",
    threads: options.Threads = 2,
) -> None:
    """Write the half maps of a selection, their FSC, the merged map, the mask, and how they came about."""
    from cryocore.backend import get_backend
    from cryocore.config.solve import Solve
    from cryocore.reconstruct.iterative import solve as run
    from cryocore.reconstruct.iterative import started_ranks

    with started_ranks(threads) as ranks:
        engine = get_backend(backend, threads=ranks.threads)
        ranks.require_a_gpu_each(engine.gpu)
        run(
            particles,
            subset,
            mask,
            settings=Solve.model_validate(settings["reconstruct"]),
            symmetry=settings["symmetry"],
            seed=settings["seed"],
            backend=engine,
            ranks=ranks,
            out_dir=out_dir,
            cache=cache,
            previous_map=previous_map,
        )
