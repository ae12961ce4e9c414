"""What a file is, in ten lines: particles, images, maps and tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cryocore.errors import InputError
from cryocore.formats import cs
from cryocore.formats.foreign import identify
from cryocore.formats.kinds import TITLES, kind_of, read_tables
from cryocore.formats.mrc_header import HEADER_BYTES
from cryocore.formats.records import read_fields
from cryocore.formats.stacks import read_header
from cryocore.formats.star import IMAGE_NAME, StarTables
from cryocore.ingest.columns import Columns, columns_of
from cryocore.ingest.optics import CONTRAST, CS, VOLTAGE, pixel_sizes
from cryocore.log.columns import score_columns
from cryocore.log.rounds import open_round
from cryocore.tables.io import read_table, table_metadata
from cryocore.tables.particles import Particles

MAPS = (".mrc", ".mrcs", ".map", ".ccp4", ".st")

PARTICLES = (".star", ".cs", ".thu")

LOG = "log of a round"

Facts = dict[str, Any]


def describe(path: str | Path) -> Facts:
    """What a STAR, ``.cs``, ``.thu``, MRC or Parquet file holds: names of facts and their values.

    Raises
    ------
    InputError  if the file is missing or none of these.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError("it is a folder", file=path, fix="Name a file in it; cryocore status tells about a run")
    if not path.is_file():
        raise InputError("no such file", file=path, fix="Correct the name")
    if path.suffix.lower() == ".parquet":
        return _table(path)
    if path.suffix.lower() in MAPS:
        return _images(path)
    if path.suffix.lower() not in PARTICLES and (found := identify(path)) is not None:
        if found.kind == "mrc":
            return _images(path)
        if found.kind == "parquet":
            return _table(path)
        if found.kind != "star":
            raise InputError(f"it is {found.name}", file=path, fix=found.fix)
    return _particles(path)


def as_text(facts: Facts) -> str:
    """The facts, one a line."""
    width = max(map(len, facts))
    return "\n".join(f"{name:<{width}}  {_words(value)}" for name, value in facts.items())


def _words(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.6g}"
        case dict():
            return ", ".join(f"{name} {_words(v)}" for name, v in value.items()) or "none"
        case list():
            return ", ".join(map(_words, value)) or "none"
        case _:
            return str(value)


def _particles(path: Path) -> Facts:
    tables = read_tables(path)
    columns = columns_of(tables)
    angles = [label for label in cs.ANGLES if columns.has(label)]
    facts: Facts = {
        "file": str(path),
        "kind": TITLES[kind_of(path)],
        "particles": len(tables),
        "images": _stacks(tables),
        "optics": _optics(columns),
        "pixel size": _pixels(columns),
        "poses": "3-D" if len(angles) == 3 else "none",
        "defocus": _range(columns, "rlnDefocusU", "Å"),
        "half sets": _counts(columns, "rlnRandomSubset"),
        "classes": _counts(columns, "rlnClassNumber"),
        "micrographs": int(columns.tables.particles["rlnMicrographName"].nunique())
        if "rlnMicrographName" in tables.particles
        else "not named",
    }
    if kind_of(path) == "cs":
        facts["fields"] = sorted({name.split("/")[0] for name in read_fields(path).names})
    if tables.notices:
        facts["notes"] = list(tables.notices)
    return facts


def _stacks(tables: StarTables) -> str:
    """How many there are, and the first."""
    if IMAGE_NAME not in tables.particles:
        return "none; the job's passthrough file names them"
    stacks = tables.particles[IMAGE_NAME].astype(str).str.rpartition("@")[2]
    n = stacks.nunique()
    return f"{n:,} stack{'s' if n > 1 else ''}, the first {stacks.iloc[0]}"


def _optics(columns: Columns) -> str:
    """Groups, voltage, Cs and amplitude contrast."""
    optics = columns.tables.optics
    groups = f"{1 if optics is None else len(optics)} group{'s' if optics is not None and len(optics) > 1 else ''}"
    parts = [_range(columns, label, unit) for label, unit in ((VOLTAGE, "kV"), (CS, "mm"), (CONTRAST, "contrast"))]
    return ", ".join([groups, *(part for part in parts if part != "none")])


def _pixels(columns: Columns) -> str:
    try:
        sizes = pixel_sizes(columns, None)
    except InputError:
        return "not in the file"
    box = f"; images of {_range(columns, 'rlnImageSize', 'pixels')}" if columns.has("rlnImageSize") else ""
    return _between(sizes, "Å") + box


def _range(columns: Columns, label: str, unit: str) -> str:
    return _between(columns.numbers(label), unit) if columns.has(label) else "none"


def _between(values: Any, unit: str) -> str:
    low, high = float(np.min(values)), float(np.max(values))
    return f"{low:.6g} {unit}" if low == high else f"{low:.6g} to {high:.6g} {unit}"


