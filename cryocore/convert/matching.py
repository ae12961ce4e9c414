"""Which particle of one file each particle of another is: keys from the surest on, and what contradicts them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from os.path import normpath

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryocore.convert.keys import Found, Side, common_names, key_of, lacking, look_up, rows_text
from cryocore.convert.places import TOLERANCE, by_coordinates, micrograph_codes, views
from cryocore.errors import InputError
from cryocore.formats.cs import COORDINATES
from cryocore.formats.kinds import PARTICLE_ID
from cryocore.formats.star import IMAGE_NAME
from cryocore.ingest.columns import Columns
from cryocore.ingest.particles import distinct, ids_of, particle_ids
from cryocore.types import Ints

BY = ("uid", "image", "original", "coordinates", "number")
"""What tells particles apart: cryoSPARC's uid; the image's number and stack; those of the image before its signal was
subtracted; micrograph and coordinates, which stay when particles are extracted again; the image's number and its
stack's name, which stay when stacks are scaled."""
ORIGINAL_NAME = "rlnImageOriginalName"
FAR_DEFOCUS_ANGSTROM = 1000.0
"""Particles of one micrograph lie in ice of this depth: what a refined defocus may differ from that before."""
FEW = 0.01
"""Share of defoci that may differ so far, as refinements go astray."""


@dataclass(frozen=True)
class Match:
    """``at`` ``(n,)`` is the row of the parent that each selected particle is, told ``by`` one of ``BY``."""

    by: str
    at: Ints
    notes: tuple[str, ...]


def match(ours: Side, theirs: Side, by: str | None = None, tolerance: float = TOLERANCE) -> Match:
    """Find every selected particle in its parent.

    Keys are tried from the surest on. One that finds all particles is taken if nothing that is at least as sure
    contradicts it; where a user names the key, contradictions are only told.

    Parameters
    ----------
    ours, theirs : the selection, n particles, and its parent
    by : one of ``BY``; None: the first that finds all
    tolerance : distance in pixels of the micrograph within which coordinates are the same

    Raises
    ------
    InputError  if there is none; it says what became of every key, with counts and rows.
    """
    faults = {}
    for name in BY if by is None else (by,):
        found = _find(ours, theirs, name, tolerance)
        if found.at is None or found.fault:
            faults[name] = found.fault
            continue
        against, doubts = _contradictions(ours, theirs, name, found.at, tolerance)
        if against and by is None:
            faults[name] = f"all are found, but {'; '.join(against)}"
            continue
        told = [f"Warning: {text}." for text in (*against, *doubts)]
        return Match(name, found.at, tuple([found.note] * bool(found.note) + told))
    told_of = "; ".join(f"by {name}, {fault}" for name, fault in faults.items())
    fix = "Give the file that the selected particles were binned, subtracted or extracted from"
    raise InputError(f"its particles are not those of {ours.path}: {told_of}", file=theirs.path, fix=fix)


def _find(ours: Side, theirs: Side, by: str, tolerance: float) -> Found:
    """The rows of the parent that one key tells."""
    finder: Callable[[Side, Side], Found] = {
        "uid": _by_uid,
        "image": _by_image,
        "original": _by_original,
        "coordinates": lambda a, b: by_coordinates(a, b, tolerance),
        "number": _by_number,
    }[by]
    return finder(ours, theirs)


def _by_uid(ours: Side, theirs: Side) -> Found:
    lacks = next((side for side in (ours, theirs) if side.uids is None), None)
    if lacks is not None or ours.uids is None or theirs.uids is None:
        return lacking(lacks or ours)
    return look_up(ours, ours.uids, theirs.uids)


def _by_image(ours: Side, theirs: Side) -> Found:
    lacks = next((side for side in (theirs, ours) if side.columns is not None and not side.has(IMAGE_NAME)), None)
    if lacks is not None:
        return lacking(lacks)
    if ours.ids is not None and theirs.columns is not None:
        given = PARTICLE_ID in theirs.columns.tables.particles
        known = ids_of(theirs.columns.tables) if given else _ids_by(theirs.columns, IMAGE_NAME)
        return look_up(ours, ours.ids, pd.Index(known))
    if ours.columns is not None and theirs.columns is not None and ours.has(PARTICLE_ID) and theirs.copies.any():
        # only ids tell which of the parent's copies of an image are selected
        return look_up(ours, *(pd.Index(ids_of(columns.tables)) for columns in (ours.columns, theirs.columns)))
    return _by_names(ours, theirs, IMAGE_NAME, IMAGE_NAME)


def _by_original(ours: Side, theirs: Side) -> Found:
    """Images before their signal was subtracted: those of either file, or of both."""
    if ours.ids is not None and theirs.columns is not None and theirs.has(ORIGINAL_NAME):
        return look_up(ours, ours.ids, pd.Index(_ids_by(theirs.columns, ORIGINAL_NAME)))
    pairs = [(a, b) for a in (ORIGINAL_NAME, IMAGE_NAME) for b in (ORIGINAL_NAME, IMAGE_NAME)][:3]
    found = [_by_names(ours, theirs, a, b) for a, b in pairs if ours.has(a) and theirs.has(b)]
    return next((f for f in found if not f.fault), found[0] if found else Found(None, f"no {ORIGINAL_NAME}"))


