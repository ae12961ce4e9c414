"""Tables and arrays between the stages, and the truth of a user, that are damaged or of other particles."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cryocore.tables.io import METADATA_KEY
from tests.faults.case import LOG as LOG_FILE
from tests.faults.case import ROUND, Case, cut, cycle, directory, patch, remove, write

Breaks = Callable[[Path], object]
AGAIN = "run snakemake again"


def table(change: Callable[[pa.Table], pa.Table]) -> Breaks:
    """A Parquet table that is changed."""
    return lambda path: pq.write_table(change(pq.read_table(path, partitioning=None)), path)


def column(name: str, make: Callable[[pa.ChunkedArray], Any]) -> Breaks:
    """One column changed, its type as well."""

    def change(found: pa.Table) -> pa.Table:
        return found.set_column(found.schema.get_field_index(name), name, pa.array(make(found.column(name))))

    return table(change)


def value(name: str, number: Any, row: int = 4) -> Breaks:
    """One value of one row."""
    return column(name, lambda c: pa.array([*c.to_pylist()[:row], number, *c.to_pylist()[row + 1 :]], c.type))


def without(*names: str) -> Breaks:
    return table(lambda t: t.drop_columns(list(names)))


def described(change: Callable[[dict[str, Any]], object]) -> Breaks:
    """The description that goes with a table changed."""

    def new(found: pa.Table) -> pa.Table:
        about = json.loads(found.schema.metadata[METADATA_KEY])
        change(about)
        return found.replace_schema_metadata({METADATA_KEY: json.dumps(about)})

    return table(new)


def damaged(path: Path) -> None:
    """One byte of a column's values flipped."""
    place = pq.ParquetFile(path).metadata.row_group(0).column(0)
    patch(place.data_page_offset + place.total_compressed_size // 2, path.read_bytes()[0] ^ 0xA5, "u1")(path)


def arrays(**changes: Any) -> Breaks:
    """Members of an .npz file changed; None leaves one out."""

    def change(path: Path) -> None:
        with np.load(path) as file:
            members = {name: file[name] for name in file.files}
        for name, new in changes.items():
            members[name] = new(members[name]) if callable(new) else new
        np.savez(path, **{k: v for k, v in members.items() if v is not None})

    return change


def pickled(path: Path) -> None:
    """A member that would run code when it is read."""
    members: dict[str, Any] = {"density": np.array([Bomb()], dtype=object), "padding": 2.0, "last_shell": 3}
    np.savez(path, **members)


class Bomb:
    """Unpickled, it leaves a file behind."""

    def __reduce__(self) -> tuple[Any, ...]:
        return open, ("canary", "w")


def encrypted(path: Path) -> None:
    """The archive's directory says that its members need a password."""
    content = bytearray(path.read_bytes())
    content[content.find(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)


def replaced(old: bytes, new: bytes) -> Breaks:
    return lambda path: path.write_bytes(path.read_bytes().replace(old, new))


PARQUET: dict[str, tuple[Breaks, str]] = {
    "empty": (write(b""), "not a readable Parquet file"),
    "cut short": (cut(-100), "not a readable Parquet file"),
    "comma-separated": (write("particle_id,is_correct\n1,1\n"), "not a readable Parquet file"),
    "directory": (directory, "not a readable Parquet file|directory"),
    "link to itself": (cycle, "not a readable Parquet file .*symbolic links"),
    "missing": (remove, "file does not exist"),
    "damaged": (damaged, "not a readable Parquet file .*(checksum|CRC)"),
}
TRUTH: dict[str, tuple[Breaks, str]] = {
    **PARQUET,
    "missing ids": (table(lambda t: t.slice(0, 70)), "its 70 rows are not the 80 particles .* Give the truth of these"),
    "ids twice": (table(lambda t: pa.concat_tables([t, t.slice(0, 3)])), "its 83 rows are not the 80 particles"),
    "one id for another": (table(lambda t: t.take([0, 0, *range(2, 80)])), "are not the 80 particles"),
    "another order": (table(lambda t: t.take(list(range(79, -1, -1)))), "in the same order"),
    "no rows": (table(lambda t: t.slice(0, 0)), "its 0 rows are not the 80 particles"),
    "no ids": (without("particle_id"), "column particle_id: the column is missing"),
    "no flags": (without("is_correct"), "column is_correct: the column is missing"),
    "flags 0 and 1": (
        column("is_correct", lambda c: c.cast(pa.int8())),
        "column is_correct: it holds whole numbers",
    ),
    "flags as text": (
        column("is_correct", lambda c: ["yes"] * len(c)),
        "column is_correct: it holds texts",
    ),
    "ids as text": (column("particle_id", lambda c: list(map(str, c.to_pylist()))), "column particle_id"),
    "ids as floats": (column("particle_id", lambda c: c.to_numpy().astype(float)), "column particle_id"),
    "ids null": (value("particle_id", None), "column particle_id"),
    "kinds are lists": (column("error_kind", lambda c: [["a"]] * len(c)), "column error_kind"),
}
SUBSET: dict[str, tuple[Breaks, str]] = {
    **PARQUET,
    "other particles": (table(lambda t: t.slice(1)), "its 79 rows are not the 80 particles"),
    "no weights": (without("weight"), "column weight"),
    "weights as text": (column("weight", lambda c: ["all"] * len(c)), "column weight"),
    "NaN weight": (value("weight", float("nan")), "row 5, column weight: nan is not a weight"),
    "infinite weight": (value("weight", float("inf")), "row 5, column weight: inf is not a weight"),
    "negative weight": (value("weight", -1.0), "row 5, column weight: -1 is not a weight"),
    "null weight": (value("weight", None), "column weight"),
    "nobody": (column("weight", lambda c: np.zeros(len(c), np.float32)), "half set 1 has no particles"),
}
DATA: dict[str, tuple[Breaks, str]] = {
    **PARQUET,
    "name that is no text": (replaced(b"slice", b"sl\xf3ce"), "not a readable Parquet file|not a table of particles"),
    "no description": (table(lambda t: t.replace_schema_metadata(None)), "not a table of particles"),
    "description is no JSON": (
        table(lambda t: t.replace_schema_metadata({METADATA_KEY: b"{optics"})),
        "description .*cannot be read|not a table of particles",
    ),
    "description is a list": (
        table(lambda t: t.replace_schema_metadata({METADATA_KEY: b"[1]"})),
        "description .*cannot be read|not a table of particles",
    ),
    "no root": (described(lambda m: m.pop("root")), "not a table of particles"),
    "optics of another version": (described(lambda m: m["optics"][0].update(x=1)), "not a table of particles"),
    "optics without box": (described(lambda m: m["optics"][0].pop("box")), "not a table of particles"),
    "no optics": (described(lambda m: m.update(optics=[])), "not a table of particles|optics_group"),
    "pixel size 0": (described(lambda m: m["optics"][0].update(pixel_size_angstrom=0)), "not a table of particles"),
    "column missing": (without("half"), "column half|not a table of particles"),
    "column of words": (column("quat_w", lambda c: ["x"] * len(c)), "column quat_w|not a table of particles"),
    "NaN quaternion": (value("quat_x", float("nan")), "row 5, column quat_x: nan is not finite"),
    "null shift": (value("shift_x_angstrom", None), "column shift_x_angstrom"),
    "quaternion 0": (
        table(lambda t: _zeroed(t, [f"quat_{c}" for c in "wxyz"])),
        "row 1, .*quaternion",
    ),
    "half set 3": (value("half", 3), "row 5, column half: 3 is not a half set"),
    "optics group 9": (value("optics_group", 9), "row 5, column optics_group: 9 is not one of the 1 optics groups"),
    "negative slice": (value("slice", -1), "row 5, column slice: -1 is not an image"),
    "no rows": (table(lambda t: t.slice(0, 0)), "no particles|are not the"),
}


def _zeroed(found: pa.Table, names: list[str]) -> pa.Table:
    for name in names:
        found = found.set_column(found.schema.get_field_index(name), name, pc.multiply(found.column(name), 0.0))
    return found


def _header_of(path: Path, member: bytes) -> int:
    """Where the array of a member begins."""
    content = path.read_bytes()
    return content.find(b"\x93NUMPY", content.find(member))


SCORES: dict[str, tuple[Breaks, str]] = {
    **PARQUET,
    "other particles": (table(lambda t: t.slice(1)), "its 79 rows are not the 80 particles"),
    "score missing": (without("z"), "'z'|column z"),
    "other names": (
        table(lambda t: t.append_column("decoy_z", t.column("z"))),
        "column decoy_z: a log of another layout. Score the particles again",
    ),
    "score as text": (column("z", lambda c: ["good"] * len(c)), "column z"),
    "scores NaN": (column("z", lambda c: np.full(len(c), np.nan, np.float32)), "z"),
    "half missing": (without("half"), "'half'|column half"),
}
SUMS: dict[str, tuple[Breaks, str]] = {
    "empty": (write(b""), "the Fourier sums cannot be read"),
    "text": (write("1 2 3\n"), "the Fourier sums cannot be read .it is no .npz archive"),
    "cut short": (cut(-1000), "the Fourier sums cannot be read"),
    "wrong checksum": (patch(5000, 0x7F7F7F7F), "the Fourier sums cannot be read .*CRC"),
    "no numerator": (arrays(numerator=None), "the Fourier sums cannot be read .*numerator"),
    "of another grid": (arrays(grid=lambda g: 2 * g), "Fourier sums of another grid"),
    "of other particles": (arrays(particles=np.array("x")), "Fourier sums of other particles"),
    "of fewer weights": (arrays(weights=lambda w: w[:-1]), "the Fourier sums cannot be read .*weights"),
    "of another shape": (arrays(numerator=lambda n: n[:, :-1]), "the Fourier sums cannot be read .*numerator"),
    "of another type": (arrays(numerator=lambda n: n.real), "the Fourier sums cannot be read .*numerator"),
    "NaN": (arrays(denominator=lambda d: d * np.float32("nan")), "the half maps are not finite|not finite"),
}
SAMPLING: dict[str, tuple[Breaks, str]] = {
    "missing": (remove, "the sampling density cannot be read .*No such file"),
    "pickled": (pickled, "the sampling density cannot be read .*density is object"),
    "cut short": (cut(-10), "the sampling density cannot be read"),
    "encrypted": (encrypted, "the sampling density cannot be read .*encrypted"),
    "of 2 GB by its header": (replaced(b"'shape': (2,", b"'shape': (9**9,"), "the sampling density cannot be read"),
    "no padding": (arrays(padding=None), "the sampling density cannot be read .*padding"),
    "padding of three numbers": (arrays(padding=np.ones(3)), "the sampling density cannot be read"),
    "padding NaN": (arrays(padding=np.float64("nan")), "the sampling density cannot be read .*padding"),
    "of another shape": (arrays(density=lambda d: d[:, :-1]), "the sampling density cannot be read .*density"),
    "density 0": (arrays(density=np.zeros_like), "the sampling density cannot be read .*density"),
    "no archive": (lambda p: write(np.zeros(3).tobytes())(p), "the sampling density cannot be read"),
}
TRANSFORMS: dict[str, tuple[Breaks, str]] = {
    "empty": (write(b""), "the transforms cannot be read"),
    "cut short": (cut(-1000), "the transforms cannot be read"),
    "damaged": (patch(4000, [0x55555555] * 15000), "do not match their checksums|cannot be read"),
    "header of 4 GB": (
        lambda p: patch(_header_of(p, b"group_0.npy") + 8, 2**32 - 1, "<u4")(p),
        "the transforms cannot be read",
    ),
    "no shells": (arrays(shells=None), "the transforms cannot be read .*shells"),
    "of other particles": (arrays(identity_particles=np.array("x")), "transforms of other particles"),
    "ids cut": (arrays(ids=lambda i: i[:-1]), "the transforms cannot be read"),
    "records cut": (arrays(group_0=lambda g: g[:-5]), "the transforms cannot be read|truncated|checksums"),
}
NO_LOG = "there is no log in this directory"
LOG = PARQUET | {"missing": (remove, NO_LOG), "link to itself": (cycle, NO_LOG)}
CURVES: dict[str, tuple[Breaks, str]] = {
    "missing": (remove, "file does not exist"),
    "cut short": (cut(-50), "not a readable Parquet file"),
    "column missing": (without("corrected"), "column corrected"),
    "no rows": (table(lambda t: t.slice(0, 0)), "fsc.parquet"),
}


TEXT: dict[str, tuple[Breaks, str]] = {
    "empty": (write(""), "no line is a particle"),
    "binary": (write(b"\0\1\2"), "not a text file"),
    "prose": (write("Dear reader,\nhello\n"), "no line is a particle; line 1"),
    "100 000 digits": (write("1" * 100_000 + "x\n"), "no line is a particle"),
    "mostly malformed": (write("1 0 0 0 1 0.5\n1 0 0 1 0.5\n1 1 1 0 1 0.5\n"), "2 of 3 lines are malformed; line 2"),
    "missing": (lambda path: None, "file does not exist"),
    "directory": (lambda path: path.mkdir(), "cannot be read .Is a directory"),
}


def _cases(kind: str, program: str, file: str, faults: Mapping[str, tuple[Breaks, str]]) -> dict[str, Case]:
    return {f"{kind}, {name}": Case(program, file, breaks, says) for name, (breaks, says) in faults.items()}


TABLES = {
    **_cases("truth", "truth", "run/simulated/truth.parquet", TRUTH),
    **_cases("subset", "reconstruct", "run/round_1/subset.parquet", SUBSET),
    **_cases("particles", "reconstruct", "run/particles.parquet", DATA),
    "particles, other ids": Case(
        *(
            "reconstruct",
            "run/particles.parquet",
            value("particle_id", 7, 3),
            "its 80 rows are not the 80",
        ),
        names="subset.parquet",
    ),
    **_cases("scores", "select", LOG_FILE, SCORES),
    **_cases("scores to validate", "validate", LOG_FILE, PARQUET),
    **_cases("sums", "reconstruct", f"{ROUND}/sums.npz", SUMS),
    **_cases("sampling", "score", f"{ROUND}/sampling.npz", SAMPLING),
    **_cases("transforms", "reconstruct", "run/cache/transforms.npz", TRANSFORMS),
    **_cases("FSC", "validate", f"{ROUND}/fsc.parquet", CURVES),
    **_cases("text log", "cryocore import-log", "log.txt", TEXT),
    **_cases("log", "cryocore replay", "run/log/round=0/log.parquet", LOG),
}
