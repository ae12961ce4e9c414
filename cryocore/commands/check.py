"""``cryocore check``: whether a configuration is valid."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cryocore.commands.output import AsJson, answer


def check(
    file: Annotated[Path, typer.Argument(help="Configuration, as my.yaml.", metavar="YAML")], as_json: AsJson = False
) -> None:
    """Check a configuration without running anything: its syntax by line, every key and value by name.

    **Examples**

    `cryocore check my.yaml`
    """
    from cryocore.config.file import read_config

    config = read_config(file)
    particles = ", ".join(config.input.files) or f"{config.input.simulate.n_particles} simulated particles"
    rounds = "1 round" if config.n_rounds == 1 else f"{config.n_rounds} rounds"
    text = f"{file} is valid: run {config.run}, {rounds} on {particles}, {config.symmetry}"
    answer(text, config.model_dump(mode="json"), as_json)
