"""Docstrings of this project as Markdown, for mkdocstrings: lists of parameters, named parts, roles and examples."""

from __future__ import annotations

import re
from typing import Any

import griffe

SECTION = re.compile(r"(\w+)\n-{3,}\n")
IN_SECTION = re.compile(r"(?P<names>\w+(?:, \w+)*) : (?P<text>.*)|(?P<name>\w+) {2,}(?P<about>.*)", re.DOTALL)
NAMED = re.compile(r"(?P<names>``\w+``(?:, ``\w+``)*)(?: : | {2,})(?P<text>.*)", re.DOTALL)
ROLE = re.compile(r":\w+:`~?([^`]+)`")


class Markdown(griffe.Extension):
    """Rewrites docstrings as they are found."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite that of one object."""
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """A docstring whose indentation is gone as Markdown.

    >>> print(as_markdown("Sum.\\n\\nRaises\\n------\\nInputError  if there is none"))
    Sum.
    <BLANKLINE>
    **Raises**
    <BLANKLINE>
    - `InputError`: if there is none
    """
    text = ROLE.sub(r"`\1`", text).replace("]_", "]").replace(".. [", "[")
    return "\n\n".join(map(_block, re.split(r"\n\s*\n", text)))


def _block(block: str) -> str:
    """One paragraph, list, section or example."""
    if block.startswith(">>>"):
        return f"```pycon\n{block}\n```"
    if section := SECTION.match(block):
        return f"**{section[1]}**\n\n{_entries(block[section.end() :], IN_SECTION)}"
    first, _, rest = block.partition("\n")
    if rest and all(line.startswith("    ") for line in rest.splitlines()) and first[0] != " " and first[-1].isalpha():
        return f"**{first}**\n:   {rest.strip()}"
    return _entries(block, NAMED)


def _entries(block: str, pattern: re.Pattern[str]) -> str:
    """A list of what has a name; the block as it is where nothing has."""
    entries = [pattern.fullmatch(entry) for entry in re.split(r"\n(?! )", block)]
    if not all(entries):
        return block
    lines = []
    for found in filter(None, entries):
        parts = [part for part in found.groupdict().values() if part is not None]
        names = ", ".join(f"`{name}`" for name in parts[0].replace("`", "").split(", "))
        lines.append(f"- {names}: {' '.join(parts[1].split())}")
    return "\n".join(lines)
