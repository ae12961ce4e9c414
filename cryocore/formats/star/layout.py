"""Where everything is in a STAR file: its lines, blocks, labels and rows."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryocore.errors import InputError
from cryocore.formats.foreign import BEGIN_BYTES, identify, is_binary
from cryocore.tables.io import why
from cryocore.types import Bools, Ints

IMAGE_NAME = "rlnImageName"
TOKEN = re.compile(rb"\"[^\"]*\"(?=[ \t\r\n]|$)|'[^']*'(?=[ \t\r\n]|$)|[^ \t\r\n]+")
"""One value of a row: quoted, where the closing quote ends it, or a run of non-blanks."""

_LABEL = re.compile(rb"\s*_\S")
_LOOP_LABEL = re.compile(rb"\s*_\S+(\s+#.*)?\s*$")
_BLOCK_LINE = re.compile(rb"data_\S*(\s+#.*)?")
_FOREIGN = {
    codecs.BOM_UTF8: "begins with a byte order mark",
    codecs.BOM_UTF16_LE: "is UTF-16 text",
    codecs.BOM_UTF16_BE: "is UTF-16 text",
}
_CHUNK_LINES = 1 << 16
_CHUNK_BYTES = 1 << 24


@dataclass(frozen=True)
class Lines:
    """The lines of a file: first byte, byte after the last (line end excluded), values, first character, quotes."""

    data: bytes
    start: Ints
    end: Ints
    n_values: Ints
    first: NDArray[np.uint8]
    quoted: Bools

    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, line: int) -> bytes:
        return self.data[self.start[line] : self.end[line]]

    def line_end(self, line: int) -> bytes:
        """The characters that end the line; empty only at the end of the file."""
        stop = self.start[line + 1] if line + 1 < len(self) else len(self.data)
        return self.data[self.end[line] : stop]

    def text(self, low: int, high: int) -> bytes:
        """The bytes from line ``low`` to before line ``high``, line ends included."""
        stop = self.start[high] if high < len(self) else len(self.data)
        return self.data[self.start[low] : stop] if low < high else b""

    @property
    def is_content(self) -> Bools:
        """Neither blank nor a comment, ``(n_lines,)``."""
        return (self.n_values > 0) & (self.first != ord("#"))


@dataclass(frozen=True)
class Block:
    """One ``data_`` block: its labels, the lines (from 0) that declare them and the lines that are its rows."""

    name: str
    is_loop: bool
    labels: tuple[str, ...]
    label_lines: tuple[int, ...]
    rows: Ints

    @property
    def title(self) -> str:
        """The block's name as it stands in the file."""
        return f"data_{self.name}"


def read_lines(path: Path, kind: str = "STAR") -> Lines:
    """Read the file and index its lines, or say why it is no file of its kind."""
    if path.is_dir():
        raise InputError("is a directory", file=path, fix=f"Give the {kind} file inside it")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError("file does not exist", file=path, fix=f"Give an existing {kind} file") from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read ({why(error)})", file=path, fix="Check its name and permissions") from None
    if not data or data.isspace():
        raise InputError("file is empty", file=path, fix=f"Write the {kind} file again")
    foreign = next((what for begin, what in _FOREIGN.items() if data.startswith(begin)), None)
    if foreign is not None:
        raise InputError(f"not a {kind} file: it {foreign}", file=path, fix="Save it as plain UTF-8 text")
    if is_binary(data):
        refuse_foreign(path, data, kind)
    if b"\0" in data:
        raise InputError(f"not a {kind} file: it holds binary data", file=path, fix=f"Give a {kind} file")
    if data.count(b"\r") != data.count(b"\r\n"):
        raise InputError("has carriage returns inside its lines", file=path, fix="Save it with Unix line ends")
    start, end = _split_lines(data)
    return Lines(data, start, end, *_scan_lines(data, start, end))


def refuse_foreign(path: Path, data: bytes, kind: str = "STAR") -> None:
    """Refuse a file that another program's content or suffix gives away, by its name."""
    found = identify(path, data[:BEGIN_BYTES], but="star")
    if found is not None:
        raise InputError(f"not a {kind} file of particles: it is {found.name}", file=path, fix=found.fix)


def _split_lines(data: bytes) -> tuple[Ints, Ints]:
    """First byte of every line and the byte after its last."""
    text = np.frombuffer(data, dtype=np.uint8)
    parts = [np.flatnonzero(text[i : i + _CHUNK_BYTES] == 10) + i for i in range(0, len(text), _CHUNK_BYTES)]
    breaks = np.concatenate(parts).astype(np.int64)
    if not len(breaks) or breaks[-1] != len(text) - 1:
        breaks = np.append(breaks, len(text))
    start = np.concatenate([[0], breaks[:-1] + 1])
    return start, breaks - ((breaks > start) & (text[breaks - 1] == 13))


