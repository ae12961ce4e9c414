"""``cryocore slide``: a run on one slide."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cryocore.commands.output import AsJson, answer


def slide(
    run_dir: Annotated[Path, typer.Argument(help="results/RUN, finished.", metavar="RUN")],
    out: Annotated[Path, typer.Option(help="The slide: .png, .svg or .pdf.")],
    as_json: AsJson = False,
) -> None:
    """Draw a run on one slide, 16 to 9: FSC and map before and after, and what was left out.

    After is the recommended round.

    **Examples**

    `cryocore slide results/demo --out demo.png`
    """
    from cryocore.figures.look import require_format, save
    from cryocore.report.slide import draw, read_slide

    require_format(out)
    found = read_slide(run_dir)
    save(draw(found), out)
    before, after = found.resolutions
    values = {
        "round": found.number,
        "n_particles": len(found.kept),
        "n_kept": int(found.kept.sum()),
        "resolution_all_angstrom": before,
        "resolution_kept_angstrom": after,
        "file": str(out),
    }
    answer(f"{out}: round {found.number}, {values['n_kept']:,} of {values['n_particles']:,} particles", values, as_json)
