"""``cryocore report``: all rounds in one table and one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cryocore.commands.stages import options


def report(
    run_dir: Annotated[Path, typer.Argument(help="results/RUN.", metavar="RUN")],
    star: Annotated[Path, typer.Argument(help="All particles: .star, .cs or .thu.", metavar="PARTICLES")],
    out_table: Annotated[Path, typer.Argument(help="Table of rounds to write, .parquet.", metavar="TABLE")],
    out_report: Annotated[Path, typer.Argument(help="Page to write, .html.", metavar="REPORT")],
    out_figures: Annotated[Path, typer.Argument(help="Folder for the figures.", metavar="FIGURES")],
    out_star: Annotated[Path, typer.Argument(help="Particles of the round to stop at.", metavar="RECOMMENDED")],
    out_script: Annotated[Path, typer.Argument(help="Commands for ChimeraX to write, .cxc.", metavar="SCRIPT")],
    *,
    settings: options.Settings,
    assessed: Annotated[
        Path | None, typer.Option(help="STAR file to write of all particles, each with weight and reason.")
    ] = None,
) -> None:
    """Write all rounds as one table, the page that explains them, and the particles to go on with; print the table.

    **Examples**

    `cryocore report results/my all.star rounds.parquet report.html figs recommended.star maps.cxc --config my.yaml`
    """
    from cryocore.config.run import Config
    from cryocore.report.summary import summarise

    config = Config.model_validate(settings["config"])
    summarise(
        run_dir,
        n_rounds=config.n_rounds,
        config=config,
        star=star,
        out_table=out_table,
        out_report=out_report,
        out_figures=out_figures,
        out_star=out_star,
        out_script=out_script,
        out_assessed=assessed,
    )
