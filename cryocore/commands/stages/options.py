"""Arguments and options of several stages; since they are code of all stages, a stage's own stand in its module."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cryocore.cores import limit_cores

ParticleTable = Annotated[Path, typer.Argument(help="What ingest wrote, .parquet.", metavar="PARTICLES")]
ScoreTable = Annotated[Path, typer.Argument(help="What score wrote, .parquet.", metavar="SCORES")]
RoundFolder = Annotated[Path, typer.Argument(help="What reconstruct wrote.", metavar="ROUND_DIR")]
Settings = Annotated[
    dict[str, Any],
    typer.Option(parser=json.loads, help="What the stage reads of the configuration.", metavar="JSON"),
]
Probability = Annotated[Path | None, typer.Option(help="What classify wrote, .parquet, if anything.")]
Subset = Annotated[Path | None, typer.Option(help="What select wrote, .parquet; default: all particles.")]
Cache = Annotated[Path | None, typer.Option(help="A run's cache/transforms.npz, to read instead of the images.")]
PreviousSums = Annotated[Path | None, typer.Option(help="sums.npz of the round before, to be changed.")]
PreviousMap = Annotated[
    Path | None, typer.Option(help="map.mrc of the round before, for a subset that says that it has not changed.")
]
Mask = Annotated[
    Path | None, typer.Option(help=".mrc; the workflow gives that of round 0; default: the configuration's.")
]
Part = Annotated[str, typer.Option("--shard", help="Part of the particles, from 0.", metavar="INDEX/COUNT")]
Backend = Annotated[str, typer.Option(help="auto, cpu or cuda; default: the configuration's.", show_default=False)]
Threads = Annotated[int, typer.Option(help="Of the CPU.", min=1, callback=limit_cores)]
