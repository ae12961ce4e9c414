"""What a file says of each of its particles, as keys to find it by in another file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from os.path import normpath
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cryocore.convert.cs_out import uids
from cryocore.errors import InputError
from cryocore.formats.cs import COORDINATES, UID_LABEL
from cryocore.formats.star import IMAGE_NAME
from cryocore.ingest.columns import PIXEL_SIZES, Columns
from cryocore.ingest.copies import MICROGRAPH
from cryocore.ingest.particles import DEFOCUS_U, DEFOCUS_V
from cryocore.ingest.stacks import without_format
from cryocore.types import Bools, Floats, Ints

LARGEST = 1e7
"""Coordinates beyond are none."""
SMALLEST_PIXEL = 1e-3
"""Pixels in Å below are none."""
NAMED = 5
_BY_CRYOSPARC = re.compile(r"^(?:\d{15,21}_)*(.+?)(?:_(?:patch|rigid)_aligned(?:_doseweighted)?)?$")

Images = tuple[Ints, list[str], NDArray[np.uint64]]
"""Stack of each image ``(n,)``, the stacks, and a hash of each image's number as text without zeros before it."""


@dataclass(frozen=True)
class Side:
    """A file of particles; or, where there are no ``columns``, a table's ``ids`` of selected particles."""

    path: Path
    columns: Columns | None
    ids: pd.Index | None = None

    def __len__(self) -> int:
        return len(self.columns) if self.columns is not None else len(self.ids if self.ids is not None else ())

    def has(self, *labels: str) -> bool:
        """Whether it is a file of particles that has all the columns."""
        return self.columns is not None and all(self.columns.has(label) for label in labels)

    def numbers(self, label: str) -> Floats:
        """A column ``(n,)`` of a file that has it, NaN where it holds no number."""
        return np.zeros(0) if self.columns is None else self.columns.numbers_or_nan(label)

    def images(self, label: str) -> Images:
        """What a column of image names says; that of the images themselves is read once."""
        return self._images if label == IMAGE_NAME else self._split(label)

    @cached_property
    def _images(self) -> Images:
        return self._split(IMAGE_NAME)

    def _split(self, label: str) -> Images:
        texts = pa.array(() if self.columns is None else self.columns.texts(label), pa.string())
        parts = pc.split_pattern(pc.binary_join_element_wise(texts, "", "@"), "@", max_splits=1)
        stack = pc.utf8_slice_codeunits(pc.list_element(parts, 1), 0, stop=-1).dictionary_encode()
        number = pc.utf8_ltrim(pc.list_element(parts, 0), "0").dictionary_encode()
        hashes = pd.util.hash_array(number.dictionary.to_numpy(zero_copy_only=False))
        return (
            stack.indices.to_numpy().astype(np.int64),
            list(map(without_format, stack.dictionary.to_pylist())),
            hashes[number.indices.to_numpy()],
        )

    @cached_property
    def micrographs(self) -> tuple[Ints, list[str]] | None:
        """Micrograph of each particle ``(n,)``, and their paths."""
        if self.columns is None or not self.columns.has(MICROGRAPH):
            return None
        code, paths = pd.factorize(self.columns.texts(MICROGRAPH))
        return code.astype(np.int64), list(map(str, paths))

    @cached_property
    def positions(self) -> Floats | None:
        """Coordinates ``(n, 2)`` in pixels of the micrograph, NaN where there are none."""
        if not self.has(*COORDINATES):
            return None
        return bounded(np.stack([self.numbers(label) for label in COORDINATES], axis=1))

    @cached_property
    def micrograph_pixel(self) -> Floats | None:
        """Size in Å ``(n,)`` of the pixels that coordinates count."""
        label = next((label for label in PIXEL_SIZES[1:] if self.has(label)), None)
        if label is None:
            return None
        pixel = self.numbers(label)
        return pixel if len(pixel) and ((pixel > SMALLEST_PIXEL) & (pixel < LARGEST)).all() else None

    @cached_property
    def defocus(self) -> Floats | None:
        """Mean defocus ``(n,)`` in Å."""
        if not self.has(DEFOCUS_U):
            return None
        u = self.numbers(DEFOCUS_U)
        return (u + self.numbers(DEFOCUS_V)) / 2 if self.has(DEFOCUS_V) else u

    @cached_property
    def uids(self) -> pd.Index | None:
        """cryoSPARC's numbers ``(n,)``; None if the file has none that tell particles apart."""
        if self.columns is None:
            return self.ids
        if self.columns.tables.ids is None and UID_LABEL not in self.columns.tables.particles:
            return None
        try:
            return pd.Index(uids(self.columns))
        except InputError:
            return None

    @cached_property
    def copies(self) -> Bools:
        """Which rows ``(n,)`` name the image of a row before."""
        if not self.has(IMAGE_NAME):
            return np.zeros(len(self), dtype=bool)
        code, _, number = self.images(IMAGE_NAME)
        return key_of(code, number).duplicated()


