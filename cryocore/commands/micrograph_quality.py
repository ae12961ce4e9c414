"""``cryocore micrograph-quality``: which micrographs, optics groups and ranges of defocus are bad."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cryocore.commands.output import AsJson, answer


def micrograph_quality(
    source: Annotated[Path, typer.Argument(help="results/RUN, its log, or one log.parquet.", metavar="RUN_OR_LOG")],
    number: Annotated[str, typer.Option("--round", help="Round whose scores score: last or a number.")] = "last",
    kind: Annotated[
        list[str] | None, typer.Option(help="micrograph, optics_group or defocus, also several times; default: all.")
    ] = None,
    by: Annotated[str, typer.Option(help="posterior, flags, or auto: the first of them that the log has.")] = "auto",
    rows: Annotated[int, typer.Option(help="Groups shown of each kind.", min=1)] = 10,
    out: Annotated[Path | None, typer.Option(help="Write all groups of all kinds here, .parquet.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw them: .png, .svg or .pdf.")] = None,
    as_json: AsJson = False,
) -> None:
    """Rank micrographs, optics groups and ranges of defocus by the share of incorrect particles, the worst first.

    Shares are drawn to the mean, so that a micrograph of three particles does not lead, and have a 95 % interval. Worse
    are those that stand out from chance (5 % of them by mistake). docs/how-to/replay.md explains.

    **Examples**

    `cryocore micrograph-quality results/demo`

    `cryocore micrograph-quality results/demo --kind micrograph --rows 30 --plot micrographs.png`

    `cryocore micrograph-quality results/demo --round 0 --by flags --json`
    """
    from cryocore.explore.replay.groups import KINDS, combined_table, incorrectness, rank_all
    from cryocore.explore.replay.outcome import ranking_text
    from cryocore.log.rounds import find_rounds, wanted_round

    chosen = wanted_round(find_rounds(source), number)
    rankings = rank_all(chosen, kind or KINDS, by=by)
    scored_by = incorrectness(chosen, by).source
    if out:
        from cryocore.tables.io import write_table

        write_table(out, combined_table(rankings), round=chosen.number, by=scored_by)
    if plot:
        from cryocore.explore.replay.figures import groups_figure
        from cryocore.figures.look import save

        save(groups_figure(rankings), plot)
    texts = [ranking_text(kind.replace("_", " "), r, rows) for kind, r in rankings.items()]
    head = f"Round {chosen.number}, share of incorrect particles by {scored_by}"
    value = {
        "round": chosen.number,
        "by": scored_by,
        "groups": {k: {"overall": r.overall, "groups": r.rows()} for k, r in rankings.items()},
    }
    answer("\n\n".join([head, *texts]), value, as_json)
