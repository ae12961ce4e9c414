"""Image names, the directory they start from, and whether the stacks hold what the STAR file says."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cryocore.errors import InputError
from cryocore.formats.kinds import HALF_SET
from cryocore.formats.roots import first_relative, recorded_roots
from cryocore.formats.stacks import StackHeader, batch_size, batches, read_header
from cryocore.formats.star import IMAGE_NAME
from cryocore.ingest.columns import SAME_PIXEL, Columns, others
from cryocore.ingest.halves import is_parted
from cryocore.ingest.optics import Groups
from cryocore.tables.particles import Particles
from cryocore.types import Ints

log = logging.getLogger(__name__)

FORMATS = ("mrc", "mrcs", "map", "st")
OTHER_FORMATS = ("spi", "img", "hed", "hdf", "h5", "tif", "tiff", "eer", "ser", "raw", "em", "dm3", "dm4", "lst")
"""What may stand behind the colon of ``stack:format``: MRC by its names, and what is not read."""

MAX_PARENTS = 4
NUMBER_AND_STACK = "(?s)^(?P<number>[0-9]{1,9})@(?P<stack>.+)$"
MARKED_ROWS = 8
"""Rows of an image that it is recognised by."""
LARGEST_PIXEL = 1e18
"""Squares of larger pixels leave float32."""
SPARSE = 4
"""Of the pixels in a row, and of the rows, every fourth tells how strong an image is."""
UNEQUAL = 1.5
"""Ratio of the standard deviations of two optics groups from which on they are not normalised alike: signal adds less
to noise of the same power."""


@dataclass(frozen=True)
class ImageNames:
    """Stack and slice (from 0) of each particle; ``stack`` indexes ``paths``, which are as in the STAR file."""

    stack: Ints
    slice: Ints
    paths: tuple[str, ...]


def parse_image_names(columns: Columns) -> ImageNames:
    """Split ``000001@stack.mrcs``; refuse subtomograms and faulty names."""
    file = columns.tables.path
    require_images(columns)
    texts = pa.array(columns.texts(IMAGE_NAME), pa.string())
    parts = pc.extract_regex(texts, NUMBER_AND_STACK)
    bad = np.flatnonzero(pc.is_null(parts).to_numpy(zero_copy_only=False))
    if len(bad):
        raise InputError(
            f"{texts[int(bad[0])].as_py()!r} is not number@stack{others(bad)}; "
            "only stacks of single-particle images are read, not subtomograms",
            file=file,
            row=columns.row(bad[0]),
            column=columns.name(IMAGE_NAME),
            fix="Extract the particles into stacks",
        )
    image = pc.struct_field(parts, "number").cast(pa.int64()).to_numpy() - 1
    columns.require(image >= 0, IMAGE_NAME, image + 1, "an image number (they start at 1)", "Count images from 1")
    stack = pc.struct_field(parts, "stack").dictionary_encode()
    code, paths = _stacks(stack.indices.to_numpy().astype(np.int64), stack.dictionary.to_pylist(), columns)
    return ImageNames(code, image, tuple(paths))


def _stacks(code: Ints, found: list[str], columns: Columns) -> tuple[Ints, list[str]]:
    """Number of each row's stack ``(n,)``, and the stacks' paths, of numbers and names as they stand in the file.

    They are without the format that RELION and EMAN take behind a colon, as in ``particles.mrc:mrcs``.
    """
    plain = list(map(without_format, found))
    foreign = [i for i, path in enumerate(found) if _split_format(path)[2].lower() in OTHER_FORMATS]
    if foreign:
        path, _, suffix = _split_format(found[foreign[0]])
        rows = np.flatnonzero(np.isin(code, foreign))
        raise InputError(
            f"the format :{suffix} behind {path} is not read{others(rows)}",
            file=columns.tables.path,
            row=int(rows[0]) + 1,
            column=columns.name(IMAGE_NAME),
            fix="Write the images as an MRC stack and name it",
        )
    same, paths = pd.factorize(np.array(plain, dtype=object))
    return same[code].astype(np.int64), list(map(str, paths))


def without_format(path: str) -> str:
    """The path of a stack without the format that may stand behind a colon.

    >>> without_format("a/particles.mrc:mrcs"), without_format("a:1/particles.mrcs")
    ('a/particles.mrc', 'a:1/particles.mrcs')
    """
    _, name, suffix = _split_format(path)
    return name if suffix.lower() in FORMATS else path


def _split_format(path: str) -> tuple[str, str, str]:
    """The path, and its parts before and behind its last colon; two empty ones where a folder holds the colon."""
    name, _, suffix = path.rpartition(":")
    return (path, name, suffix) if name and "/" not in suffix else (path, "", "")


def require_images(columns: Columns) -> None:
    """Refuse particles that name no images, and subtomograms."""
    file, optics = columns.tables.path, columns.tables.optics
    fix = "Give single-particle images"
    if "rlnTomoName" in columns.tables.particles:
        problem = "these are subtomograms, which are 3-D, or tilt series of them; only single-particle images are read"
        raise InputError(problem, file=file, column="rlnTomoName", fix=fix)
    label = "rlnImageDimensionality"
    if optics is not None and label in optics and (pd.to_numeric(optics[label], errors="coerce") == 3).any():
        raise InputError("the images are 3-D; only 2-D images are read", file=file, column=label, fix=fix)
    if not columns.has(IMAGE_NAME):
        fix = "Give the job's passthrough file too (input.passthrough, --passthrough)"
        raise InputError("the particles have no images", file=file, column=columns.name(IMAGE_NAME), fix=fix)


def find_root(columns: Columns, names: ImageNames, root: str | None) -> str:
    """The directory that image paths start from: the given one, or the first of the usual ones with the first stack.

    The usual ones: those that the file names, that of the STAR file, the working directory if it is one of the parents,
    that of the file that it is a link to, the parents, the working directory.
    """
    if root is not None:
        root = os.path.expanduser(root)
        if not os.path.isdir(root):
            raise InputError("is not a directory", file=root, fix="Correct root (input.root, --root)")
        return root
    code = next((i for i, p in enumerate(names.paths) if not Path(p).is_absolute()), None)
    if code is None:
        return "."
    relative, star = names.paths[code], columns.tables.path
    candidates = _usual_roots(star)
    found = next((c for c in candidates if os.path.isfile(Path(c) / relative)), None)
    if found is None:
        raise InputError(
            f"the stack {relative} does not exist; looked in {', '.join(candidates)}",
            file=star,
            row=columns.row(np.argmax(names.stack == code)),
            column=columns.name(IMAGE_NAME),
            fix="Give the directory that image paths start from (input.root, --root)",
        )
    if found != ".":
        log.info("%s: image paths start from %s", star, found)
    return found


def known_root(path: Path, images: Iterable[str]) -> str | None:
    """The directory that the image names of a file start from; None if they are absolute or it is not to be found."""
    relative = first_relative(images)
    if relative is None:
        return None
    return next((c for c in _usual_roots(path) if os.path.isfile(Path(c) / without_format(relative))), None)


def _usual_roots(path: Path) -> list[str]:
    """Directories that image paths may start from; the working directory comes last where the file is outside it."""
    linked = path.resolve()
    above = [str(p) for p in linked.parents[0 if path.is_symlink() else 1 : 1 + MAX_PARENTS]]
    inside = str(Path.cwd()) in above
    nearest = [*recorded_roots(path), str(path.parent), *["."] * inside]
    return list(dict.fromkeys([*nearest, *above, *["."] * (not inside)]))


def check_stacks(columns: Columns, names: ImageNames, groups: Groups, root: str) -> Ints:
    """Check every stack's header against the rows that use it.

    Returns
    -------
    boxes : (n_groups,)   side of the images of each optics group
    """
    headers = _read_headers(columns, names, root)
    n_images = np.array([h.n_images for h in headers])
    sides = np.array([[h.width, h.height] for h in headers])
    _refuse(
        columns, names, root, sides[:, 0] != sides[:, 1], headers, "not square", "Crop or pad the images to squares"
    )
    _refuse(columns, names, root, sides[:, 0] % 2 == 1, headers, "of odd side", "Extract them with an even box")
    over = np.flatnonzero(names.slice >= n_images[names.stack])
    if len(over):
        row = int(over[0])
        raise InputError(
            f"image {names.slice[row] + 1} of {names.paths[names.stack[row]]}, which has {n_images[names.stack[row]]}"
            f"{others(over)}",
            file=columns.tables.path,
            row=columns.row(row),
            column=columns.name(IMAGE_NAME),
            fix="Give the stack that belongs to this STAR file",
        )
    box = sides[:, 0][names.stack]
    _check_boxes(columns, groups, box)
    _compare_pixel_sizes(columns, names, groups, headers)
    return box[groups.first_row]


def _read_headers(columns: Columns, names: ImageNames, root: str) -> list[StackHeader]:
    """The header of every stack; the error of a bad one names the rows that use it."""
    headers, faults = [], []
    for number, path in enumerate(names.paths):
        try:
            headers.append(read_header(Path(root) / path))
        except InputError as fault:
            faults.append((number, fault))
    if faults:
        code, error = faults[0]
        rows = np.flatnonzero(names.stack == code)
        more = f"; {len(faults) - 1} more stacks are faulty" if len(faults) > 1 else ""
        used = f"rows {columns.row(rows[0])} to {columns.row(rows[-1])} of {columns.tables.path}, {len(rows)} particles"
        raise InputError(
            f"{error.problem} ({used}{more})",
            file=error.file,
            row=columns.row(rows[0]),
            column=columns.name(IMAGE_NAME),
            fix=error.fix,
        )
    return headers


def _refuse(
    columns: Columns, names: ImageNames, root: str, bad: Any, headers: list[StackHeader], fault: str, fix: str
) -> None:
    """Refuse stacks for which ``bad`` holds, naming the first row that uses one."""
    rows = np.flatnonzero(np.asarray(bad)[names.stack])
    if len(rows):
        code = int(names.stack[rows[0]])
        size = f"{headers[code].width} x {headers[code].height}"
        raise InputError(
            f"the images are {size}, {fault} ({len(rows)} particles of {columns.tables.path})",
            file=Path(root) / names.paths[code],
            row=columns.row(rows[0]),
            fix=fix,
        )


def _check_boxes(columns: Columns, groups: Groups, box: Ints) -> None:
    """One box per optics group, as declared."""
    file, label = columns.tables.path, "rlnImageSize"
    expected = box[groups.first_row][groups.index]
    other = np.flatnonzero(box != expected)
    if len(other):
        row = int(other[0])
        problem = f"box {box[row]} in an optics group of box {expected[row]}{others(other)}"
        fix = "Give images of another box an optics group of their own"
        raise InputError(problem, file=file, row=columns.row(row), column=columns.name(IMAGE_NAME), fix=fix)
    if columns.has(label):
        declared = columns.numbers(label)
        wrong = np.flatnonzero(declared != box)
        if len(wrong):
            row = int(wrong[0])
            problem = f"says {declared[row]:g} but the image is {box[row]} pixels wide{others(wrong)}"
            fix = "Correct the size or give its stack"
            raise InputError(problem, file=file, row=columns.row(row), column=label, fix=fix)


def check_halves(columns: Columns, box: Ints, half: Ints) -> None:
    """Refuse half sets of which one lacks images of a ``box``; both are ``(n,)``."""
    boxes = [set(box[half == h].tolist()) for h in (1, 2)]
    if boxes[0] != boxes[1]:
        problem = f"half set 1 has images of box {sorted(boxes[0])}, half set 2 of box {sorted(boxes[1])}"
        raise InputError(problem, file=columns.tables.path, column=HALF_SET, fix="Spread each box over both half sets")


def _compare_pixel_sizes(columns: Columns, names: ImageNames, groups: Groups, headers: list[StackHeader]) -> None:
    """Say so where a stack's header has another pixel size; headers are often wrong, so the STAR file wins."""
    for group, row in enumerate(groups.first_row):
        header, pixel = headers[names.stack[row]].pixel_size_angstrom, groups.pixel_size_angstrom[row]
        if 0.1 < header < 50 and header != 1.0 and abs(header / pixel - 1) > SAME_PIXEL:
            message = "optics group %d has pixel size %.4g Å; the header of %s says %.4g Å and is ignored"
            log.warning(message, group + 1, pixel, names.paths[names.stack[row]], header)


