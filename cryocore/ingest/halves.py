"""Half sets: those of the file, or a seeded split that keeps micrographs whole."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cryocore.errors import InputError
from cryocore.formats.kinds import HALF_SET
from cryocore.hashing import mix
from cryocore.ingest.columns import Columns
from cryocore.types import Floats, Ids, Ints

log = logging.getLogger(__name__)

TUBE = "rlnHelicalTubeID"
MAX_SHARE = 0.6


@dataclass(frozen=True)
class Units:
    """What a half set has as a whole, as a number for each row ``(n,)``.

    ``filament`` is None where there are no filaments; rows of one ``particle``, which has one or several images, are
    never parted where half sets are made.
    """

    micrograph: Ints
    filament: Ints | None
    particle: Ints
    image: Ints

    @classmethod
    def of(cls, columns: Columns, micrographs: NDArray[np.object_], image: Ints, pairs: Ints) -> Units:
        """Those of a file, by its micrographs ``(n,)``, the number of each row's image ``(n,)``, and the pairs of rows
        ``(m, 2)`` that seem to be one particle."""
        micrograph = pd.factorize(micrographs)[0].astype(np.int64)
        particle = image
        if len(pairs):
            edges = coo_array((np.ones(len(pairs), dtype=np.int8), pairs.T), shape=(len(image),) * 2)
            paired = connected_components(edges, directed=False)[1]
            particle = joined(image, paired)
        filament = None
        if columns.has(TUBE):
            tube, found = pd.factorize(columns.texts(TUBE))
            filament = pd.factorize(micrograph * len(found) + tube)[0].astype(np.int64)
        return cls(micrograph, filament, particle, image)


def half_sets(columns: Columns, ids: NDArray[np.uint64], units: Units, seed: int) -> tuple[Ints, bool]:
    """Half set of each particle, 1 or 2, ``(n,)``, and whether it was made here.

    ``rlnRandomSubset`` is used if it has both values; otherwise, as where it is 0, "not assigned yet", in every row,
    :func:`split` makes the halves, and the log says so.

    Raises
    ------
    InputError  for other values, and where only some particles are assigned.
    """
    file = columns.tables.path
    require_two(columns)
    given = known_halves(columns)
    if given is not None:
        if given.min() != given.max():
            return _given(columns, given.astype(np.int64), units), False
        log.warning("%s: %s is %d in every row and is ignored", file, columns.name(HALF_SET), int(given[0]))
    half, unit = split(ids, units, seed)
    counts = ", ".join(str(int((half == h).sum())) for h in (1, 2))
    log.info("%s: half sets made from seed %d, by %s: %s particles", file, seed, unit, counts)
    if units.filament is not None:
        _report_filaments(columns, half, units.filament)
    return half, True


def known_halves(columns: Columns) -> Floats | None:
    """What the file says of half sets ``(n,)``: 1 or 2, or 0 in every row; None without the column.

    Raises
    ------
    InputError  for other values, and where only some particles are assigned.
    """
    if not columns.has(HALF_SET):
        return None
    given = columns.numbers(HALF_SET)
    if given.any():
        _refuse_unassigned(columns, given)
    return given


def require_two(columns: Columns) -> None:
    """Refuse a single particle."""
    if len(columns) < 2:
        problem = "two half sets need at least two particles"
        raise InputError(problem, file=columns.tables.path, fix="Give more particles")


def _refuse_unassigned(columns: Columns, given: NDArray[np.float64]) -> None:
    """Refuse values that are no half set, and particles that are in none while others are."""
    none = given == 0
    label = columns.name(HALF_SET)
    columns.require(
        none | np.isin(given, (1, 2)), HALF_SET, given, "a half set (1 or 2)", "Correct it or remove the column"
    )
    if none.any():
        problem = f"0 is not a half set: {none.sum()} of {len(given)} particles are in none yet"
        fix = f"Remove the column {label}, so that all are assigned again, or the particles that are in no half set"
        row = columns.row(np.flatnonzero(none)[0])
        raise InputError(problem, file=columns.tables.path, row=row, column=label, fix=fix)


def _given(columns: Columns, half: Ints, units: Units) -> Ints:
    """The half sets of the file, of which no image may be in both; filaments in both are reported."""
    file = columns.tables.path
    parted = np.flatnonzero(is_parted(half, units.image))
    if len(parted):
        first, second = (int(parted[half[parted] == h][0]) for h in (1, 2))
        second = int(parted[(units.image[parted] == units.image[first]) & (half[parted] == 2)][0])
        n = len(np.unique(units.image[parted]))
        raise InputError(
            f"the image of row {columns.row(first)}, in half set 1, is that of row {columns.row(second)}, in half set "
            f"2: half maps that share images ({n} of them here) agree in their noise",
            file=file,
            row=columns.row(first),
            column=columns.name(HALF_SET),
            fix=f"Remove the column {columns.name(HALF_SET)}, so that half sets are made that keep copies together, "
            "or remove the copies (input.copies: remove)",
        )
    first_half = int((half == 1).sum())
    if max(first_half, len(half) - first_half) > MAX_SHARE * len(half):
        log.warning("%s: uneven half sets, %d and %d particles", file, first_half, len(half) - first_half)
    if units.filament is not None:
        _report_filaments(columns, half, units.filament)
    return half


def _report_filaments(columns: Columns, half: Ints, filament: Ints) -> None:
    n = len(np.unique(filament[is_parted(half, filament)]))
    if n:
        message = "%s: %d filaments have segments in both half sets; where their images overlap the FSC is too high"
        log.warning(message, columns.tables.path, n)


def is_parted(half: Ints, unit: Ints) -> NDArray[np.bool_]:
    """Which particles ``(n,)`` are of a unit that is in both half sets.

    >>> is_parted(np.array([1, 2, 1, 1]), np.array([7, 7, 5, 5])).tolist()
    [True, True, False, False]
    """
    code = pd.factorize(unit)[0]
    first = np.bincount(code, weights=half == 1)[code]
    return (first > 0) & (first < np.bincount(code)[code])


def joined(a: Ints, b: Ints) -> Ints:
    """Units ``(n,)`` that are whole in both of two divisions.

    >>> joined(np.array([0, 0, 1, 2, 3]), np.array([5, 6, 6, 7, 7])).tolist()
    [0, 0, 0, 1, 1]
    """
    a, b = pd.factorize(a)[0], pd.factorize(b)[0]
    n = int(a.max(initial=-1)) + 1
    edges = coo_array((np.ones(len(a), dtype=np.int8), (a, b + n)), shape=(2 * len(a) + n,) * 2)
    return np.asarray(pd.factorize(connected_components(edges, directed=False)[1][a])[0], dtype=np.int64)


def split(ids: NDArray[np.uint64], units: Units, seed: int) -> tuple[Ints, str]:
    """Two balanced half sets, of whole micrographs where they allow it, else of filaments, else of particles.

    Micrographs and filaments come in random order, the largest first, and go to the smaller half. Particles are ordered
    by a hash of their id and the seed and go to either half in turn, with all rows that they have.

    Returns
    -------
    half : (n,)      1 or 2
    unit : "micrograph", "filament" or "particle"
    """
    n_units = len(pd.unique(units.particle))
    for unit, code in (("micrograph", units.micrograph), ("filament", units.filament)):
        if code is None:
            continue
        whole = joined(code, units.particle) if n_units < len(ids) else code
        size = np.bincount(whole)
        if len(size) > 1:
            half = _balanced(size, np.random.default_rng(seed).permutation(len(size)))[whole]
            if max(np.bincount(half)) <= MAX_SHARE * len(ids):
                return half, unit
    hashes = _hashes(ids, seed)
    code = pd.factorize(units.particle)[0]
    order = pd.unique(code[np.argsort(hashes, kind="stable")])
    return _balanced(np.bincount(code), order)[code], "particle"


def _balanced(size: Ints, order: Ints) -> Ints:
    """The half set of each unit: in an order, the largest first, each goes to the smaller half."""
    order = order[np.argsort(-size[order], kind="stable")]
    half = np.zeros(len(size), dtype=np.int64)
    if size.max() == size.min():
        half[order] = np.arange(len(order)) % 2 + 1
        return half
    total = [0, 0]
    for unit in order.tolist():
        side = int(total[1] < total[0])
        half[unit], total[side] = side + 1, total[side] + int(size[unit])
    return half


def _hashes(ids: Ids, seed: int) -> Ids:
    with np.errstate(over="ignore"):
        return mix(ids + np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64))