def _scan_lines(data: bytes, start: Ints, end: Ints) -> tuple[Ints, NDArray[np.uint8], Bools]:
    """Number of values on every line, its first character (0 if blank) and whether it has quoted values."""
    text = np.frombuffer(data, dtype=np.uint8)
    n_values, first = np.zeros(len(start), dtype=np.int64), np.zeros(len(start), dtype=np.uint8)
    quoted = np.zeros(len(start), dtype=bool)
    for low in range(0, len(start), _CHUNK_LINES):
        high = min(low + _CHUNK_LINES, len(start))
        chunk = text[start[low] : end[high - 1]]
        ink = np.concatenate([[False], (chunk != 32) & (chunk != 9) & (chunk != 10) & (chunk != 13)])
        word = np.flatnonzero(ink[1:] & ~ink[:-1])
        line = np.searchsorted(start[low:high] - start[low], word, side="right") - 1 + low
        n_values[low:high] = np.bincount(line - low, minlength=high - low)
        fresh = np.flatnonzero(np.diff(line, prepend=-1))
        first[line[fresh]] = chunk[word[fresh]]
        quoted[line[(chunk[word] == ord('"')) | (chunk[word] == ord("'"))]] = True
    for i in np.flatnonzero(quoted):
        n_values[i] = len(TOKEN.findall(data[start[i] : end[i]]))
    return n_values, first, quoted


def find_blocks(path: Path, lines: Lines) -> list[Block]:
    """All blocks of the file, in order."""
    content = lines.is_content
    candidates = map(int, np.flatnonzero(content & (lines.first == ord("d"))))
    heads = [i for i in candidates if _BLOCK_LINE.fullmatch(lines[i].strip())]
    first = int(np.argmax(content))
    if not heads or first < heads[0]:
        refuse_foreign(path, lines.data)
        problem = "it has no data_ block" if not heads else f"line {first + 1} stands before its first data_ block"
        raise InputError(f"not a STAR file: {problem}", file=path, fix="Give a RELION STAR file of particles")
    blocks = [_read_block(path, lines, a, b) for a, b in zip(heads, [*heads[1:], len(lines)], strict=True)]
    names = [b.name for b in blocks]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        raise InputError(f"block data_{twice} appears twice", file=path, fix="Keep one of them")
    return blocks


def _read_block(path: Path, lines: Lines, head: int, stop: int) -> Block:
    """The block whose ``data_`` line is ``head`` and which ends before line ``stop``."""
    name = decode(path, TOKEN.findall(lines[head])[0], head)[len("data_") :]
    body = np.flatnonzero(lines.is_content[head + 1 : stop]) + head + 1
    is_loop = len(body) > 0 and TOKEN.findall(lines[int(body[0])])[0] == b"loop_"
    body = body[1:] if is_loop else body
    pattern = _LOOP_LABEL if is_loop else _LABEL
    n_labels = next((n for n, i in enumerate(body) if not pattern.match(lines[int(i)])), len(body))
    label_lines = tuple(int(i) for i in body[:n_labels])
    labels = tuple(decode(path, TOKEN.findall(lines[i])[0], i)[1:] for i in label_lines)
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise InputError(f"data_{name} has the column twice", file=path, column=twice, fix="Remove one of them")
    if not is_loop and n_labels < len(body):
        refuse_foreign(path, lines.data)
        problem = f"line {body[n_labels] + 1} in data_{name} is neither loop_ nor a label"
        raise InputError(problem, file=path, fix="Write the table as loop_, labels, rows")
    return Block(name, is_loop, labels, label_lines, body[n_labels:])


def particle_block(path: Path, lines: Lines, blocks: list[Block]) -> Block:
    """The one table of particles."""
    named = [b for b in blocks if b.name == "particles"]
    tables = named or [b for b in blocks if IMAGE_NAME in b.labels and b.name != "optics"]
    titles = ", ".join(b.title for b in tables or blocks)
    if not tables:
        refuse_foreign(path, lines.data)
        fix = "Give the STAR file of a refinement or an extraction, not one of micrographs or settings"
        problem = f"no table of particles among its blocks ({titles})"
        raise InputError(problem, file=path, column=IMAGE_NAME, fix=fix)
    if len(tables) > 1:
        raise InputError(f"several tables of particles ({titles})", file=path, fix="Keep one table in the file")
    if IMAGE_NAME not in tables[0].labels:
        fix = "Extract the particles and give the STAR file of that job"
        raise InputError(f"{titles} names no images", file=path, column=IMAGE_NAME, fix=fix)
    if tables[0].is_loop and not len(tables[0].rows):
        raise InputError(f"{titles} has no rows", file=path, fix="Give a STAR file that has particles")
    return tables[0]


def check_counts(path: Path, lines: Lines, block: Block) -> None:
    """Refuse rows with more or fewer values than there are labels."""
    wrong = np.flatnonzero(lines.n_values[block.rows] != len(block.labels))
    if len(wrong):
        line = int(block.rows[wrong[0]])
        raise InputError(
            f"line {line + 1} has {lines.n_values[line]} values for the {len(block.labels)} columns of {block.title}",
            file=path,
            row=int(wrong[0]) + 1,
            fix="Complete the row, or put quotes around values that contain spaces",
        )


def is_utf8(text: bytes) -> bool:
    """Whether the bytes are text."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def decode(path: Path, text: bytes, line: int) -> str:
    """The bytes as text, or an error that names the line (from 0)."""
    if not is_utf8(text):
        raise InputError(f"line {line + 1} is not UTF-8 text", file=path, fix="Save the file as UTF-8")
    return text.decode()