def check_images(particles: Particles) -> None:
    """Read every image once and refuse NaN, infinite and absurd pixels; single blank images are only reported.

    Images that are alike pixel by pixel under different names, as in a stack and a copy of it, are refused if half sets
    share them, else reported, and so are optics groups that are not normalised alike.
    """
    blank = 0
    deviations = np.zeros(len(particles), dtype=np.float32)
    marks = np.zeros(len(particles), dtype=np.uint64)
    size = batch_size(max(o.box for o in particles.optics))
    for rows, images in batches(particles, np.arange(len(particles)), size, progress="check images"):
        highest, lowest = images.max(axis=(1, 2)), images.min(axis=(1, 2))
        bad = ~(np.maximum(highest, -lowest) <= LARGEST_PIXEL)  # NaN is not either
        if bad.any():
            row = int(rows[bad].min())
            extreme = np.maximum(highest, -lowest)[np.flatnonzero(rows == row)[0]]
            stack, image = particles.column("stack")[row], int(particles.column("slice")[row]) + 1
            fault = f"pixels of {extreme:g}" if np.isfinite(extreme) else "NaN or infinite pixels"
            raise InputError(
                f"image {image} of {stack} has {fault}",
                file=particles.parent,
                row=int(particles.column("source_row")[row]) + 1,
                column=IMAGE_NAME,
                fix="Remove the particle or extract it again",
            )
        blank += int((highest == lowest).sum())
        marks[rows] = np.where(highest == lowest, 0, _marks(images))
        deviations[rows] = images[:, ::SPARSE, ::SPARSE].std(axis=(1, 2), dtype=np.float64)
    if blank == len(particles):
        problem = "all images are blank: the pixels of each are equal"
        raise InputError(problem, file=particles.parent, column=IMAGE_NAME, fix="Extract the particles again")
    if blank:
        log.warning("%s: %d images are blank: all their pixels are equal", particles.parent, blank)
    _compare_marks(particles, marks)
    _compare_deviations(particles, deviations)