def _ids_by(columns: Columns, label: str) -> NDArray[np.uint64]:
    """The ids ``(n,)`` that a run gives particles whose images have these names."""
    return distinct(particle_ids(columns.texts(label)))


def _by_names(ours: Side, theirs: Side, our_label: str, their_label: str) -> Found:
    sides = [ours.images(our_label), theirs.images(their_label)]
    code, _ = pd.factorize(np.array([normpath(stack) for _, stacks, _ in sides for stack in stacks], dtype=object))
    n = len(sides[0][1])
    return look_up(ours, key_of(code[:n][sides[0][0]], sides[0][2]), key_of(code[n:][sides[1][0]], sides[1][2]))


def _by_number(ours: Side, theirs: Side) -> Found:
    lacks = next((side for side in (ours, theirs) if not side.has(IMAGE_NAME)), None)
    if lacks is not None:
        return lacking(lacks)
    (a, stacks, i), (b, others, j) = ours.images(IMAGE_NAME), theirs.images(IMAGE_NAME)
    code, other, fault = common_names(stacks, others, "stack")
    return Found(None, fault) if fault else look_up(ours, key_of(code[a], i), key_of(other[b], j))


def _contradictions(ours: Side, theirs: Side, by: str, at: Ints, tolerance: float) -> tuple[list[str], list[str]]:
    """What says that the pairs are not the same particles, and what a user should look at."""
    if ours.columns is None:
        return [], []
    against: list[str] = []
    doubts: list[str] = []
    n = len(at)
    if by != "uid" and ours.uids is not None and theirs.uids is not None and ours.uids.isin(theirs.uids).any():
        other = np.flatnonzero(ours.uids.to_numpy() != theirs.uids.to_numpy()[at])
        if len(other):
            against.append(f"{len(other)} of {n} have another uid ({rows_text(other)} of the selection)")
    micrographs = None if by == "coordinates" else micrograph_codes(ours, theirs)
    same = np.ones(n, dtype=bool)
    if micrographs is not None and np.isin(micrographs[0], micrographs[1]).any():
        same = micrographs[0] == micrographs[1][at]
        other = np.flatnonzero(~same)
        if len(other):
            i = int(other[0])
            pair = f"{_micrograph(ours, i)}, not {_micrograph(theirs, int(at[i]))}"
            against.append(f"{len(other)} of {n} lie on another micrograph (row {i + 1} of the selection: {pair})")
    distances = [] if by == "coordinates" else [np.hypot(*(a - b[at]).T) for _, a, b in views(ours, theirs)]
    confirmed = by != "number"
    if distances:
        apart = min((np.flatnonzero(same & (d > tolerance)) for d in distances), key=len)
        confirmed = confirmed or bool(np.isfinite(distances[0]).all())
        if len(apart):
            text = _apart(ours, theirs, at, apart, tolerance)
            elsewhere = _find(ours, theirs, "coordinates", tolerance).at if by == "uid" else None
            moved = elsewhere is None or not ((elsewhere >= 0) & (elsewhere != at)).any()
            (doubts if by == "uid" and moved else against).append(text)
    if ours.defocus is not None and theirs.defocus is not None:
        step = np.abs(ours.defocus - theirs.defocus[at])
        far = np.flatnonzero(step > FAR_DEFOCUS_ANGSTROM)
        confirmed = confirmed or len(np.unique(ours.defocus)) > n / 2
        if len(far):
            i = far[0]
            text = (
                f"{len(far)} of {n} defoci differ by more than {FAR_DEFOCUS_ANGSTROM:g} Å (row {i + 1} of the "
                f"selection: {ours.defocus[i]:.0f} Å, not {theirs.defocus[at[i]]:.0f} Å)"
            )
            weak = by in ("image", "original", "number") and not distances
            (against if weak and len(far) > FEW * n else doubts).append(text)
    if not confirmed:
        doubts.append("neither coordinates nor defoci of single particles confirm that image numbers mean the same")
    return against, doubts


def _micrograph(side: Side, row: int) -> str:
    return "" if side.micrographs is None else side.micrographs[1][side.micrographs[0][row]]


def _apart(ours: Side, theirs: Side, at: Ints, apart: Ints, tolerance: float) -> str:
    i = int(apart[0])
    a, b = (
        ", ".join(f"{side.numbers(label)[row]:.6g}" for label in COORDINATES)
        for side, row in ((ours, i), (theirs, int(at[i])))
    )
    head = f"{len(apart)} of {len(at)} lie more than {tolerance:g} pixels from their coordinates in the selection"
    return f"{head} (row {i + 1} of it: ({a}), not ({b}))"
