"""Text logs of one line per particle written as the log of a run, as far as they tell."""

from __future__ import annotations

import logging
import math
import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from cryocore.errors import InputError
from cryocore.geometry.rotations import quaternion_to_matrix, viewing_direction
from cryocore.geometry.symmetry import point_group
from cryocore.ingest.particles import particle_ids
from cryocore.log.names import EXPECTED, LIKELY_KIND, MEAN_GAIN, MIXTURE, REASON, SCORES, SUGGESTED_POSE
from cryocore.score.scores import BAND_COLUMNS
from cryocore.tables.io import atomic_path, write_table

log = logging.getLogger(__name__)

COLUMNS = "qw qx qy qz flag loss"
"""What the last values of a line are, by default."""
LOSS = "l2_loss"
"""The column that the loss goes to."""
FEWEST = 3
"""A line of fewer values than this is a message, which has to do with no particle."""
NORM_TOLERANCE = 0.05
"""How far the norm of a quaternion may be from 1."""
_WORDS = {"true": "1", "false": "0", "none": "nan", "null": "nan"}
_BETWEEN = re.compile(r"[\s,;:|=()\[\]{}]+")
_TIME = re.compile(r"\b\d\d:\d\d:\d\d(?:[.,]\d+)?")
_ROUND = re.compile(r"\b(?:iteration|iter|epoch|round)\b\W{0,3}(\d{1,9})\b", re.IGNORECASE)
_NAMES = pa.dictionary(pa.int32(), pa.string())
_LISTS = pa.list_(pa.float32())
SCHEMA = pa.schema(
    [
        ("particle_id", pa.uint64()),
        ("stack", _NAMES),
        ("slice", pa.int32()),
        ("micrograph", _NAMES),
        ("optics_group", pa.int32()),
        ("half", pa.int8()),
        *((f"quat_{c}", pa.float64()) for c in "wxyz"),
        *((f"view_{c}", pa.float64()) for c in "xyz"),
        ("defocus_u_angstrom", pa.float32()),
        ("defocus_v_angstrom", pa.float32()),
        ("weight", pa.float32()),
        ("selected", pa.bool_()),
        *((name, pa.float32()) for name in (*SCORES, *EXPECTED, "noise_factor", *SUGGESTED_POSE, *MEAN_GAIN)),
        *((name, _LISTS) for name in ("random_pose_z", *BAND_COLUMNS)),
        (REASON, pa.dictionary(pa.int8(), pa.string())),
        (MIXTURE, pa.float32()),
        (LIKELY_KIND, pa.dictionary(pa.int8(), pa.string())),
        ("is_correct", pa.bool_()),
    ]
)
"""Columns of a log, in order; null where a text log does not know them."""


@dataclass(frozen=True)
class Imported:
    """What an import found: files of the log, particles per round, lines that are none, and where those are listed."""

    files: tuple[Path, ...]
    n_particles: dict[int, int]
    n_malformed: int
    n_messages: int
    n_without_loss: int
    listed: Path | None


def import_log(
    files: list[Path],
    out: Path,
    *,
    columns: str = COLUMNS,
    symmetry: str = "C1",
    inverse: bool = False,
    most_malformed: float = 0.01,
) -> Imported:
    """Write text logs, one iteration after the other, as ``out/log/round=r/log.parquet``.

    Lines that are no particle are listed in ``out/malformed.tsv`` with number, text and reason.

    Parameters
    ----------
    files : one or several; a file without named iterations is one, and follows those of the file before
    columns : names of the last values of a line: those of :data:`COLUMNS`, ``number`` of the particle, ``-`` for others
    symmetry : point group, for what depends on views
    inverse : quaternions turn the image to the object, as in THUNDER, instead of the object to the image
    most_malformed : share of malformed lines that is accepted

    Raises
    ------
    InputError  if a file cannot be read, holds no particle, or has too many malformed lines, which are listed anyway.
    """
    point_group(symmetry)
    read: list[pd.DataFrame] = []
    for file in files:
        read.append(read_text_log(file, columns, 1 + max((int(t["round"].max()) for t in read), default=-1)))
    lines = pd.concat(read)
    others, listed = lines[lines["kind"] != "particle"], out / "malformed.tsv"
    listed.unlink(missing_ok=True)
    if len(others):
        with atomic_path(listed) as temporary:
            others[["file", "line", "kind", "why", "text"]].to_csv(temporary, sep="\t", index=False)
    for file, table in zip(files, read, strict=True):
        _require_particles(file, table, listed, most_malformed)
    particles = lines[lines["kind"] == "particle"]
    found, counts = [], {}
    for number in np.unique(particles["round"]).tolist():
        part = particles[particles["round"] == number]
        if part["file"].nunique() > 1:
            problem, fix = f"round {number} is in another file too", "Import the files one by one, each to its own"
            raise InputError(problem, file=part["file"].iloc[-1], fix=f"{fix} directory")
        counts[number] = len(part)
        found.append(out / "log" / f"round={number}" / "log.parquet")
        about = {"imported_from": part["file"].iloc[0].name, "half_sets": "by place: first, second, first, ..."}
        write_table(found[-1], _round_table(part, inverse=inverse), round=number, symmetry=symmetry, **about)
    kinds, unscored = others["kind"].value_counts(), int((~np.isfinite(particles["loss"])).sum())
    n_malformed, n_messages = int(kinds.get("malformed", 0)), int(kinds.get("message", 0))
    return Imported(tuple(found), counts, n_malformed, n_messages, unscored, listed if len(others) else None)


