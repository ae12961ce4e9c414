"""``cryocore reconstruct``: the half maps of a selection."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cryocore.commands.stages import options


def reconstruct(
    particles: options.ParticleTable,
    out_dir: Annotated[Path, typer.Argument(help="Folder to write to.", metavar="ROUND_DIR")],
    *,
    settings: options.Settings,
    subset: options.Subset = None,
    mask: options.Mask = None,
    previous_sums: options.PreviousSums = None,
    previous_map: options.PreviousMap = None,
    cache: options.Cache = None,
    sums: Annotated[
        list[Path] | None, typer.Option(help="What sum wrote of each part, in order, to read instead of the images.")
    ] = None,
    backend: options.Backend = "auto",
    threads: options.Threads = 2,
) -> None:
    """Write the half maps of a selection, their FSC, the merged map and the mask.

    By inversion, or by minimising a robust loss, as `reconstruct.method` says.

    **Examples**

    `cryocore reconstruct particles.parquet round_0 --config my.yaml`

    `cryocore reconstruct particles.parquet round_1 -c my.yaml --subset subset.parquet --mask round_0/mask.mrc`
    """
    from cryocore.backend import get_backend
    from cryocore.config.reconstruct import Reconstruct
    from cryocore.reconstruct import reconstruct as run

    run(
        particles,
        subset,
        mask,
        settings=Reconstruct.model_validate(settings["reconstruct"]),
        symmetry=settings["symmetry"],
        backend=get_backend(backend, threads=threads),
        out_dir=out_dir,
        previous_sums=previous_sums,
        cache=cache,
        sums_of_shards=sums,
        previous_map=previous_map,
    )
