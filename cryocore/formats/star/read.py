"""The values of a STAR file's particles and optics groups."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryocore.errors import InputError
from cryocore.formats.star.layout import (
    IMAGE_NAME,
    TOKEN,
    Block,
    Lines,
    check_counts,
    decode,
    find_blocks,
    is_utf8,
    particle_block,
    read_lines,
)
from cryocore.types import Ints

NAME_LABELS = frozenset(
    {
        IMAGE_NAME,
        "rlnImageOriginalName",
        "rlnReconstructImageName",
        "rlnMicrographName",
        "rlnOpticsGroupName",
        "rlnGroupName",
        "rlnTomoName",
        "rlnTomoParticleName",
        "rlnOddZernike",
        "rlnEvenZernike",
    }
)
"""Columns that hold text even where it looks like a number."""


@dataclass(frozen=True)
class StarTables:
    """The particles of a file, in file order, and its optics groups, under RELION's labels.

    ``particles`` and ``optics`` have one column per label, without the underscore; ``optics`` is None for
    RELION <= 3.0. ``lines`` is the line number (from 1) of each particle; ``notices`` is what a user should know.
    Readers of other formats give ``names``, what the file itself calls a label, and ``ids`` ``(n,)``, where the file
    numbers its particles. ``rows`` ``(n,)`` are those of the file, from 0, where :meth:`take` left some out.
    """

    path: Path
    particles: pd.DataFrame
    optics: pd.DataFrame | None
    particle_block: str
    blocks: tuple[str, ...]
    notices: tuple[str, ...]
    lines: Ints
    names: Mapping[str, str] = field(default_factory=dict)
    ids: NDArray[np.uint64] | None = None
    rows: Ints | None = None

    def __len__(self) -> int:
        return len(self.particles)

    def take(self, index: Ints) -> StarTables:
        """The particles of ``index`` ``(m,)``, in that order, with all optics groups."""
        return replace(
            self,
            particles=self.particles.iloc[index].reset_index(drop=True),
            lines=self.lines[index],
            ids=None if self.ids is None else self.ids[index],
            rows=index if self.rows is None else self.rows[index],
        )


def read_star(path: str | Path) -> StarTables:
    """Read the particles of a STAR file, and its optics groups if it has them.

    Raises
    ------
    InputError  if the file is missing, empty, not a STAR file, has no or several tables of particles, or has a row
        with too few or too many values.
    """
    path = Path(path)
    lines = read_lines(path)
    blocks = find_blocks(path, lines)
    particles = particle_block(path, lines, blocks)
    optics = next((b for b in blocks if b.name == "optics"), None)
    ignored = [b.title for b in blocks if b is not particles and b is not optics]
    return StarTables(
        path=path,
        particles=_read_table(path, lines, particles),
        optics=None if optics is None else _read_table(path, lines, optics),
        particle_block=particles.title,
        blocks=tuple(b.title for b in blocks),
        notices=(f"ignored: {', '.join(ignored)}",) if ignored else (),
        lines=1 + (particles.rows if particles.is_loop else np.array(particles.label_lines[:1])),
    )


def to_numbers(column: pd.Series) -> NDArray[np.float64]:
    """The column as float64, NaN where a value is no number."""
    if column.dtype == bool:
        return np.full(len(column), np.nan)
    try:
        return pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    except OverflowError:  # hundreds of digits, which as text are infinite
        return np.array(column.astype(str).tolist()).astype(np.float64)


def _read_table(path: Path, lines: Lines, block: Block) -> pd.DataFrame:
    """All columns of a block; a column is numeric where all its values are."""
    if not block.is_loop:
        return _read_single(path, lines, block)
    check_counts(path, lines, block)
    rows = block.rows
    if not len(rows):
        return pd.DataFrame({label: pd.Series([], dtype=str) for label in block.labels})
    # pandas drops a byte order mark before the first value
    if lines.quoted[rows].any() or lines[rows[0]].startswith(codecs.BOM_UTF8):
        return _typed([[_unquote(path, t, i) for t in TOKEN.findall(lines[i])] for i in rows], block)
    together = rows[-1] - rows[0] == len(rows) - 1
    text = lines.text(rows[0], rows[-1] + 1) if together else b"\n".join(lines[i] for i in rows)
    try:
        table = pd.read_csv(
            io.BytesIO(text),
            sep=r"\s+",
            header=None,
            dtype={i: str for i, label in enumerate(block.labels) if label in NAME_LABELS},
            quoting=csv.QUOTE_NONE,
            na_filter=False,
            low_memory=False,
        )
    except UnicodeDecodeError:
        line = next(int(i) for i in rows if not is_utf8(lines[i]))
        raise InputError(f"line {line + 1} is not UTF-8 text", file=path, fix="Save the file as UTF-8") from None
    table.columns = pd.Index(block.labels)
    return table


def _read_single(path: Path, lines: Lines, block: Block) -> pd.DataFrame:
    """The one row of a block of ``_label value`` lines."""
    row = []
    for label, line in zip(block.labels, block.label_lines, strict=True):
        tokens = TOKEN.findall(lines[line])
        if len(tokens) < 2 or tokens[1].startswith(b"#"):
            raise InputError(f"line {line + 1} has no value", file=path, column=label, fix="Complete the line")
        row.append(_unquote(path, tokens[1], line))
    return _typed([row], block)


def _typed(rows: list[list[str]], block: Block) -> pd.DataFrame:
    """A table of texts, with numbers where a whole column is numbers."""
    table = pd.DataFrame(rows, columns=list(block.labels), dtype=str)
    for label in set(block.labels) - NAME_LABELS:
        numbers = pd.to_numeric(table[label], errors="coerce")
        if not numbers.isna().any():
            table[label] = numbers
    return table


def _unquote(path: Path, token: bytes, line: int) -> str:
    quoted = len(token) > 1 and token[:1] in (b'"', b"'") and token[-1:] == token[:1]
    return decode(path, token[1:-1] if quoted else token, line)
