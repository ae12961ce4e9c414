"""How verbs answer: text for people, JSON for programs, both on standard output."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Write JSON instead of text.")]


def answer(text: str, value: Any, as_json: bool) -> None:
    """Print one of both."""
    typer.echo(json.dumps(value, indent=2) if as_json else text)


def require_choice(value: str, known: Sequence[str], option: str) -> None:
    """Refuse a value of an option that is none of those known."""
    from cryocore.errors import InputError

    if value not in known:
        raise InputError(f"there is no {value!r}", setting=option, fix=f"Choose one of {', '.join(known)}")
