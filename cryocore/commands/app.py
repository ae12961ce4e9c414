"""The program ``cryocore`` and its verbs."""

from __future__ import annotations

from typing import Annotated, NoReturn

import typer

from cryocore import __version__
from cryocore.cli import guarded
from cryocore.commands.apply import apply
from cryocore.commands.convert import convert
from cryocore.commands.explain import explain
from cryocore.commands.groups import groups
from cryocore.commands.import_log import import_log
from cryocore.commands.info import info
from cryocore.commands.orientation import orientation
from cryocore.commands.postprocess import postprocess
from cryocore.commands.replay import replay
from cryocore.commands.residuals import residuals
from cryocore.commands.reslog import reslog
from cryocore.commands.status import status
from cryocore.commands.train import train

app = typer.Typer(
    name="cryocore",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(replay)
app.command()(groups)
app.command()(explain)
app.command()(orientation)
app.command()(reslog)
app.command()(residuals)
app.command()(train)
app.command()(status)
app.command()(postprocess)
app.command()(convert)
app.command()(info)
app.command()(apply)
app.command("import-log")(import_log)


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

    The workflow itself is run by `snakemake`; these are questions to what it leaves behind. Exit codes: 0 done, 1 a
    fault of the program, 2 a fault of the input.
    """


def main() -> NoReturn:
    """Run the program."""
    guarded("cryocore", app)
