"""A selection made on one file of particles, applied to another file of the same ones, as the unbinned parent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cryocore.convert.cs_out import uids
from cryocore.errors import InputError
from cryocore.formats.cs import UID_LABEL
from cryocore.formats.kinds import filter_particles, read_tables, require_other_file
from cryocore.formats.star import IMAGE_NAME
from cryocore.ingest.columns import Columns, columns_of
from cryocore.ingest.optics import pixel_sizes
from cryocore.ingest.particles import particle_ids
from cryocore.ingest.stacks import known_root
from cryocore.tables.io import read_table

Keys = Callable[[str], pd.Index | None]

BY = ("uid", "image", "coordinates", "number")
"""What tells particles apart: cryoSPARC's uid; the image's number and stack; micrograph and coordinates, which stay
when particles are extracted again; the image's number and its stack's name without folders, which stay when they are
scaled."""
COORDINATES = ("rlnMicrographName", "rlnCoordinateX", "rlnCoordinateY")
COORDINATE_STEP = 0.01
NAMED = 5


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


def apply_selection(selection: str | Path, parent: str | Path, out: str | Path, *, by: str | None = None) -> Applied:
    """Write the particles of ``parent`` that a selection names, in the parent's format, order and bytes.

    Parameters
    ----------
    selection : subset.star, .cs or .thu, whose particles are those selected; or a Parquet table with ``particle_id``
        and ``selected`` (subset.parquet, log.parquet), which tells particles apart by uid or image alone
    by : one of ``BY``; None takes the first that both files have, once for each particle, with all selected ones

    Raises
    ------
    InputError  if ``out`` is one of the files read, selected particles are missing in the parent or there twice, or
        nothing tells the particles apart.
    """
    require_other_file(out, selection, parent)
    theirs = columns_of(read_tables(parent))
    is_table = Path(selection).suffix.lower() == ".parquet"
    ours = None if is_table else columns_of(read_tables(selection))
    wanted = _selected_ids(selection) if ours is None else partial(key_of, ours)
    chosen, keep = _match(wanted, partial(key_of, theirs), Path(selection), Path(parent), by)
    root = known_root(Path(parent), theirs.tables.particles.get(IMAGE_NAME, ()))
    filter_particles(parent, keep, {}, out, root)
    notes = () if ours is None else _compare(ours, theirs)
    return Applied(str(selection), str(parent), str(out), chosen, int(keep.sum()), len(keep), notes)


def key_of(columns: Columns, by: str) -> pd.Index | None:
    """What tells the particles ``(n,)`` apart, by one of ``BY``; None if the file does not have it."""
    tables = columns.tables
    match by:
        case "uid":
            return pd.Index(uids(columns)) if tables.ids is not None or UID_LABEL in tables.particles else None
        case "coordinates":
            if not all(columns.has(label) for label in COORDINATES):
                return None
            code, names = _file_names(columns.texts(COORDINATES[0]))
            x, y = (np.round(columns.numbers(label) / COORDINATE_STEP).astype(np.int64) for label in COORDINATES[1:])
            return _hashed(pd.DataFrame({"name": names[code], "x": x, "y": y}))
        case _ if IMAGE_NAME not in tables.particles:
            return None
        case "image":
            return pd.Index(particle_ids(columns.texts(IMAGE_NAME)))
        case _:
            image = tables.particles[IMAGE_NAME].astype(str).str.partition("@")
            code, names = _file_names(image[2].to_numpy(dtype=object))
            return _hashed(pd.DataFrame({"name": names[code], "number": image[0].str.lstrip("0")}))


def _hashed(frame: pd.DataFrame) -> pd.Index:
    return pd.Index(pd.util.hash_pandas_object(frame, index=False).to_numpy())


def _file_names(paths: NDArray[np.object_]) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Files without folder and suffix: names, and which each particle has ``(n,)``."""
    code, found = pd.factorize(paths)
    return code, np.array([Path(str(path)).stem for path in found], dtype=object)


def _selected_ids(table: str | Path) -> Keys:
    """The ids of a Parquet table's selected particles."""
    fix = "Give the subset.parquet or log.parquet of a run"
    read_table(table, [], fix=fix)
    names = pq.read_schema(table).names
    deciding = next((name for name in ("selected", "weight") if name in names), None)
    if "particle_id" not in names or deciding is None:
        raise InputError("the table has no columns particle_id and selected", file=table, fix=fix)
    found = read_table(table, ["particle_id", deciding], fix=fix)
    kept = found.column(deciding).to_numpy().astype(np.float64) > 0
    ids = pd.Index(found.column("particle_id").to_numpy()[kept].astype(np.uint64))
    return lambda by: ids if by in ("uid", "image") else None


def _match(wanted: Keys, known: Keys, selection: Path, parent: Path, by: str | None) -> tuple[str, NDArray[np.bool_]]:
    """What tells the particles apart, and which of the parent's are selected ``(n,)``."""
    faults = {}
    for name in BY if by is None else (by,):
        ours, theirs = wanted(name), known(name)
        if ours is None or theirs is None:
            faults[name] = f"{selection if ours is None else parent} has none"
            continue
        fault, keep = _compare_keys(ours, theirs)
        if keep is not None:
            return name, keep
        faults[name] = fault
    told = "; ".join(f"by {name}, {fault}" for name, fault in faults.items())
    fix = "Give the file that the selected particles were binned or extracted from"
    raise InputError(f"its particles are not those of {selection}: {told}", file=parent, fix=fix)


def _compare_keys(wanted: pd.Index, known: pd.Index) -> tuple[str, NDArray[np.bool_] | None]:
    """Rows of ``known`` that are wanted, or why they cannot be told."""
    for index, what in ((wanted, "the selection"), (known, "the parent")):
        twice = np.flatnonzero(index.duplicated())
        if len(twice):
            first = int(np.flatnonzero(index == index[twice[0]])[0])
            return f"rows {first + 1} and {twice[0] + 1} of {what} are alike (and {len(twice) - 1} more)", None
    at = known.get_indexer(wanted)
    missing = np.flatnonzero(at < 0)
    if len(missing):
        rows = ", ".join(str(row + 1) for row in missing[:NAMED]) + (", ..." if len(missing) > NAMED else "")
        return f"{len(missing)} of {len(wanted)} selected particles are missing (rows {rows} of the selection)", None
    keep = np.zeros(len(known), dtype=bool)
    keep[at] = True
    return "", keep


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
        boxes = [float(np.median(columns.numbers("rlnImageSize"))) for columns in (ours, theirs)]
        if abs(boxes[1] / boxes[0] / factor - 1) > 0.02:
            sides = [box * pixel for box, pixel in zip(boxes, pixels, strict=True)]
            notes.append(f"Warning: the images show {sides[0]:.4g} Å in the selection, {sides[1]:.4g} Å in the parent.")
    return tuple(notes)
