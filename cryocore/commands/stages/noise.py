"""``cryocore noise``: what noise the shards of one round are scored with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cryocore.commands.stages import options


def noise(
    particles: options.ParticleTable,
    round_dir: options.RoundFolder,
    out: Annotated[Path, typer.Argument(help="Noise to write, .npz.", metavar="NOISE")],
    *,
    settings: options.Settings,
    subset: options.Subset = None,
    backend: options.Backend = "auto",
    threads: options.Threads = 2,
) -> None:
    """Estimate the noise that all parts of a round are scored with (`cryocore score --noise`).

    **Examples**

    `cryocore noise particles.parquet round_0 noise.npz --config my.yaml`
    """
    from cryocore.backend import get_backend
    from cryocore.config.score import Score
    from cryocore.score import noise_of_round

    noise_of_round(
        particles,
        round_dir,
        subset,
        settings=Score.model_validate(settings["score"]),
        symmetry=settings["symmetry"],
        seed=settings["seed"],
        backend=get_backend(backend, threads=threads),
        out=out,
    )
