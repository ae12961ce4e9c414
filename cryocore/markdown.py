"""Tables as text: of Markdown pages, and aligned for terminals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def table_lines(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """A table, a line per row; bars within cells are escaped.

    >>> table_lines(["rule", "value"], [["soft", 0.05]])
    ['| rule | value |', '|---|---|', '| soft | 0.05 |']
    """
    body = ([str(cell).replace("|", "\\|") for cell in row] for row in rows)
    first, *others = (f"| {' | '.join(line)} |" for line in [head, *body])
    return [first, "|---" * len(head) + "|", *others]


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """:func:`table_lines` as one text."""
    return "".join(f"{line}\n" for line in table_lines(head, rows))


def aligned_text(rows: Sequence[Sequence[str]], left: Sequence[int] = ()) -> str:
    """Rows of cells in columns, to the right but for those in ``left``."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)
