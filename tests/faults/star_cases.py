"""Files that are no STAR file of particles, or a damaged one."""

from __future__ import annotations

import gzip

from tests.faults.case import Case, cut, cycle, directory, remove, write
from tests.ingest.samples import old_columns, optics_columns, particle_columns, table

GOOD = table("optics", optics_columns()) + table("particles", particle_columns())
LAST = "000008@a.mrcs"
NO_ROWS = table("particles", {k: [] for k in particle_columns()})
CONTENTS: dict[str, tuple[bytes | str, str]] = {
    "empty": (b"", "file is empty"),
    "blank": (b" \n\n", "file is empty"),
    "binary": (b"data_\n\0\0", "binary data"),
    "stack in its place": (b"\x10\0\0\0" * 500, "binary data"),
    "prose": (b"Dear reader,\nhello\n", "no data_ block"),
    "comma-separated": (b"x,y,z\n1,2,3\n", "no data_ block"),
    "JSON": (b'{"data_particles": []}\n', "it is a JSON file"),
    "text before": ("hello\n" + GOOD, "line 1 stands before its first data_ block"),
    "conflict marks": ("<<<<<<< HEAD\n" + GOOD, "line 1 stands before its first data_ block"),
    "no table": (table("movies", {"rlnVoltage": [300]}), r"no table of particles among its blocks \(data_movies"),
    "no images": (table("particles", {"rlnVoltage": [300]}), "column rlnImageName: data_particles names no"),
    "two tables": (table("a", particle_columns()) + table("b", particle_columns()), "several tables"),
    "block twice": (GOOD + GOOD, "block data_optics appears twice"),
    "label twice": (GOOD.replace("AngleTilt", "AngleRot"), "column rlnAngleRot: .* has the column twice"),
    "no rows": (NO_ROWS, "has no rows"),
    "labels without loop": (NO_ROWS.replace("loop_\n", ""), "line 4 has no value|has no value"),
    "ragged short": (GOOD.replace(f"{LAST} ", LAST), "row 8: line .* has 11 values for the 12 columns"),
    "ragged long": (GOOD.replace(LAST, f"my {LAST}"), "row 8: .* has 13 values .* put quotes around"),
    "one label too many": (GOOD.replace("_rlnAngleRot", "_rlnX\n_rlnAngleRot"), "row 1: .* 12 values for the 13 col"),
    "unclosed quote": (GOOD.replace(LAST, f'"{LAST} x'), "row 8: .* has 13 values"),
    "values with commas": (GOOD.replace(f"{LAST} ", f"{LAST},"), "row 8: .* has 11 values"),
    "Latin-1": (GOOD.replace("m0.mrc", "é.mrc").encode("latin-1"), "not UTF-8 text"),
    "Latin-1 label": (GOOD.replace("_rlnAngleRot", "_rlnÄngle").encode("latin-1"), "not UTF-8 text"),
    "UTF-16": (GOOD.encode("utf-16"), "is UTF-16 text"),
    "byte order mark": (GOOD.encode("utf-8-sig"), "begins with a byte order mark"),
    "old Mac": (GOOD.replace("\n", "\r"), "carriage returns"),
    "stray line": (b"data_optics\nhello\n", "line 2 in data_optics is neither loop_ nor a label"),
    "gzip": (gzip.compress(GOOD.encode(), mtime=0), "is compressed"),
    "all on one line": (GOOD.replace("\n", " "), "no table of particles|has no rows|no data_ block|several|names no"),
    "number of 5000 digits": (GOOD.replace("300.0", "3" * 5000), "column rlnVoltage: .* is not a finite number"),
    "mark before the first row": (
        GOOD.replace("1 og1 300.0", "\ufeff 1 og1 300.0"),
        "line 12 has 8 values",
    ),
    "mark as the first value": (
        GOOD.replace("1 og1 300.0", "\ufeff og1 300.0"),
        "rlnOpticsGroup: data_optics",
    ),
    "line of 10 MB": ("data_\nloop_\n_rlnImageName\n" + "1@a.mrcs " * 1_100_000, "row 1: .* values for the 1 columns"),
}
STAR = {
    **{name: Case("ingest", "particles.star", write(content), says) for name, (content, says) in CONTENTS.items()},
    "copied in part": Case("ingest", "particles.star", cut(-30), "row 8: line .* values for the 12 columns"),
    "cut after the labels": Case("ingest", "particles.star", cut(500), "has no rows|values for|column"),
    "missing": Case("ingest", "particles.star", remove, "file does not exist. Give an existing STAR file"),
    "directory": Case("ingest", "particles.star", directory, "is a directory. Give the STAR file inside it"),
    "link to itself": Case("ingest", "particles.star", cycle, "cannot be read .*symbolic links"),
    "planting into prose": Case(
        *("plant", "particles.star", write(CONTENTS["prose"][0]), "no data_ block"),
        {"root": None, "pixel_size_angstrom": None},
    ),
    "planting into single rows": Case(
        "plant",
        "particles.star",
        write("data_\n" + "".join(f"_{k} {v[0]}\n" for k, v in (old_columns() | {"rlnVoltage": [300]}).items())),
        "need at least two particles",
        {"root": None, "pixel_size_angstrom": None},
    ),
    "parent changed before selection": Case(
        "select", "run/simulated/particles.star", cut(-200), "has [0-9]+ particles where 80 are expected|values for the"
    ),
    "parent gone before selection": Case("select", "run/simulated/particles.star", remove, "file does not exist"),
}