def bounded(positions: Floats) -> Floats:
    """Positions ``(n, 2)``, NaN where they can be none."""
    return np.where(np.abs(positions).max(axis=1, keepdims=True) <= LARGEST, positions, np.nan)


@dataclass(frozen=True)
class Found:
    """Rows of the parent ``(n,)``, -1 for none; a fault, if they are not one for each; and what a user should know."""

    at: Ints | None
    fault: str = ""
    note: str = ""


def lacking(side: Side) -> Found:
    return Found(None, f"{side.path} has none")


def key_of(*values: NDArray[Any]) -> pd.Index:
    frame = pd.DataFrame({str(i): v for i, v in enumerate(values)})
    return pd.Index(pd.util.hash_pandas_object(frame, index=False).to_numpy())


def look_up(ours: Side, wanted: pd.Index, known: pd.Index) -> Found:
    """Rows of ``known`` that are wanted, or why they cannot be told; copies of an image are one particle."""
    twice, note = alike(wanted, known, ours)
    if twice:
        return Found(None, twice)
    return require_found(Found(known.get_indexer(wanted).astype(np.int64), note=note))


def alike(wanted: pd.Index, known: pd.Index, ours: Side) -> tuple[str, str]:
    """What is there twice: a fault, or what to say of copies of an image."""
    note = ""
    for index, what in ((known, "the parent"), (wanted, "the selection")):
        twice = np.flatnonzero(index.duplicated())
        if not len(twice):
            continue
        if what == "the selection" and ours.copies[twice].all():
            note = f"{len(twice)} of the selected rows are copies of an image, which is taken once."
            continue
        first = int(np.flatnonzero(index == index[twice[0]])[0])
        return f"rows {first + 1} and {twice[0] + 1} of {what} are alike (and {len(twice) - 1} more)", ""
    return "", note


def require_found(found: Found, hint: str = "") -> Found:
    if found.at is None:
        return found
    missing = np.flatnonzero(found.at < 0)
    if not len(missing):
        return found
    text = f"{len(missing)} of {len(found.at)} selected particles are missing ({rows_text(missing)} of the selection)"
    return Found(found.at, text + hint, found.note)


def rows_text(rows: Ints) -> str:
    return "rows " + ", ".join(str(row + 1) for row in rows[:NAMED]) + (", ..." if len(rows) > NAMED else "")


def common_names(ours: Sequence[str], theirs: Sequence[str], what: str) -> tuple[Ints, Ints, str]:
    """Numbers for the paths of two files ``(n,)``, ``(m,)``, equal where both name the same thing, else different.

    Compared are as many of the last parts of the paths, without the suffix, as find the most; then the names without
    what cryoSPARC writes before and after them. Where this makes one of several paths of a file, which of them is
    meant is not known: the third value says so.

    >>> common_names(["MotionCorr/job002/a.mrc"], ["J3/imported/000123456789012345678_a.tif", "b.mrc"], "micrograph")
    (array([0]), array([0, 1]), '')
    """
    parts = [[_parts(path) for path in paths] for paths in (ours, theirs)]
    best: tuple[int, list[list[tuple[str, ...]]]] | None = None
    wanted = len(set(parts[0]))
    for depth in range(max((len(p) for side in parts for p in side), default=0), 0, -1):
        names = [[p[-depth:] for p in side] for side in parts]
        n = len(set(names[0]) & set(names[1]))
        if best is None or n > best[0]:
            best = n, names
        if n == wanted:
            break
    if best is not None and best[0] < len({p[-1] for p in parts[0]}):
        names = [[(_BY_CRYOSPARC.sub(r"\1", p[-1]),) for p in side] for side in parts]
        n = len(set(names[0]) & set(names[1]))
        best = (n, names) if n > best[0] else best
    names = [[], []] if best is None else best[1]
    number = {name: i for i, name in enumerate(dict.fromkeys((*names[0], *names[1])))}
    codes = [np.array([number[name] for name in side], dtype=np.int64) for side in names]
    both = set(names[0]) & set(names[1])
    for side, full, paths in zip(names, parts, (ours, theirs), strict=True):
        known: dict[tuple[str, ...], int] = {}
        for i, name in enumerate(side):
            other = known.setdefault(name, i)
            if name in both and full[other] != full[i]:
                fault = f"{'/'.join(name)} may be either {what}, {paths[other]} or {paths[i]}"
                return codes[0], codes[1], fault
    return codes[0], codes[1], ""


def _parts(path: str) -> tuple[str, ...]:
    """Folders and name, without suffix."""
    *folders, name = normpath(path.lstrip(">").replace("\\", "/")).split("/")
    return (*folders, Path(name).stem)