def _counts(columns: Columns, label: str) -> Facts | str:
    """How many particles have each value."""
    if not columns.has(label):
        return "none"
    values, counts = np.unique(columns.numbers(label), return_counts=True)
    if len(values) > 8:
        return f"{len(values)}, from {values[0]:g} to {values[-1]:g}"
    return {f"{v:g}:": int(n) for v, n in zip(values, counts, strict=True)}


def _images(path: Path) -> Facts:
    header = read_header(path)
    kind = np.dtype(header.dtype)
    cubic = header.width == header.height == header.n_images
    other = "MRC stack" if path.suffix.lower() in (".mrcs", ".st") else "MRC stack, or a map that is no cube"
    return {
        "file": str(path),
        "kind": "MRC map" if cubic and path.suffix.lower() not in (".mrcs", ".st") else other,
        "sides": f"{header.width} x {header.height} x {header.n_images}",
        "pixel size in the header": f"{header.pixel_size_angstrom:.6g} Å" if header.pixel_size_angstrom else "none",
        "numbers": f"{kind.name}, {'big' if kind.byteorder == '>' else 'little'}-endian",
        "bytes": path.stat().st_size,
        "extended header": f"{header.offset - HEADER_BYTES:,} bytes",
        **_grey(path, header),
    }


def _grey(path: Path, header: Any) -> Facts:
    """Range and spread of the first sections."""
    n = max(1, min(header.n_images, (1 << 24) // max(header.image_bytes, 1)))
    with path.open("rb") as file, np.errstate(invalid="ignore"):  # NaN of the kind that a processor reports
        file.seek(header.offset)
        values = np.fromfile(file, dtype=header.dtype, count=n * header.width * header.height).astype(np.float64)
    finite = values[np.isfinite(values)]
    if not len(finite):
        return {"values": "none that are finite"}
    text = f"{finite.min():.4g} to {finite.max():.4g}, mean {finite.mean():.4g}, deviation {finite.std():.4g}"
    bad = len(values) - len(finite)
    where = "" if n == header.n_images else f" (of the first {n})"
    return {"values": text + where + (f"; {bad:,} are not finite" if bad else "")}


def _table(path: Path) -> Facts:
    empty = read_table(path, [], fix="Give a Parquet file")
    schema, n = pq.read_schema(path), empty.num_rows
    meta = table_metadata(schema)
    names = schema.names
    facts: Facts = {"file": str(path), "kind": _kind_of_table(names, meta), "rows": n}
    if "optics" in meta:
        return facts | _particle_table(path, meta)
    if "round" in meta:
        facts["round"] = meta["round"]
    known = open_round(path) if n and facts["kind"] == LOG else None  # with the truth beside it
    columns = names if known is None else known.columns
    for name, title in (("selected", "selected"), ("is_correct", "correct")):
        if name in columns and n:
            table = read_table(path, [name]) if known is None else known.table([name])
            kept = int(np.count_nonzero(table.column(name).to_numpy(zero_copy_only=False)))
            facts[title] = f"{kept:,} ({kept / n:.1%})"
    if "half" in names and n:
        values, counts = np.unique(read_table(path, ["half"]).column("half").to_numpy(), return_counts=True)
        facts["half sets"] = {f"{v}:": int(c) for v, c in zip(values, counts, strict=True)}
    if facts["kind"] == LOG:
        facts["scores"] = score_columns(schema)
        bands = [f.name for f in schema if pa.types.is_list(f.type) or pa.types.is_fixed_size_list(f.type)]
        facts["per band"] = bands
    else:
        facts["columns"] = names
    if meta:
        facts["metadata"] = sorted(meta)
    return facts


def _kind_of_table(names: list[str], meta: dict[str, Any]) -> str:
    """What a Parquet table of this project is."""
    known = set(names)
    if "optics" in meta and "parent" in meta:
        return "particle table (particles.parquet)"
    if {"particle_id", "view_x", "selected"} <= known:
        return LOG
    if {"particle_id", "is_correct"} <= known:
        return "truth about particles"
    if {"particle_id", "weight", "selected"} <= known:
        return "selection of a round (subset.parquet)"
    return "Parquet table"


def _particle_table(path: Path, meta: dict[str, Any]) -> Facts:
    particles = Particles.read(path)
    half, counts = np.unique(particles.column("half"), return_counts=True)
    optics = [
        f"{o.name}: {o.voltage_kv:g} kV, {o.box} pixels of {o.pixel_size_angstrom:.6g} Å" for o in particles.optics
    ]
    return {
        "made from": meta["parent"],
        "image paths start from": meta["root"],
        "stacks": int(pd.Index(particles.column("stack")).nunique()),
        "micrographs": int(pd.Index(particles.column("micrograph")).nunique()),
        "half sets": {f"{h}:": int(n) for h, n in zip(half, counts, strict=True)},
        "optics": optics,
    }
