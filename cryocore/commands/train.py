"""``cryocore train``: a classifier from finished runs, for ``classify.model`` of others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cryocore.commands.output import AsJson, answer, require_choice
from cryocore.commands.stages import options


def train(
    runs: Annotated[
        list[Path] | None, typer.Argument(help="results/RUN; images and maps are read.", metavar="[RUN...]")
    ] = None,
    *,
    out: Annotated[Path, typer.Option(help="Folder of the model.")],
    correct: Annotated[
        Path | None, typer.Option(help="Without a run: residual images of correct particles, .npy or .mrcs.")
    ] = None,
    incorrect: Annotated[Path | None, typer.Option(help="And of incorrect ones, of the same side.")] = None,
    model: Annotated[str, typer.Option(help="logistic, boosting or cnn.")] = "logistic",
    start: Annotated[
        Path | None,
        typer.Option(help="Folder of a cnn to fine-tune: of cryocore train, or round_N/classifier of a run."),
    ] = None,
    labels: Annotated[str, typer.Option(help="truth (of planted errors), planted, or probable.")] = "truth",
    number: Annotated[str, typer.Option("--round", help="Round of each run: last or a number.")] = "last",
    training_set: Annotated[int, typer.Option(help="Particles per half set and run to learn from.", min=50)] = 2000,
    folds: Annotated[int, typer.Option(help="Of micrographs, for the card's figures.", min=3)] = 5,
    image_size: Annotated[int, typer.Option(help="Side of the images in pixels.", min=16)] = 64,
    seed: Annotated[int, typer.Option(help="Of everything random.", min=0)] = 0,
    backend: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: options.Threads = 2,
    as_json: AsJson = False,
) -> None:
    """Train a classifier on finished runs, and write it with a card that says what it is worth.

    To train on your own data without knowing the truth, plant errors into it (input.plant), run the workflow, and
    train on that run; docs/how-to/use-a-classifier.md shows it. From two stacks of residual images a network learns
    without a run, from residuals alone.

    **Examples**

    `cryocore train results/planted --out models/mine --model cnn`

    `cryocore train results/a results/b --out models/both --labels planted`

    `cryocore train --correct res_corr.npy --incorrect res_wrong.npy --out models/residuals`

    `cryocore train results/mine --labels planted --model cnn --start models/theirs --out models/tuned`
    """
    import json

    from cryocore.backend import get_backend
    from cryocore.classify.rounds import open_run
    from cryocore.classify.train import train as fit
    from cryocore.config.checks import checked
    from cryocore.config.classify import CLASSIFIERS, Classify
    from cryocore.errors import InputError

    require_choice(model, CLASSIFIERS, "--model")
    require_choice(labels, ("truth", "planted", "probable"), "--labels")
    values = {"model": model, "n_training": training_set, "n_folds": folds, "image_size": image_size}
    values |= {} if labels == "truth" else {"labels": labels}
    values |= {} if start is None else {"start": str(start)}
    values |= {"model": "cnn"} if correct is not None else {}
    settings = checked(Classify, values)
    engine = get_backend(backend, threads=threads)
    if correct is not None and incorrect is not None and not runs:
        from cryocore.classify.plain import train_plain

        train_plain(correct, incorrect, settings, out, seed=seed, device=engine.device)
        return answer((out / "card.md").read_text(), json.loads((out / "card.json").read_text()), as_json)
    if not runs or correct is not None or incorrect is not None:
        problem, fix = "neither runs nor two stacks, or both", "Give runs, or --correct and --incorrect"
        raise InputError(problem, fix=fix)
    rounds = [open_run(run, number, engine) for run in runs]
    fit(rounds, settings, labels, out, seed=seed, device=engine.device)
    answer((out / "card.md").read_text(), json.loads((out / "card.json").read_text()), as_json)
