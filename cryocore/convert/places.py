"""Particles found again by where they lie on their micrographs."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.spatial import KDTree

from cryocore.convert.keys import Found, Side, alike, bounded, common_names, key_of, lacking, require_found
from cryocore.formats.cs import SIDES
from cryocore.ingest.particles import ORIGINS_ANGSTROM
from cryocore.types import Floats, Ints

TOLERANCE = 1.5
"""Pixels of the micrograph: coordinates cut off to whole numbers are up to 1.4 away from themselves."""
MAX_TOLERANCE = 1000.0
"""Larger than any box."""
EQUAL = 0.01
"""Pixels in which coordinates of both files are counted before any tolerance."""
_SAMPLE = 10_000
Points = tuple[Ints, Floats]
"""Micrograph ``(n,)`` and position ``(n, 2)``."""


def by_coordinates(ours: Side, theirs: Side, tolerance: float) -> Found:
    """The particles of the parent within ``tolerance`` pixels, one for each."""
    micrographs = micrograph_codes(ours, theirs)
    seen = views(ours, theirs)
    if micrographs is None or not seen:
        lacks = next((s for s in (ours, theirs) if s.micrographs is None or s.positions is None), ours)
        return lacking(lacks)
    if micrographs[2]:
        return Found(None, micrographs[2])
    results = []
    for note, a, b in seen:
        found = _nearest(ours, (micrographs[0], a), (micrographs[1], b), tolerance)
        if found.at is not None and not found.fault:
            return Found(found.at, "", " ".join(text for text in (note, found.note) if text))
        results.append(found)
    return results[0]


def micrograph_codes(ours: Side, theirs: Side) -> tuple[Ints, Ints, str] | None:
    """Micrographs of the particles of both files by number, and a fault; None if a file names none."""
    if ours.micrographs is None or theirs.micrographs is None:
        return None
    code, other, fault = common_names(ours.micrographs[1], theirs.micrographs[1], "micrograph")
    return code[ours.micrographs[0]], other[theirs.micrographs[0]], fault


def views(ours: Side, theirs: Side) -> list[tuple[str, Floats, Floats]]:
    """Positions in both files as they stand, and as they would stand after what programs do to them."""
    a, b = ours.positions, theirs.positions
    if a is None or b is None:
        return []
    found = [("", a, b)]
    pixels = ours.micrograph_pixel, theirs.micrograph_pixel
    if pixels[0] is not None and pixels[1] is not None:
        factor = float(np.nanmedian(pixels[1]) / np.nanmedian(pixels[0])) if len(a) and len(b) else 1.0
        if np.isfinite(factor) and abs(factor - 1) > 0.005:
            found.append((f"Coordinates of the parent count pixels {factor:.4g} times as large.", a, b * factor))
    height = next((side.numbers(SIDES[1]) for side in (ours, theirs) if side.has(SIDES[1])), None)
    if height is not None and len(height) and np.ptp(height) == 0:
        found.append(("Coordinates of the parent count y from the other edge.", a, b * (1, -1) + (0, height[0])))
    if (
        pixels[0] is not None
        and pixels[1] is not None
        and ours.has(*ORIGINS_ANGSTROM)
        and theirs.has(*ORIGINS_ANGSTROM)
    ):
        a, b = (
            p - np.stack([side.numbers(label) for label in ORIGINS_ANGSTROM], axis=1) / pixel[:, None]
            for p, side, pixel in ((a, ours, pixels[0]), (b, theirs, pixels[1]))
        )
        found.append(("Particles were centred anew: coordinates are compared less the origins.", a, b))
    return [(note, bounded(a), bounded(b)) for note, a, b in found]


def _nearest(ours: Side, mine: Points, others: Points, tolerance: float) -> Found:
    """The particles at the same place of the same micrograph: equal ones first, then the only one within reach."""
    wanted, known = _grid(mine), _grid(others)
    fault, note = alike(wanted, known, ours)
    if fault:
        return Found(None, fault)
    somewhere = np.isfinite(mine[1]).all(axis=1)
    at = np.where(somewhere, known.get_indexer(wanted), -1).astype(np.int64)
    left = np.flatnonzero((at < 0) & somewhere)
    there = np.flatnonzero(np.isfinite(others[1]).all(axis=1) & np.isin(others[0], np.unique(mine[0][left])))
    if not len(left) or not len(there):
        return require_found(Found(at, note=note))
    spread = 10 * tolerance + 1000.0
    tree = KDTree(_in_space(others, there, spread))
    points = _in_space(mine, left, spread)
    distance, row = tree.query(points, k=2, distance_upper_bound=tolerance)
    near = np.isfinite(distance)
    doubtful = np.flatnonzero(near[:, 1])
    if len(doubtful):
        i = doubtful[0]
        pair = " and ".join(str(there[r] + 1) for r in sorted(row[i]))
        text = f"{len(doubtful)} of {len(at)} selected particles have several within {tolerance:g} pixels"
        return Found(at, f"{text} (row {left[i] + 1} of the selection: rows {pair} of the parent)")
    at[left[near[:, 0]]] = there[row[near[:, 0], 0]]
    place = np.flatnonzero((at >= 0) & ~ours.copies)
    twice = place[pd.Index(at[place]).duplicated()]
    if len(twice):
        second = int(twice[0])
        first = int(np.flatnonzero(at == at[second])[0])
        text = f"rows {first + 1} and {second + 1} of the selection lie nearest to row {at[second] + 1} of the parent"
        return Found(at, f"{text} (and {len(twice) - 1} more)")
    missing = left[~near[:, 0]]
    return require_found(Found(at, note=note), _how_far(tree, points[~near[:, 0]], spread) if len(missing) else "")


def _how_far(tree: KDTree, points: Floats, spread: float) -> str:
    """Where the nearest particles of the parent are, for those that are not found."""
    distance = tree.query(points[:_SAMPLE], distance_upper_bound=spread)[0]
    near = distance[np.isfinite(distance)]
    if not len(near):
        return ""
    return (
        f", the nearest in the parent {np.median(near):.3g} pixels away (median; --tolerance sets how far is the same)"
    )


def _grid(points: Points) -> pd.Index:
    """Places counted in ``EQUAL`` pixels; no two particles without a place are alike."""
    code, position = points
    known = np.isfinite(position).all(axis=1)
    place = np.where(known.reshape(-1, 1), position, 0.0)
    step = np.round(place / EQUAL).astype(np.int64)
    return key_of(np.where(known, code, -1), step[:, 0], np.where(known, step[:, 1], np.arange(len(code))))


def _in_space(points: Points, rows: Ints, spread: float) -> Floats:
    """Points ``(k, 3)``, those of different micrographs beyond reach of one another."""
    code, position = points
    return np.column_stack([position[rows], 2 * spread * code[rows]])
