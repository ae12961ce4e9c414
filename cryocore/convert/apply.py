"""A selection made on one file of particles, applied to another file of the same ones, as the unbinned parent."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from cryocore.convert.keys import Side
from cryocore.convert.matching import match
from cryocore.convert.places import MAX_TOLERANCE, TOLERANCE
from cryocore.errors import InputError
from cryocore.formats.kinds import HALF_SET, filter_particles, kind_of, read_tables, require_other_file
from cryocore.formats.star import IMAGE_NAME
from cryocore.ingest.columns import Columns, columns_of
from cryocore.ingest.optics import pixel_sizes
from cryocore.ingest.stacks import known_root
from cryocore.tables.io import read_table
from cryocore.types import Ints


@dataclass(frozen=True)
class Applied:
    """What was done: the particles are distinguished ``by``; ``notes`` is what a user should look at."""

    selection: str
    parent: str
    out: str
    by: str
    n_selected: int
    n_parent: int
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @property
    def text(self) -> str:
        """For people."""
        head = f"{self.n_selected:,} of {self.n_parent:,} particles of {self.parent} to {self.out}, found by {self.by}."
        return "\n".join([head, *self.notes])


def apply_selection(
    selection: str | Path,
    parent: str | Path,
    out: str | Path,
    *,
    by: str | None = None,
    tolerance: float = TOLERANCE,
) -> Applied:
    """Write the particles of ``parent`` that a selection names, in the parent's format, order and bytes.

    A parent without half sets gets those of the selection.

    Parameters
    ----------
    selection : subset.star, .cs or .thu, whose particles are those selected; or a Parquet table with ``particle_id``
        and ``selected`` (subset.parquet, log.parquet), which tells particles apart by uid or image alone
    by : one of ``BY``; None takes the first that finds all selected ones and that nothing as sure contradicts
    tolerance : distance in pixels of the micrograph within which coordinates are the same

    Raises
    ------
    InputError  if ``out`` is one of the files read, selected particles are missing in the parent or there twice,
        nothing tells the particles apart, or what the files say of them contradicts itself.
    """
    require_other_file(out, selection, parent)
    if not 0 < tolerance <= MAX_TOLERANCE:
        fix = f"Give --tolerance above 0 and up to {MAX_TOLERANCE:g}"
        raise InputError(f"{tolerance:g} pixels are no distance between the same particles", fix=fix)
    theirs = columns_of(read_tables(parent))
    is_table = Path(selection).suffix.lower() == ".parquet"
    ours = None if is_table else columns_of(read_tables(selection))
    wanted = Side(Path(selection), ours, _selected_ids(selection) if ours is None else None)
    found = match(wanted, Side(Path(parent), theirs), by, tolerance)
    keep = np.zeros(len(theirs), dtype=bool)
    keep[found.at] = True
    root = known_root(Path(parent), theirs.tables.particles.get(IMAGE_NAME, ()))
    half = None if ours is None else _halves(ours, theirs, found.at)
    filter_particles(parent, keep, {} if half is None else {HALF_SET: half[keep]}, out, root)
    notes = found.notes if half is None else (*found.notes, "The half sets are the selection's: the parent has none.")
    notes = (*notes, *(() if ours is None else _compare(ours, theirs)))
    return Applied(str(selection), str(parent), str(out), found.by, int(keep.sum()), len(keep), notes)


def _selected_ids(table: str | Path) -> pd.Index:
    """The ids of a Parquet table's selected particles."""
    fix = "Give the subset.parquet or log.parquet of a run"
    read_table(table, [], fix=fix)
    names = pq.read_schema(table).names
    deciding = next((name for name in ("selected", "weight") if name in names), None)
    if "particle_id" not in names or deciding is None:
        raise InputError("the table has no columns particle_id and selected", file=table, fix=fix)
    found = read_table(table, ["particle_id", deciding], fix=fix)
    kept = found.column(deciding).to_numpy().astype(np.float64) > 0
    if not kept.any():
        raise InputError("it selects no particle", file=table, column=deciding, fix="Give the table of another round")
    return pd.Index(found.column("particle_id").to_numpy()[kept].astype(np.uint64))


def _halves(ours: Columns, theirs: Columns, at: Ints) -> Ints | None:
    """Half set of each row of the parent ``(n,)``, 0 where it is not selected; None where the parent has its own."""
    if kind_of(theirs.tables.path) == "thu" or not ours.has(HALF_SET):
        return None
    if theirs.has(HALF_SET) and len(pd.unique(theirs.numbers_or_nan(HALF_SET))) > 1:
        return None
    given = ours.numbers_or_nan(HALF_SET)
    if set(pd.unique(given)) != {1.0, 2.0}:
        return None
    half = np.zeros(len(theirs), dtype=np.int64)
    half[at] = given
    return half


def _compare(ours: Columns, theirs: Columns) -> tuple[str, ...]:
    """Whether box and pixel size say that one file is the other, binned."""
    try:
        pixels = [float(np.median(pixel_sizes(columns, None))) for columns in (ours, theirs)]
    except InputError:
        return ("The files do not say their pixel sizes: the binning is not checked.",)
    factor = pixels[0] / pixels[1]
    notes = [
        f"Pixel size {pixels[0]:.4g} Å in the selection, {pixels[1]:.4g} Å in the parent: binned {factor:.4g}-fold."
    ]
    if factor < 0.999:
        notes.append("Warning: the parent is coarser than the selection; were the files exchanged?")
    if all(columns.has("rlnImageSize") for columns in (ours, theirs)):
        boxes = [float(np.median(columns.numbers_or_nan("rlnImageSize"))) for columns in (ours, theirs)]
        if min(boxes) > 0 and abs(boxes[1] / boxes[0] / factor - 1) > 0.02:
            sides = [box * pixel for box, pixel in zip(boxes, pixels, strict=True)]
            notes.append(f"Warning: the images show {sides[0]:.4g} Å in the selection, {sides[1]:.4g} Å in the parent.")
    return tuple(notes)
