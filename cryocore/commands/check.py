"""``cryocore check``: whether a configuration is valid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cryocore.commands.output import AsJson, answer

if TYPE_CHECKING:
    from cryocore.config.run import Config


def check(
    file: Annotated[Path, typer.Argument(help="Configuration, as my.yaml.", metavar="YAML")], as_json: AsJson = False
) -> None:
    """Check a configuration without running anything: its syntax by line, every key and value by name. Files that it
    names and that are not there, seen from here, are told.

    **Examples**

    `cryocore check my.yaml`
    """
    from cryocore.config.file import read_config

    config = read_config(file)
    particles = ", ".join(config.input.files) or f"{config.input.simulate.n_particles} simulated particles"
    rounds = "1 round" if config.n_rounds == 1 else f"{config.n_rounds} rounds"
    text = f"{file} is valid: run {config.run}, {rounds} on {particles}, {config.symmetry}"
    text += "".join(f"\n{setting}: {name} is not there, seen from {Path.cwd()}" for setting, name in _absent(config))
    answer(text, config.model_dump(mode="json"), as_json)


def _absent(config: Config) -> Iterator[tuple[str, str]]:
    """Settings whose files or folders are not there, and what they name."""
    from cryocore.config.classify import CLASSIFIERS

    given, simulated = config.input, config.input.simulate
    settings: dict[str, Sequence[str | None]] = {
        "input.star": given.files,
        "input.passthrough": [given.passthrough],
        "input.root": [given.root],
        "input.truth": [given.truth],
        "input.true_map": [given.true_map],
        "reconstruct.mask": [config.reconstruct.mask],
        "score.region": [config.score.region],
        "classify.model": [] if config.classify.model in ("none", *CLASSIFIERS) else [config.classify.model],
        "classify.start": [config.classify.start],
    }
    if not given.files:
        for name in ("volume", "poses", "micrographs", "background_images"):
            settings[f"input.simulate.{name}"] = [getattr(simulated, name)]
    for setting, names in settings.items():
        yield from ((setting, name) for name in names if name is not None and not Path(name).exists())
