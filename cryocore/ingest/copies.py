"""Particles that are there more than once: the same image, meant or not, and one particle picked twice."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from cryocore.errors import InputError
from cryocore.formats.star import IMAGE_NAME
from cryocore.ingest.columns import PIXEL_SIZES, SAME_PIXEL, Columns, others
from cryocore.ingest.halves import TUBE
from cryocore.ingest.stacks import ImageNames
from cryocore.types import Bools, Floats, Ints

log = logging.getLogger(__name__)

SAME_POSE_DEG = 5.0
"""Poses closer than this are one: refinements of the same image differ by less, operators of C72 and below by more."""
SPREADS_DEG = (2.0, 12.0)
"""How far turns by one operator differ: as a set is expanded, and after a local refinement of it."""
MOST_OPERATORS = 120
"""Most symmetry operators that an expansion is recognised by: those of I, and of helices with as many subunits."""
MOST_SINGLE = 0.05
"""Most copies, as a share, whose operator no other has."""
SAMPLE = 10_000
"""Most copies that are looked at to recognise an expansion."""
CROWD = 1_000
"""More particles than this at one place of a micrograph say that coordinates are none."""

COORDINATES = ("rlnCoordinateX", "rlnCoordinateY")
MICROGRAPH = "rlnMicrographName"
MICROGRAPH_PIXEL, MOVIE_PIXEL = PIXEL_SIZES[1:]

Copies = Literal["auto", "keep", "remove"]


@dataclass(frozen=True)
class Choice:
    """Which particles of a file are read.

    ``class_number`` : those of a class alone, counted as the file counts; None: all
    ``copies`` : of one image: auto keeps those of a symmetry expansion and refuses others, remove keeps the first
    ``min_distance_angstrom`` : of particles closer than this on a micrograph the first is read; None: all are
    ``duplicate_share`` : of the side of the images; what is closer is taken for one particle and reported
    """

    class_number: int | None = None
    copies: Copies = "auto"
    min_distance_angstrom: float | None = None
    duplicate_share: float = 0.1


ALL = Choice()


def named_images(names: ImageNames, root: str | None) -> Ints:
    """The number of each particle's image, ``(n,)``: by the stack's name or, from a root, by the file that it is."""
    where = [os.path.normpath(path) if root is None else _file_of(Path(root) / path) for path in names.paths]
    stack = pd.factorize(np.array(where, dtype=object))[0][names.stack]
    return np.asarray(pd.factorize(stack * (int(names.slice.max(initial=0)) + 1) + names.slice)[0], dtype=np.int64)


def first_rows(values: NDArray[Any]) -> Ints:
    """The first row that has the same value as each row, ``(n,)``.

    >>> first_rows(np.array([7, 5, 7])).tolist()
    [0, 1, 0]
    """
    code = pd.factorize(values)[0]
    return np.asarray(np.unique(code, return_index=True)[1][code])


def _file_of(path: Path) -> str:
    """What a file is called by whatever link it is reached."""
    try:
        found = path.stat()
    except OSError:
        return str(path)
    return f"{found.st_dev} {found.st_ino}"


def settled(columns: Columns, names: ImageNames, image: Ints, poses: Callable[[], Floats], copies: Copies) -> Bools:
    """Which particles ``(n,)`` stay of those that share an ``image`` ``(n,)``; ``poses`` are asked for where some do.

    Raises
    ------
    InputError  if images are there more than once, and not by symmetry expansion.
    """
    again = np.asarray(pd.Series(image).duplicated())
    stays = np.ones(len(image), dtype=bool)
    if not again.any():
        return stays
    n, n_images = len(image), int((~again).sum())
    path = columns.tables.path
    if copies == "remove":
        log.warning("%s: removed %d of %d particles, copies of images that others have", path, n - n_images, n)
        return ~again
    if copies == "keep" or is_expanded(image, poses()):
        log.warning(
            "%s: %d particles of %d images: a symmetry-expanded set. Copies of an image share their half set; "
            "symmetry should be C1, or the group that is left",
            path,
            n,
            n_images,
        )
        return stays
    row = int(np.flatnonzero(again)[0])
    first = int(np.flatnonzero(image == image[row])[0])
    ours, theirs = (names.paths[names.stack[i]] for i in (row, first))
    link = "" if os.path.normpath(ours) == os.path.normpath(theirs) else f": {ours} and {theirs} are the same file"
    raise InputError(
        f"{columns.texts(IMAGE_NAME)[row]!r} is the image of row {columns.row(first)} already"
        f"{others(np.flatnonzero(again))}{link}; their poses are not those of a symmetry expansion",
        file=path,
        row=columns.row(row),
        column=columns.name(IMAGE_NAME),
        fix="Remove duplicate particles (input.copies: remove), or say that they are meant (input.copies: keep)",
    )


def is_expanded(image: Ints, quaternions: Floats) -> bool:
    """Whether the poses of particles that share an ``image`` ``(n,)`` differ by a few operators, the same for all.

    ``quaternions`` ``(n, 4)`` are the poses, object to image: seen from the object, all copies of an image are turned
    against its first one by one of the operators of a group, whichever copies of it are there.
    """
    first = first_rows(image)
    copy = np.flatnonzero(first != np.arange(len(image)))
    pose = Rotation.from_quat(quaternions, scalar_first=True)
    turn = (pose[first[copy]].inv() * pose[copy]).as_quat(scalar_first=True)
    same_pose = np.abs(turn[:, 0]) >= np.cos(np.deg2rad(SAME_POSE_DEG) / 2)
    return not same_pose.any() and any(_are_operators(turn, image[copy], spread) for spread in SPREADS_DEG)


def _are_operators(turn: Floats, image: Ints, spread_deg: float) -> bool:
    """Whether turns ``(m, 4)`` are few but for a spread, and no ``image`` ``(m,)`` has one of them twice."""
    least = np.cos(np.deg2rad(spread_deg) / 2)
    operators: list[Floats] = []
    left = sample = turn[np.linspace(0, len(turn) - 1, min(len(turn), SAMPLE)).astype(np.int64)]
    n_single = 0
    while len(left) and len(operators) < MOST_OPERATORS and n_single <= MOST_SINGLE * len(sample):
        near = np.abs(left @ left[0]) >= least
        operators.append(left[0])
        left, n_single = left[~near], n_single + int(near.sum() == 1)
    if len(left) or n_single > MOST_SINGLE * len(sample):
        return False
    which = np.argmax(np.abs(turn @ np.stack(operators).T), axis=1)
    return not pd.DataFrame({"image": image, "operator": which}).duplicated().any()


def positions(columns: Columns, shifts_angstrom: Floats, pixel_size_angstrom: Floats) -> Floats | None:
    """Where the particles are on their micrographs, ``(n, 2)`` in Å; None where the file does not say, NaN for some.

    The place of a particle is where it was picked less the shift ``(n, 2)`` that centres its image. Where the file does
    not say the pixel size of micrographs it is taken to be that of the movies, or else of the images ``(n,)``.
    """
    if not all(columns.has(label) for label in (MICROGRAPH, *COORDINATES)):
        return None
    label = next((name for name in (MICROGRAPH_PIXEL, MOVIE_PIXEL) if columns.has(name)), None)
    pixel = pixel_size_angstrom if label is None else columns.numbers_or_nan(label)
    picked = np.stack([columns.numbers_or_nan(name) for name in COORDINATES], axis=1)
    return picked * pixel[:, None] - shifts_angstrom


def assumed_micrograph_pixel(columns: Columns, pixel_size_angstrom: Floats) -> str | None:
    """What :func:`positions` takes for the pixel size of micrographs without being told, in words; None if it is told,
    or if movies and images ``(n,)`` have the same."""
    if columns.has(MICROGRAPH_PIXEL):
        return None
    if not columns.has(MOVIE_PIXEL):
        return f"that of the images, {_between(pixel_size_angstrom)} Å"
    movie = columns.numbers_or_nan(MOVIE_PIXEL)
    if np.all(np.abs(movie / pixel_size_angstrom - 1.0) < SAME_PIXEL):
        return None
    return f"that of the movies, {MOVIE_PIXEL}, {_between(movie)} Å"


def _between(values: Floats) -> str:
    low, high = float(np.min(values)), float(np.max(values))
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"


def close_pairs(columns: Columns, places: Floats, distance: Floats, among: Ints) -> Ints:
    """Pairs of particles of one micrograph that are closer than the ``distance`` ``(n,)`` of the first, ``(m, 2)``.

    ``places`` ``(n, 2)`` are in Å; only rows that are ``among`` those given are compared, and no segments of one
    filament. Of each pair the row that stands first in the file comes first.
    """
    none = np.zeros((0, 2), dtype=np.int64)
    among = among[np.isfinite(places[among]).all(axis=1)]
    most = float(distance[among].max(initial=0.0))
    if most <= 0.0 or len(among) < 2:
        return none
    code = pd.factorize(columns.texts(MICROGRAPH)[among])[0]
    at = places[among] - places[among].min(axis=0)
    cell = np.minimum(at / max(most, 1.0), 2.0**20).astype(np.int64)
    crowded = int(np.bincount(pd.factorize((code << 42) + (cell[:, 0] << 21) + cell[:, 1])[0]).max())
    if crowded > CROWD:
        message = "%s: %d particles at one place of a micrograph: its coordinates say nothing and are not compared"
        log.warning(message, columns.tables.path, crowded)
        return none
    # micrographs lie side by side, too far from each other to have a pair
    at[:, 0] += code * (at[:, 0].max() + 2 * most)
    pairs = among[KDTree(at, balanced_tree=False, compact_nodes=False).query_pairs(most, output_type="ndarray")]
    pairs = np.sort(pairs, axis=1)
    apart = np.linalg.norm(places[pairs[:, 0]] - places[pairs[:, 1]], axis=1)
    pairs = pairs[apart < distance[pairs[:, 0]]]
    if not columns.has(TUBE):
        return pairs
    tube = columns.texts(TUBE)
    return pairs[tube[pairs[:, 0]] != tube[pairs[:, 1]]]


def thinned(n: int, pairs: Ints) -> Bools:
    """Which of n particles stay so that of no pair ``(m, 2)`` both do: each that no earlier one that stays is close to.

    >>> thinned(4, np.array([[0, 1], [1, 2], [2, 3]])).tolist()
    [True, False, True, False]
    """
    stays = [True] * n
    for first, second in pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))].tolist():
        if stays[first]:
            stays[second] = False
    return np.array(stays)
