"""``cryocore cache``: compact transforms of the images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cryocore.commands.stages import options


def cache(
    particles: options.ParticleTable,
    out: Annotated[Path, typer.Argument(help="Transforms to write, .npz.", metavar="TRANSFORMS")],
    *,
    settings: options.Settings,
    shard: options.Part = "0/1",
    backend: options.Backend = "auto",
    threads: options.Threads = 2,
) -> None:
    """Keep the transform of every image, within the band in use and in half precision.

    **Examples**

    `cryocore cache particles.parquet transforms.npz --config my.yaml`
    """
    from cryocore.backend import get_backend
    from cryocore.ingest.cache import cache as run
    from cryocore.tables.shards import Shard

    run(
        particles,
        max_resolution_angstrom=settings["max_resolution_angstrom"],
        shard=Shard.parse(shard),
        backend=get_backend(backend, threads=threads),
        out=out,
    )
