"""``cryocore simulate``: a synthetic data set with planted errors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cryocore.commands.stages import options


def simulate(
    out_dir: Annotated[Path, typer.Argument(help="Folder to write to.", metavar="OUT_DIR")],
    *,
    settings: options.Settings,
    backend: options.Backend = "auto",
    threads: options.Threads = 2,
) -> None:
    """Make a synthetic data set with planted errors, and the truth about it.

    Writes particles.star, particles.mrcs, truth.parquet and true_map.mrc; `input.simulate` and `input.plant` of the
    configuration say of what kind.

    **Examples**

    `cryocore simulate simulated --config my.yaml`
    """
    from cryocore.backend import get_backend
    from cryocore.config.plant import PlantedErrors
    from cryocore.config.simulate import Simulate
    from cryocore.simulate.stage import simulate as run

    run(
        Simulate.model_validate(settings["simulate"]),
        PlantedErrors.model_validate(settings["plant"]),
        symmetry=settings["symmetry"],
        seed=settings["seed"],
        out_dir=out_dir,
        backend=get_backend(backend, threads=threads),
    )