def read_text_log(path: Path, columns: str = COLUMNS, first_round: int = 0) -> pd.DataFrame:
    """Lines of a text log that hold anything: their ``kind`` (particle, message, malformed), and ``why`` that is.

    Particles have their values, round and ``number``: their own, or their place in the round, from 0, where malformed
    lines count. A line that names an iteration begins it; ``first_round`` is that of the lines before.

    Raises
    ------
    InputError  if the file cannot be read or is binary, or ``columns`` lack something.
    """
    names = columns.split()
    known = [name for name in names if name != "-"]
    if len(set(known)) < len(known) or {*known, "number"} != {*COLUMNS.split(), "number"}:
        raise InputError(f"{columns!r} are not the columns of a text log", fix=f"Name each of {COLUMNS} once")
    rows: list[dict[str, Any]] = []
    current, places = first_round, Counter[int]()
    for line, text in enumerate(_lines(path), start=1):
        values, header = values_of(text), _ROUND.search(text)
        current = int(header[1]) if header else current
        complete = len(values) >= len(names)
        if not text.strip() or (header and not complete):
            continue
        row = dict(zip(names, values[-len(names) :], strict=False))
        why = _fault(row) if complete else f"{len(values)} values, not {len(names)}: {columns}"
        why += f", among {len(values)} values" if complete and why and len(values) > len(names) else ""
        kind = "particle" if not why else "malformed" if len(values) >= FEWEST else "message"
        about = {"file": path, "line": line, "round": current, "kind": kind, "why": why, "text": text if why else ""}
        rows.append({"number": places[current], **row, **about})
        places[current] += kind != "message"
    every = ["file", "line", "round", "kind", "why", "text", "number", *COLUMNS.split()]
    return pd.DataFrame(rows, columns=every).astype({"round": np.int64})


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise InputError("file does not exist", file=path, fix="Give an existing log") from None
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", file=path, fix="Check its permissions") from None
    if "\0" in text:
        raise InputError("not a text file", file=path, fix="Give a text log of one line per particle")
    return text.split("\n")


def values_of(text: str) -> list[float]:
    """Numbers and flags of a line, whatever is between them; NaN for none, and no time of day.

    >>> values_of("2021-03-04 12:00:01,123 - fit - INFO - q: (1, 0, 0, 0), correct: False, loss: tensor(2.5)")
    [1.0, 0.0, 0.0, 0.0, 0.0, 2.5]
    """
    found: list[float] = []
    for word in _BETWEEN.split(_TIME.sub(" ", text)):
        with suppress(ValueError):
            found.append(float(_WORDS.get(word.lower(), word)))
    return found


def _fault(row: dict[str, float]) -> str:
    """Why the values of a line are no particle; empty where they are one."""
    norm = math.hypot(*(row[f"q{c}"] for c in "wxyz"))
    if not abs(norm - 1.0) <= NORM_TOLERANCE:
        return f"the quaternion's norm is {norm:.4g}, not 1"
    known = row["flag"] in (0.0, 1.0, -1.0) or math.isnan(row["flag"])
    return "" if known else f"the flag is {row['flag']:g}, not 0 or 1"


def _round_table(part: pd.DataFrame, *, inverse: bool) -> pa.Table:
    """The rows of a log for one iteration, null where nothing is known.

    Ids are hashes of the particle's number, so that they are the same in all iterations. Half sets are made by it too,
    since rules need two.
    """
    number, flag = part["number"].to_numpy(dtype=np.int64), part["flag"].to_numpy()
    quaternions = part[[f"q{c}" for c in "wxyz"]].to_numpy()
    quaternions /= np.linalg.norm(quaternions, axis=1, keepdims=True)
    if inverse:
        quaternions *= (1.0, -1.0, -1.0, -1.0)
    quaternions *= np.where(quaternions[:, :1] < 0, -1.0, 1.0)
    views = viewing_direction(quaternion_to_matrix(quaternions))
    loss = part["loss"].to_numpy(dtype=np.float32)
    known = {
        "particle_id": particle_ids(f"{n}@text-log" for n in number.tolist()),
        "half": (1 + number % 2).astype(np.int8),
        **{f"quat_{c}": quaternions[:, i] for i, c in enumerate("wxyz")},
        **{f"view_{c}": views[:, i] for i, c in enumerate("xyz")},
        LOSS: np.where(np.isfinite(loss), loss, np.nan),
        "is_correct": pa.array(flag == 1, mask=~(flag >= 0)),
    }
    columns = [pa.array(known[f.name], f.type) if f.name in known else pa.nulls(len(number), f.type) for f in SCHEMA]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def _require_particles(file: Path, lines: pd.DataFrame, listed: Path, most_malformed: float) -> None:
    kind = lines["kind"]
    n, bad = int((kind == "particle").sum()), int((kind == "malformed").sum())
    first = lines[kind == ("malformed" if bad else "message")].head(1)
    where = "".join(f"; line {line}: {why}" for line, why in zip(first["line"], first["why"], strict=True))
    if n == 0:
        raise InputError(f"no line is a particle{where}", file=file, fix="Give one line per particle")
    if bad > most_malformed * (n + bad):
        fix = f"See {listed}; mend them, or accept more by --most-malformed"
        raise InputError(f"{bad:,} of {n + bad:,} lines are malformed{where}", file=file, fix=fix)
    if bad:
        log.warning("%s: %d malformed lines, listed in %s", file, bad, listed)