def _compare_deviations(particles: Particles, deviations: NDArray[np.float32]) -> None:
    """Say so where optics groups are of unequal strength, by the standard deviations ``(n,)`` of their images."""
    group, shown = particles.column("optics_group"), deviations > 0
    typical = {int(g) + 1: float(np.median(deviations[shown & (group == g)])) for g in np.unique(group[shown])}
    weak, strong = min(typical, key=typical.__getitem__), max(typical, key=typical.__getitem__)
    if typical[strong] > UNEQUAL * typical[weak]:
        log.warning(
            "%s: images of optics group %d are %.3g times as strong as those of group %d (standard deviations %.3g and "
            "%.3g), and are taken to be normalised to equal noise: normalise them alike, as relion_preprocess does, or "
            "maps and scores are those of the stronger ones",
            *(particles.parent, strong, typical[strong] / typical[weak], weak, typical[strong], typical[weak]),
        )


def _marks(images: NDArray[Any]) -> NDArray[np.uint64]:
    """A number ``(n,)`` by which images ``(n, d, d)`` can be told apart: a hash of the rows in their middle.

    A mask leaves pixels there, and a few thousand of them are alike in no two images.
    """
    middle = images.shape[1] // 2
    parts = np.ascontiguousarray(images[:, max(middle - MARKED_ROWS // 2, 0) : middle + MARKED_ROWS // 2])
    return np.frombuffer(b"".join(blake2b(part, digest_size=8).digest() for part in parts), dtype="<u8")


def _compare_marks(particles: Particles, marks: NDArray[np.uint64]) -> None:
    """Look for images that are alike under different names, by their ``marks`` ``(n,)``, 0 for those not compared."""
    image, half, row_of = particles.images, particles.column("half"), particles.column("source_row")
    first = np.flatnonzero((marks != 0) & ~pd.Series(image).duplicated().to_numpy())
    alike = first[pd.Series(marks[first]).duplicated(keep=False).to_numpy()]
    if not len(alike):
        return
    parted = alike[is_parted(half[alike], pd.factorize(marks[alike])[0])]
    a = int((parted if len(parted) else alike)[0])
    b = int(next(row for row in alike if row != a and marks[row] == marks[a]))
    if len(parted):
        b = int(next(row for row in parted if marks[row] == marks[a] and half[row] != half[a]))
    names = [f"{particles.column('slice')[row] + 1} of {particles.column('stack')[row]}" for row in (a, b)]
    n = len(alike) - len(np.unique(marks[alike]))
    problem = f"image {names[0]} is image {names[1]} (row {row_of[b] + 1}) under another name, pixel by pixel"
    problem += f"; {n} images are there twice"
    if len(parted):
        fix = "Remove one of each: half maps that share images agree in their noise"
        raise InputError(problem, file=particles.parent, row=int(row_of[a]) + 1, column=IMAGE_NAME, fix=fix)
    log.warning("%s: %s, in one half set; remove one of each", particles.parent, problem)
