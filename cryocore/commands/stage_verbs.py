"""The stages as verbs: the command lines that rules run, with settings from the run's configuration, and an answer."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from inspect import Parameter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cryocore.commands import stage_answers as tell
from cryocore.commands.output import AsJson, answer
from cryocore.commands.stages.cache import cache
from cryocore.commands.stages.classify import classify
from cryocore.commands.stages.examine import examine
from cryocore.commands.stages.gather import gather
from cryocore.commands.stages.ingest import ingest
from cryocore.commands.stages.join import join
from cryocore.commands.stages.look import look
from cryocore.commands.stages.noise import noise
from cryocore.commands.stages.plant import plant
from cryocore.commands.stages.reconstruct import reconstruct
from cryocore.commands.stages.refine import refine
from cryocore.commands.stages.refined import refined
from cryocore.commands.stages.report import report
from cryocore.commands.stages.score import score
from cryocore.commands.stages.select import select
from cryocore.commands.stages.simulate import simulate
from cryocore.commands.stages.solve import solve
from cryocore.commands.stages.sum import sum
from cryocore.commands.stages.truth import truth
from cryocore.commands.stages.validate import validate
from cryocore.errors import InputError

if TYPE_CHECKING:
    from cryocore.config.run import Config

Command = Callable[..., None]
ConfigFile = Annotated[
    Path, typer.Option("--config", "-c", help="The run's configuration, .yaml.", metavar="YAML", show_default=False)
]


def verb(command: Command, told: Callable[..., tell.Told] | None = None) -> Command:
    """The command of a stage with ``--config`` in place of ``--settings``, and with ``--json``.

    Parameters
    ----------
    command : of ``cryocore/commands/stages``
    told : the answer, from those of the command's arguments that it names; None: the files that it wrote
    """

    def run(as_json: bool, config: Path | None = None, **given: Any) -> None:
        chosen = command
        if config is not None:
            chosen, given = _of_run(command, config, given)
        with redirect_stdout(sys.stderr):
            chosen(**given)
        if told is None:
            files = [str(file) for name, file in given.items() if name.startswith("out")]
            answer(", ".join(files), {"files": files}, as_json)
        else:
            answer(*told(**{name: given[name] for name in inspect.signature(told).parameters}), as_json)

    parameters = list(_parameters(command))
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


def _parameters(command: Command) -> Iterator[Parameter]:
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        match parameter.name:
            case "settings":
                yield parameter.replace(name="config", annotation=ConfigFile)
            case "backend":
                yield parameter.replace(default=None)
            case _:
                yield parameter
    yield Parameter("as_json", Parameter.KEYWORD_ONLY, default=False, annotation=AsJson)


def _of_run(command: Command, file: Path, given: dict[str, Any]) -> tuple[Command, dict[str, Any]]:
    """The command that a run's configuration asks for, and its arguments with what the run says of them."""
    from cryocore.config.file import read_config
    from cryocore.workflow.settings import stage_settings

    config = read_config(file)
    name: Any = command.__name__
    values = {"settings": stage_settings(config, name, given.get("round_number", 0)), **given}
    values |= {n: value for n, value in _named(config).items() if n in given and given[n] is None}
    if command is classify and config.classify.model == "none" and given["model"] is None:
        fix = "Set it to logistic, boosting, cnn or a folder, or give --model"
        raise InputError("none means that there is no classifier", file=file, setting="classify.model", fix=fix)
    if command is reconstruct and config.reconstruct.method == "iterative":
        return solve, {n: values[n] for n in inspect.signature(solve).parameters}
    return command, values


def _named(config: Config) -> dict[str, Any]:
    """What a configuration names that is no setting of a stage: the backend, and files that are inputs of rules."""
    from cryocore.config.classify import CLASSIFIERS

    mask = config.score.region or config.reconstruct.mask
    true_map, model = config.input.true_map, config.classify.model
    return {
        "backend": config.backend,
        "mask": mask and Path(mask),
        "true_map": true_map and Path(true_map),
        "model": None if model in CLASSIFIERS else Path(model),
    }


VERBS = (
    verb(simulate, tell.simulated),
    verb(join),
    verb(plant),
    verb(ingest, tell.ingested),
    verb(cache),
    verb(sum),
    verb(reconstruct, tell.reconstructed),
    verb(examine, tell.examined),
    verb(noise),
    verb(score, tell.scored),
    verb(gather),
    verb(truth),
    verb(classify),
    verb(select, tell.selected),
    verb(validate, tell.validated),
    verb(look),
    verb(report),
    verb(refine),
    verb(refined),
)
