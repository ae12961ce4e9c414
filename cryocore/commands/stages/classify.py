"""``cryocore classify``: the probability of being correct, by residual images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cryocore.commands.stages import options


def classify(
    particles: options.ParticleTable,
    scores: options.ScoreTable,
    round_dir: options.RoundFolder,
    out_table: Annotated[Path, typer.Argument(help="Probabilities to write, .parquet.", metavar="PROBABILITY")],
    out_dir: Annotated[Path, typer.Argument(help="Folder for what the classifier is worth.", metavar="OUT_DIR")],
    *,
    settings: options.Settings,
    subset: options.Subset = None,
    model: Annotated[
        Path | None, typer.Option(help="Folder that `cryocore train` wrote; default: the configuration's, if any.")
    ] = None,
    cache: options.Cache = None,
    backend: options.Backend = "auto",
    threads: options.Threads = 2,
) -> None:
    """Write the probability of being correct that a classifier gives each particle of a round.

    `classify.model` of the configuration says which; the round's training images are kept in ROUND_DIR.

    **Examples**

    `cryocore classify particles.parquet log.parquet round_0 probability.parquet classifier --config my.yaml`
    """
    from cryocore.backend import get_backend
    from cryocore.classify import classify as run
    from cryocore.config.classify import Classify

    run(
        particles,
        scores,
        round_dir,
        subset,
        settings=Classify.model_validate(settings["classify"]),
        symmetry=settings["symmetry"],
        seed=settings["seed"],
        backend=get_backend(backend, threads=threads),
        out_table=out_table,
        out_dir=out_dir,
        model=model,
        cache=cache,
    )
