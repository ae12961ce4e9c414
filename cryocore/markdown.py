"""Pieces of Markdown pages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def table_lines(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """A table, a line per row; bars within cells are escaped.

    >>> table_lines(["rule", "value"], [["soft", 0.05]])
    ['| rule | value |', '| --- | --- |', '| soft | 0.05 |']
    """
    body = ([str(cell).replace("|", "\\|") for cell in row] for row in rows)
    return [f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *body]]


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """:func:`table_lines` as one text."""
    return "".join(f"{line}\n" for line in table_lines(head, rows))
