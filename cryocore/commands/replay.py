"""``cryocore replay``: other selections of a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cryocore.commands.output import AsJson, answer
from cryocore.config.rules import RULES

RULES_HELP = f"{', '.join(RULES)}; default: the run's."
SCORES_HELP = (
    "A score of the log, or quality; default: the run's. Within a band limit l2_loss, cryosieve, ncc, llr, z, zc or "
    "ldac."
)


def replay(
    source: Annotated[Path, typer.Argument(help="results/RUN, its log, or one log.parquet.", metavar="RUN_OR_LOG")],
    rounds: Annotated[str, typer.Option("--round", help="Rounds whose scores decide: all, last or 0,2.")] = "all",
    rule: Annotated[str | None, typer.Option(help=RULES_HELP)] = None,
    value: Annotated[
        str | None, typer.Option(help="Of the rule; one per round between commas, the last stays.")
    ] = None,
    score: Annotated[str | None, typer.Option(help=SCORES_HELP)] = None,
    normalise: Annotated[str | None, typer.Option(help="none, view, micrograph or defocus.")] = None,
    quality: Annotated[
        str | None,
        typer.Option(help="B-factors and scales in what is written: auto or none; default: the run's."),
    ] = None,
    first_angstrom: Annotated[float | None, typer.Option(help="Coarsest resolution that the score sees, Å.")] = None,
    last_angstrom: Annotated[float | None, typer.Option(help="Finest resolution that the score sees, Å.")] = None,
    seed: Annotated[int | None, typer.Option(help="Default: the run's.", min=0)] = None,
    compare: Annotated[
        list[str] | None, typer.Option(help="RULE=VALUE@SCORE, also several times: a line in a table for each.")
    ] = None,
    star: Annotated[Path | None, typer.Option(help="Write the kept particles here, in their file's format.")] = None,
    parent: Annotated[Path | None, typer.Option(help="That file, where it is not the one the run names.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the weight of every particle here, .parquet.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the score and the cut: .png, .svg or .pdf.")] = None,
    as_json: AsJson = False,
) -> None:
    """Apply another selection to a finished run, without touching an image.

    Says what would be kept, how correct it is where the truth is known, what it shares with what the run kept, how it
    moves the viewing directions, which micrographs lose most and which resolution to expect; see docs/how-to/replay.md.

    **Examples**

    `cryocore replay results/demo` - the run's own selection, every round

    `cryocore replay results/demo --round 0 --rule fraction --value 0.7 --score zc`

    `cryocore replay results/demo --round 0 --rule fraction --score zc --first-angstrom 40 --last-angstrom 8`

    `cryocore replay results/demo --round last --compare fraction=0.6@zc --compare mixture --compare soft`

    `cryocore replay results/demo --round last --rule posterior --value 0.9 --star pure.star`

    `cryocore replay results/demo --round last --quality none --out even.parquet` - without B-factors and scales

    `cryocore replay results/demo --round last --compare fraction=0.9@quality` - without the dullest tenth
    """
    from tqdm import tqdm

    from cryocore.explore.replay.bands import BandLimit
    from cryocore.explore.replay.outcome import outcome_text, outcomes_table
    from cryocore.explore.replay.replay import replay as run_replay
    from cryocore.explore.replay.replay import require_one, write_star, write_subset
    from cryocore.explore.replay.request import Request, numbers
    from cryocore.log.rounds import find_rounds, wanted_rounds

    limit = None
    if first_angstrom is not None or last_angstrom is not None:
        limit = BandLimit(first_angstrom, last_angstrom)
    values = None if value is None else numbers(value)
    asked = Request(rule=rule, values=values, score=score, normalise=normalise, quality=quality, limit=limit, seed=seed)
    requests = [asked.compact(text) for text in compare or []] or [asked]
    chosen = wanted_rounds(find_rounds(source), rounds)
    if star or out or plot:
        require_one(len(chosen) * len(requests))
    with tqdm(total=len(chosen) * len(requests), unit="selection", disable=None, leave=False) as bar:
        outcomes = run_replay(source, requests, rounds=rounds, done=bar.update)
    if star:
        write_star(outcomes[0], chosen[0], star, parent)
    if out:
        write_subset(outcomes[0], chosen[0], out)
    if plot:
        from cryocore.explore.replay.figures import cut_figure
        from cryocore.figures.look import save

        save(cut_figure(outcomes[0]), plot)
    text = outcome_text(outcomes[0]) if len(outcomes) == 1 else outcomes_table(outcomes)
    answer(text, [o.as_dict() for o in outcomes], as_json)
