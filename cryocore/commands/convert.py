"""``cryocore convert``: particles from one format to another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cryocore.commands.output import AsJson, answer


def convert(
    source: Annotated[Path, typer.Argument(help="Particles: .star, .cs or .thu.", metavar="IN")],
    out: Annotated[Path, typer.Argument(help="The same in another format, by its suffix.", metavar="OUT")],
    passthrough: Annotated[
        Path | None, typer.Option(help="Passthrough file of a .cs file; default: looked for beside it.")
    ] = None,
    pixel_size: Annotated[
        float | None, typer.Option("--pixel-size", help="Of the images, Å; .thu files have none.", min=0.01)
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="Directory that paths of images and micrographs start from.")
    ] = None,
    flip_y: Annotated[
        bool,
        typer.Option(
            "--flip-y",
            help="Turn for micrographs that are upside down to these, as RELION's and cryoSPARC's of one TIFF or EER "
            "movie; extract the particles again.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write particles in the format of RELION, cryoSPARC or THUNDER, and say what it cannot hold.

    docs/reference/formats.md lists every field.

    **Examples**

    `cryocore convert J24_005_particles.cs particles.star`

    `cryocore convert J24_005_particles.cs particles.star --passthrough J24_passthrough_particles.cs`

    `cryocore convert J24_005_particles.cs for_micrographs_of_relion.star --flip-y`

    `cryocore convert run_data.star particles.thu`

    `cryocore convert particles.thu particles.star --pixel-size 1.06`
    """
    from cryocore.convert.convert import convert as write

    where = None if root is None else str(root)
    done = write(source, out, passthrough=passthrough, pixel_size_angstrom=pixel_size, root=where, flip_y=flip_y)
    answer(done.text, done.as_dict(), as_json)
