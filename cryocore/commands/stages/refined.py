"""``cryocore refined``: what refining the poses of all and of the recommended particles has given, in one table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def refined(
    folders: Annotated[list[Path], typer.Argument(help="What refine wrote, for each list.", metavar="FOLDER...")],
    *,
    out: Annotated[Path, typer.Option(help="Folder for table, numbers and figure.")],
) -> None:
    """Put the half maps of refined lists beside those at the given poses: a table, a figure and numbers.

    **Examples**

    `cryocore refined results/my/refine/all results/my/refine/recommended --out results/my/refine`
    """
    from cryocore.refine import compare

    compare(folders, out)
