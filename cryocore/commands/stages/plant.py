"""``cryocore plant``: errors planted into real particles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cryocore.commands.stages import options


def plant(
    source: Annotated[Path, typer.Argument(help="Refined particles: .star, .cs or .thu.", metavar="SOURCE")],
    out_dir: Annotated[Path, typer.Argument(help="Folder to write to.", metavar="OUT_DIR")],
    *,
    settings: options.Settings,
) -> None:
    """Plant errors into a real data set, and write down which.

    Writes particles.star, truth.parquet and, with junk, junk.mrcs; `input.plant` of the configuration says which.

    **Examples**

    `cryocore plant run_data.star planted --config my.yaml`
    """
    from cryocore.config.plant import PlantedErrors
    from cryocore.ingest.copies import Choice
    from cryocore.simulate.plant import plant as run

    run(
        source,
        PlantedErrors.model_validate(settings["plant"]),
        root=settings["root"],
        pixel_size_angstrom=settings["pixel_size_angstrom"],
        seed=settings["seed"],
        passthrough=settings["passthrough"],
        choice=Choice(**settings["choice"]),
        out_dir=out_dir,
    )
