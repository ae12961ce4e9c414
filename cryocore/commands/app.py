"""The program ``cryocore`` and its verbs."""

from __future__ import annotations

from typing import Annotated, NoReturn

import typer

from cryocore import __version__
from cryocore.commands.check import check
from cryocore.commands.convert import convert
from cryocore.commands.dropped import dropped
from cryocore.commands.edge import guarded
from cryocore.commands.gallery import gallery
from cryocore.commands.import_log import import_log
from cryocore.commands.info import info
from cryocore.commands.loss_distribution import loss_distribution
from cryocore.commands.micrograph_quality import micrograph_quality
from cryocore.commands.orientation import orientation
from cryocore.commands.postprocess import postprocess
from cryocore.commands.replay import replay
from cryocore.commands.residuals import residuals
from cryocore.commands.reslog import reslog
from cryocore.commands.slide import slide
from cryocore.commands.stage_verbs import VERBS as STAGES
from cryocore.commands.stages.audit import audit
from cryocore.commands.states import states
from cryocore.commands.status import status
from cryocore.commands.train import train
from cryocore.commands.transfer_selection import transfer_selection

VERBS = {
    "Questions to a run": (
        status,
        replay,
        micrograph_quality,
        loss_distribution,
        orientation,
        reslog,
        dropped,
        states,
        audit,
    ),
    "After a run": (gallery, slide, postprocess, transfer_selection, residuals, train),
    "Files and formats": (check, info, convert, import_log),
    "Stages of a run, one by one": STAGES,
}

app = typer.Typer(
    name="cryocore",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for heading, verbs in VERBS.items():
    for verb in verbs:
        app.command(rich_help_panel=heading)(verb)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cryocore {__version__}")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and leave.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Find the particles of a cryo-EM data set that belong in its map.

    `snakemake` runs the whole workflow; these are questions to what it leaves behind, and its stages one by one. Exit
    codes: 0 done, 1 a fault of the program, 2 a fault of the input.
    """


def main() -> NoReturn:
    """Run the program."""
    guarded("cryocore", app)
