"""``cryocore sum``: the Fourier sums of one shard of the particles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cryocore.commands.stages import options


def sum(
    particles: options.ParticleTable,
    out: Annotated[Path, typer.Argument(help="Sums to write, .npz.", metavar="SUMS")],
    *,
    settings: options.Settings,
    shard: options.Part = "0/1",
    subset: options.Subset = None,
    previous_sums: options.PreviousSums = None,
    cache: options.Cache = None,
    backend: options.Backend = "auto",
    threads: options.Threads = 2,
) -> None:
    """Write the Fourier sums of a part of a selection, for `cryocore reconstruct --sums`.

    **Examples**

    `cryocore sum particles.parquet sums_0.npz --shard 0/2 --config my.yaml`
    """
    from cryocore.backend import get_backend
    from cryocore.config.reconstruct import Reconstruct
    from cryocore.reconstruct import sum_shard
    from cryocore.tables.shards import Shard

    sum_shard(
        particles,
        subset,
        Shard.parse(shard),
        settings=Reconstruct.model_validate(settings["reconstruct"]),
        backend=get_backend(backend, threads=threads),
        out=out,
        previous_sums=previous_sums,
        cache=cache,
    )
