"""``cryocore loss-distribution``: why a loss has its peaks, and whether it depends on the pose."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cryocore.commands.output import AsJson, answer


def loss_distribution(
    source: Annotated[Path, typer.Argument(help="results/RUN, its log, or one log.parquet.", metavar="RUN_OR_LOG")],
    loss: Annotated[str | None, typer.Option(help="A score of the log; default: z, ncc or l2_loss.")] = None,
    number: Annotated[int | None, typer.Option("--round", help="Round; default: the last.")] = None,
    permutations: Annotated[int, typer.Option(help="Of each question.", min=19)] = 999,
    seed: Annotated[int, typer.Option(help="Of permutations, resampling and the blind test.", min=0)] = 0,
    figures: Annotated[Path | None, typer.Option(help="Draw the answers into this directory.")] = None,
    blind: Annotated[
        bool, typer.Option("--blind", help="Only draw the blind picture test; its answer goes to a file beside it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say why a loss has the peaks that it has, and test whether it depends on the viewing direction or the pose.

    docs/explanation/loss-distribution.md explains the tests.

    **Examples**

    `cryocore loss-distribution results/demo`

    `cryocore loss-distribution results/demo --round 0 --loss llr --figures explained`

    `cryocore loss-distribution results/demo --blind --figures quiz --seed 7` - which panel has the true losses?
    """
    from cryocore.errors import InputError
    from cryocore.explore.loss import analyse, read_columns
    from cryocore.explore.loss.figures import blind_figure, write_figures
    from cryocore.figures.look import save_both
    from cryocore.tables.io import write_json

    columns = read_columns(source, loss=loss, round_number=number)
    if blind:
        if figures is None:
            raise InputError("the blind test needs a place", setting="--figures", fix="Name a directory")
        test = blind_figure(columns, seed=seed)
        save_both(test.figure, figures, "blind")
        write_json(figures / "blind_answer.json", {"panel": test.answer, "chance": test.chance, "seed": seed})
        value = {"figure": str(figures / "blind.png"), "answer": str(figures / "blind_answer.json")}
        answer(f"{value['figure']}: which panel has the true losses? {value['answer']} tells.", value, as_json)
        return
    result = analyse(columns, permutations=permutations, seed=seed)
    if figures is not None:
        write_figures(result, figures)
    answer(result.text, result.as_dict(), as_json)
