"""Where the image paths of a selection start from, recorded in what is written.

A selection lies in another folder than its parent, and its image paths stay as the other programs expect them. Comment
lines at the top of a STAR or ``.thu`` file, and of the ``.csg`` beside a ``.cs`` file, name the folder that they start
from: relative to the file, for a project that is moved as a whole, and absolute, for a file that is moved alone::

    # image paths start from ../../data
    # image paths start from /project/data

A selection of a ``.cs`` file that needs passthrough files names that file in the same way, in its ``.csg``::

    # passthrough files lie beside ../../J9/J9_005_particles.cs

RELION and cisTEM take what follows ``data_`` for a block wherever it stands in a line, comments included, and THUNDER
knows no second ``#``: such characters are written as ``%5F`` and ``%23``.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote

MARK = "# image paths start from "
BESIDE = "# passthrough files lie beside "

_CODED = re.compile("[%#\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]|(?<=data)_|^[ \u00a0\u3000]+|[ \u00a0\u3000]+$")
_MOST_LINES = 100


def record(root: str | None, parent: str | Path, out: str | Path) -> bytes:
    """The lines that ``out`` begins with: of ``root``, else of the folder that ``parent`` names; none without either.

    Parameters
    ----------
    root : directory that image paths start from, as seen from the working directory
    parent : the file that ``out`` is made of
    """
    if root is None:
        known = recorded_roots(parent)
        root = next((folder for folder in known if os.path.isdir(folder)), known[-1] if known else None)
    return b"" if root is None else _lines(MARK, root, out)


def record_origin(origin: str | Path, out: str | Path) -> bytes:
    """The lines of the ``.csg`` of ``out`` that name the ``.cs`` file beside which its passthrough files lie."""
    return _lines(BESIDE, origin, out)


def _lines(mark: str, place: str | Path, out: str | Path) -> bytes:
    absolute = os.path.realpath(place)
    relative = os.path.relpath(absolute, os.path.dirname(os.path.realpath(out)))
    return b"".join(f"{mark}{_coded(path)}\n".encode() for path in (relative, absolute))


def recorded_roots(path: str | Path) -> list[str]:
    """The folders that a file names, as they are reached from the working directory; the likeliest first."""
    return _recorded(Path(path), MARK)


def recorded_origin(path: str | Path) -> str | None:
    """The ``.cs`` file beside which the passthrough files of a selection lie, the likeliest; None: it names none."""
    known = _recorded(Path(path), BESIDE)
    return next((origin for origin in known if os.path.isfile(origin)), known[-1] if known else None)


def _recorded(path: Path, mark: str) -> list[str]:
    try:
        with (path.with_suffix(".csg") if path.suffix.lower() == ".cs" else path).open("rb") as file:
            lines = [file.readline(1 << 16) for _ in range(_MOST_LINES)]
    except (OSError, ValueError):
        return []
    home = os.path.dirname(os.path.realpath(path))
    found = (_folder(line, mark) for line in itertools.takewhile(lambda line: line.startswith(b"#"), lines))
    return [_short(os.path.normpath(os.path.join(home, folder))) for folder in found if folder and "\0" not in folder]


def without_record(text: bytes) -> bytes:
    """The beginning of a file without the lines that name folders."""
    kept, start = b"", 0
    while text.startswith(b"#", start):
        stop = text.find(b"\n", start) + 1 or len(text)
        kept += b"" if _folder(text[start:stop]) is not None else text[start:stop]
        start = stop
    return kept + text[start:]


def first_relative(names: Iterable[str]) -> str | None:
    """The first stack that is no absolute path, of image names ``number@stack`` or stacks; None: all are."""
    paths = (str(name).rpartition("@")[2] for name in names)
    return next((path for path in paths if not os.path.isabs(path)), None)


def _folder(line: bytes, mark: str = MARK) -> str | None:
    text = line.decode(errors="replace")
    return unquote(text[len(mark) :].strip(), errors="surrogateescape") if text.startswith(mark) else None


def _coded(folder: str) -> str:
    return _CODED.sub(lambda found: "".join(f"%{b:02X}" for b in os.fsencode(found[0])), folder)


def _short(folder: str) -> str:
    """The folder as seen from the working directory, if it lies in it."""
    relative = os.path.relpath(folder)
    return folder if relative.split(os.sep)[0] == os.pardir else relative
