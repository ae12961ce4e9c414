"""Filters and edits of a STAR file that keep every other byte."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cryocore.errors import InputError
from cryocore.formats.roots import record, without_record
from cryocore.formats.star.layout import TOKEN, Block, Lines, check_counts, find_blocks, particle_block, read_lines
from cryocore.tables.io import atomic_path
from cryocore.types import Bools, Ints

log = logging.getLogger(__name__)

Values = Sequence[Any] | NDArray[Any]

BODY = re.compile(r"images_body_\d+")
"""The tables of a multi-body refinement, which RELION reads row by row with that of the particles."""
_BUFFER = 1 << 22
_LINE_ENDS = "\n\r\0\v\f\x1c\x1d\x1e\x85\u2028\u2029"
_SIGNS, _WORDS = "\"'#_;$[]", ("data_", "loop_", "save_", "stop_", "global_")
"""What a value begins with that a STAR file would take for something else."""


def filter_star(
    parent: str | Path, keep: Bools, extra: Mapping[str, Values], out: str | Path, root: str | None = None
) -> None:
    """Write the kept rows of ``parent`` in order, byte for byte but for the extra columns.

    Parameters
    ----------
    parent : STAR file with n particles
    keep : (n,)       rows to keep
    extra : label -> (n_kept,) values of the kept rows; those of a label that the parent has are replaced
    out : file to write; headers, comments and other blocks are those of the parent, tables of bodies without the rows
        of particles that are not kept
    root : directory that image paths start from; None: that which the parent names, if it names one

    Raises
    ------
    InputError  if ``parent`` does not have n particles any more.
    """
    edit_star(parent, out, keep=keep, extra=extra, root=root)


def edit_star(
    parent: str | Path,
    out: str | Path,
    *,
    keep: Bools | None = None,
    extra: Mapping[str, Values] | None = None,
    edits: Mapping[int, Mapping[str, Any]] | None = None,
    root: str | None = None,
) -> None:
    """Write ``parent`` with rows left out, columns appended or values replaced; all else byte for byte.

    Parameters
    ----------
    keep : (n,)       rows to keep; None keeps all
    extra : label -> (n_kept,) values of the kept rows; those of labels that the parent has are replaced
    edits : row (from 0) -> label -> new value; labels are columns of the parent
    root : directory that image paths start from, which the first lines name (:mod:`cryocore.formats.roots`)
    """
    parent = Path(parent)
    lines = read_lines(parent)
    blocks = find_blocks(parent, lines)
    block = particle_block(parent, lines, blocks)
    if not block.is_loop:
        raise InputError("its particles are not in a loop_", file=parent, fix="Write them as loop_, labels, rows")
    check_counts(parent, lines, block)
    kept = np.ones(len(block.rows), dtype=bool) if keep is None else np.asarray(keep, dtype=bool)
    if kept.shape != block.rows.shape:
        problem = f"has {len(block.rows)} particles where {kept.size} are expected"
        raise InputError(problem, file=parent, fix="The file has changed: run the workflow from the start")
    values = {label.removeprefix("_"): v for label, v in (extra or {}).items()}
    for label, v in values.items():
        if len(v) != kept.sum():
            raise ValueError(f"column {label} needs one value for each of {kept.sum()} kept rows; got {len(v)}")
    texts = {label: _formatted(v) for label, v in values.items() if label not in block.labels}
    known = {label: np.asarray(v).tolist() for label, v in values.items() if label in block.labels}
    if known:
        log.info("%s: replaced %s", parent, ", ".join(known))
        rows = np.flatnonzero(kept).tolist()
        of_row = {row: dict(zip(known, vs, strict=True)) for row, *vs in zip(rows, *known.values(), strict=True)}
        edits = {row: {**of_row.get(row, {}), **(edits or {}).get(row, {})} for row in {*of_row, *(edits or {})}}
    with atomic_path(out) as temporary, temporary.open("wb", buffering=_BUFFER) as file:
        file.write(record(root, parent, out))
        _write(file, lines, block, kept, texts, edits or {}, _left_out(parent, blocks, kept))


def _left_out(parent: Path, blocks: list[Block], kept: Bools) -> Ints:
    """The lines of tables of bodies, whose row i is of particle i, that go with the particles that are not kept."""
    bodies = [b for b in blocks if BODY.fullmatch(b.name)]
    for body in bodies:
        if len(body.rows) != len(kept):
            problem = f"{body.title} has {len(body.rows)} rows for {len(kept)} particles"
            raise InputError(problem, file=parent, fix="Remove the table, or give it a row for every particle")
    return np.concatenate([np.zeros(0, dtype=np.int64), *(body.rows[~kept] for body in bodies)])


def _between(lines: Lines, low: int, high: int, left_out: Ints) -> bytes:
    """The bytes from line ``low`` to before line ``high``, without the lines that are left out."""
    gone = np.sort(left_out[(left_out >= low) & (left_out < high)])
    if not len(gone):
        return lines.text(low, high)
    lengths = np.diff(np.append(lines.start, len(lines.data)))[low:high]
    stays = np.ones(high - low, dtype=bool)
    stays[gone - low] = False
    return np.frombuffer(lines.text(low, high), dtype=np.uint8)[np.repeat(stays, lengths)].tobytes()


def _write(
    file: BinaryIO,
    lines: Lines,
    block: Block,
    kept: Bools,
    texts: dict[str, list[bytes]],
    edits: Mapping[int, Mapping[str, Any]],
    left_out: Ints,
) -> None:
    """Write the file: all before the rows, the rows, all after them, without the lines ``left_out`` among these."""
    first, last = int(block.rows[0]), int(block.rows[-1])
    after_labels = block.label_lines[-1] + 1
    file.write(without_record(_between(lines, 0, after_labels, left_out)))
    file.write(_new_labels(lines, block, list(texts)))
    file.write(lines.text(after_labels, first))
    new_line = lines.line_end(block.label_lines[-1]) or b"\n"
    appended = [b"".join(b" " + v for v in values) for values in zip(*texts.values(), strict=True)] if texts else None
    row_of = np.full(last - first + 1, -1)
    row_of[block.rows - first] = np.arange(len(block.rows))
    n_written = 0
    for line, row in enumerate(row_of.tolist(), start=first):
        if row < 0:
            file.write(lines.text(line, line + 1))
        elif kept[row]:
            text = _replace(lines[line], block.labels, edits[row]) if row in edits else lines[line]
            file.write(text + (appended[n_written] if appended else b"") + (lines.line_end(line) or new_line))
            n_written += 1
    file.write(_between(lines, last + 1, len(lines), left_out))


def _new_labels(lines: Lines, block: Block, labels: list[str]) -> bytes:
    """Lines that declare more columns, numbered if the file numbers them."""
    last = lines[block.label_lines[-1]]
    numbered = re.match(rb"\s*\S+\s+#\d+", last) is not None
    new_line = lines.line_end(block.label_lines[-1]) or b"\n"
    n = len(block.labels)
    return b"".join(
        f"_{label} #{n + i}".encode() + new_line if numbered else f"_{label}".encode() + new_line
        for i, label in enumerate(labels, start=1)
    )


def _replace(text: bytes, labels: tuple[str, ...], new: Mapping[str, Any]) -> bytes:
    """The row with some of its values replaced."""
    spans = [m.span() for m in TOKEN.finditer(text)]
    changes = sorted((spans[labels.index(label)], format_value(value)) for label, value in new.items())
    for (low, high), value in reversed(changes):
        text = text[:low] + value + text[high:]
    return text


def _formatted(values: Values) -> list[bytes]:
    return [format_value(v) for v in np.asarray(values).tolist()]


def format_value(value: Any) -> bytes:
    """One value as it stands in a STAR file: seven significant digits, text quoted where it must be.

    >>> format_value(0.1234567891), format_value(True), format_value("a b")
    (b'0.1234568', b'1', b'"a b"')
    """
    if isinstance(value, bool | np.bool_):
        return b"1" if value else b"0"
    if isinstance(value, float | np.floating):
        return f"{value:.7g}".encode()
    text = str(value)
    blank = " " in text or "\t" in text
    mark = next((mark for mark in "\"'" if mark not in text), None) if blank else '"'
    if mark is None or any(c in text for c in _LINE_ENDS):
        raise InputError(f"{text!r} cannot be written to a STAR file", fix="Use a name without line ends and quotes")
    quoted = not text or blank or text[0] in _SIGNS or text.lower().startswith(_WORDS)
    return f"{mark}{text}{mark}".encode() if quoted else text.encode()
