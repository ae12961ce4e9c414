"""``cryocore import-log``: text logs brought into the schema of the log."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cryocore.commands.output import AsJson, answer


def import_log(
    files: Annotated[
        list[Path], typer.Argument(help="Text logs, and last the directory to write to.", metavar="FILE... OUT")
    ],
    symmetry: Annotated[str, typer.Option(help="Point group.")] = "C1",
    columns: Annotated[
        str, typer.Option(help="The last values of a line, in order: these, number of the particle, - for any other.")
    ] = "qw qx qy qz flag loss",
    inverse: Annotated[bool, typer.Option("--inverse", help="Quaternions turn image to object.")] = False,
    most_malformed: Annotated[
        float, typer.Option(help="Share of malformed lines that is accepted.", min=0, max=1)
    ] = 0.01,
    as_json: AsJson = False,
) -> None:
    """Bring a text log (one line per particle: quaternion, flag, loss) into the schema of the log.

    Writes OUT/log/round=r/log.parquet, on which `cryocore replay OUT` runs, and lists every line that is no particle in
    OUT/malformed.tsv. Several iterations are told by lines that name them, or are one file each.

    **Examples**

    `cryocore import-log train.log imported`

    `cryocore import-log fit.csv imported --columns 'number loss flag qx qy qz qw -'`

    `cryocore import-log iter1.log iter2.log iter3.log imported --symmetry D7`

    `cryocore replay imported --rule fraction --value 0.7 --score l2_loss`
    """
    from cryocore.errors import InputError
    from cryocore.explore.replay.import_log import import_log as run_import

    if len(files) < 2:
        raise InputError("the directory to write to is missing", fix="Name it after the text logs")
    found = run_import(
        *(files[:-1], files[-1]), columns=columns, symmetry=symmetry, inverse=inverse, most_malformed=most_malformed
    )
    lines = [f"round {r}: {n:,} particles" for r, n in found.n_particles.items()]
    at = f", listed in {found.listed}" if found.listed else ""
    lines.append(f"{found.n_malformed:,} malformed lines, {found.n_messages:,} other messages{at}")
    if found.n_without_loss:
        lines.append(f"{found.n_without_loss:,} particles without a loss")
    value = asdict(found) | {"files": [str(f) for f in found.files], "listed": found.listed and str(found.listed)}
    answer("\n".join(lines), value, as_json)
