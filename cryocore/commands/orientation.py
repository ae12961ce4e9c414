"""``cryocore orientation``: whether a selection makes views less even."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cryocore.commands.output import AsJson, answer


def orientation(
    source: Annotated[Path, typer.Argument(help="results/RUN, its log, or one log.parquet.", metavar="RUN_OR_LOG")],
    number: Annotated[
        int | None, typer.Option("--round", help="Round that is compared with the first; default: the last.")
    ] = None,
    maps: Annotated[bool, typer.Option("--maps", help="Read the half maps too, for the directional FSC.")] = False,
    seed: Annotated[int, typer.Option(help="Of the random subsets.", min=0)] = 0,
    plot: Annotated[Path | None, typer.Option(help="Draw it: .png, .svg or .pdf.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say whether the selection makes views less even than chance would, and which views and micrographs it removes.

    Sampling compensation factor, unsampled directions and empty views before and after, from the log alone.
    docs/how-to/orientation.md explains.

    **Examples**

    `cryocore orientation results/demo`

    `cryocore orientation results/demo --round 2 --maps --plot views.png`
    """
    from cryocore.explore.orientation.diagnosis import orientation as compare

    found = compare(source, last=number, seed=seed, maps=maps)
    if plot:
        from cryocore.explore.orientation.figures import orientation_figure
        from cryocore.figures.look import save

        save(orientation_figure(found), plot)
    head = f"Round {found.rounds[1]}: {found.n_after:,} of {found.n_before:,} particles, point group {found.symmetry}"
    lines = [head, *found.sentences, *(f"Warning: {w}" for w in found.warnings)]
    answer("\n".join(lines), found.as_dict(), as_json)
