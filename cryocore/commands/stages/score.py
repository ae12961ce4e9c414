"""``cryocore score``: every particle against the maps of one round."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cryocore.commands.stages import options


def score(
    particles: options.ParticleTable,
    round_dir: options.RoundFolder,
    out: Annotated[
        Path, typer.Argument(help="Log of the round to write, .parquet; of a part its scores.", metavar="LOG")
    ],
    *,
    settings: options.Settings,
    round_number: Annotated[int, typer.Option("--round", help="Number of the round.", min=0)] = 0,
    subset: options.Subset = None,
    cache: options.Cache = None,
    noise: Annotated[Path | None, typer.Option(help="What noise wrote, .npz; default: it is estimated first.")] = None,
    previous_log: Annotated[
        Path | None, typer.Option(help="Log of the round before, for a subset that says that it has not changed.")
    ] = None,
    shard: options.Part = "0/1",
    backend: options.Backend = "auto",
    threads: options.Threads = 2,
) -> None:
    """Compare every particle with the map of its half set, without its self-contribution in it.

    **Examples**

    `cryocore score particles.parquet round_0 log.parquet --config my.yaml`

    `cryocore score particles.parquet round_1 log.parquet -c my.yaml --round 1 --subset subset.parquet`
    """
    from cryocore.backend import get_backend
    from cryocore.config.score import Score
    from cryocore.score import score as run
    from cryocore.tables.shards import Shard

    run(
        particles,
        round_dir,
        subset,
        settings=Score.model_validate(settings["score"]),
        symmetry=settings["symmetry"],
        round_number=round_number,
        seed=settings["seed"],
        backend=get_backend(backend, threads=threads),
        out=out,
        cache=cache,
        shard=Shard.parse(shard),
        noise=noise,
        previous_log=previous_log,
    )
