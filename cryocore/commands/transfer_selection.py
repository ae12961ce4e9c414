"""``cryocore transfer-selection``: a selection made on binned particles, for the unbinned ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cryocore.commands.output import AsJson, answer, require_choice

WAYS = ("uid", "image", "original", "coordinates", "number")


def transfer_selection(
    selection: Annotated[
        Path, typer.Argument(help="recommended.star, subset.cs, subset.parquet, ...", metavar="SELECTION")
    ],
    parent: Annotated[Path, typer.Argument(help="All particles, as unbinned ones: .star, .cs or .thu.")],
    out: Annotated[Path, typer.Argument(help="The selected ones of the parent, in its format.")],
    by: Annotated[str | None, typer.Option(help=f"{', '.join(WAYS)}; default: the first that fits.")] = None,
    tolerance: Annotated[
        float, typer.Option(help="Pixels of the micrograph within which coordinates are the same.")
    ] = 1.5,
    as_json: AsJson = False,
) -> None:
    """Take a selection back to full size: write the particles of another file that it names.

    Particles are told by cryoSPARC's uid, by image, by the image before its signal was subtracted, by micrograph and
    coordinates, or by the number in stacks of one name: by the first that finds all of them and that nothing in the
    files contradicts. Poses and all else are the parent's.

    **Examples**

    `cryocore transfer-selection results/mine/recommended.star Extract/job030/particles.star full_size.star`

    `cryocore transfer-selection results/mine/round_3/subset.parquet all.star recommended.star`

    `cryocore transfer-selection results/mine/recommended.cs J12_extracted_particles.cs full_size.cs --by uid`

    `cryocore transfer-selection Class3D/job060/selected.star Refine3D/job020/run_data.star reverted.star`
    """
    from cryocore.convert.apply import apply_selection

    if by is not None:
        require_choice(by, WAYS, "--by")
    done = apply_selection(selection, parent, out, by=by, tolerance=tolerance)
    answer(done.text, done.as_dict(), as_json)
