"""How verbs answer: text for people, JSON for programs, both on standard output."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Write JSON instead of text.")]


def answer(text: str, value: Any, as_json: bool) -> None:
    """Print one of both."""
    typer.echo(json.dumps(value, indent=2) if as_json else text)
