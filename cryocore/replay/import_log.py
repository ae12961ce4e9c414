"""Text logs written as the log of a run, as far as they tell."""

from __future__ import annotations

import csv
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from cryocore.data import EXPECTED, HINTS, SCORES
from cryocore.errors import InputError
from cryocore.files import atomic_path, write_table
from cryocore.geometry.rotations import quaternion_to_matrix, viewing_direction
from cryocore.geometry.symmetry import point_group
from cryocore.ingest.particles import particle_ids
from cryocore.replay.text_log import TextLog, TextRound, read_text_log
from cryocore.score.scores import BAND_COLUMNS
from cryocore.select.registry import MIXTURE

log = logging.getLogger(__name__)

LOSS = "l2_loss"
"""The column that the loss goes to."""
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
        *((name, pa.float32()) for name in (*SCORES, *EXPECTED, "noise_factor", *HINTS)),
        *((name, _LISTS) for name in ("decoy_z", *BAND_COLUMNS)),
        (MIXTURE, pa.float32()),
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
    symmetry: str = "C1",
    scalar_last: bool = False,
    inverse: bool = False,
    most_malformed: float = 0.01,
) -> Imported:
    """Write text logs, one iteration after the other, as ``out/log/round=r/log.parquet``.

    Lines that are no particle are listed in ``out/malformed.tsv`` with number, text and reason.

    Parameters
    ----------
    files : one or several; a file without named iterations is one, and follows those of the file before
    symmetry : point group, for what depends on views
    scalar_last : quaternions are (x, y, z, w) instead of (w, x, y, z)
    inverse : they turn the image to the object, as in THUNDER, instead of the object to the image
    most_malformed : share of malformed lines that is accepted

    Raises
    ------
    InputError  if a file cannot be read, holds no particle, or has too many malformed lines, which are listed anyway.
    """
    point_group(symmetry)
    parsed: list[tuple[Path, TextLog]] = []
    for file in files:
        following = 1 + max((r.number for _, t in parsed for r in t.rounds), default=-1)
        parsed.append((file, read_text_log(file, following)))
    listed = _list_faults(parsed, out / "malformed.tsv")
    for file, text in parsed:
        _require_particles(file, text, listed, most_malformed)
    own_numbers = all(text.has_own_numbers for _, text in parsed)
    found: dict[int, Path] = {}
    counts: dict[int, int] = {}
    unscored = 0
    for file, text in parsed:
        for part in text.rounds:
            if part.number in found:
                problem = f"round {part.number} is in another file too"
                raise InputError(problem, file=file, remedy="Import the files one by one, each to its own directory")
            table = round_table(part, scalar_last=scalar_last, inverse=inverse, own_numbers=own_numbers)
            found[part.number] = out / "log" / f"round={part.number}" / "log.parquet"
            counts[part.number] = len(table)
            unscored += int(np.isnan(part.loss).sum())
            about = {"imported_from": file.name, "half_sets": "by place: first, second, first, ..."}
            write_table(found[part.number], table, round=part.number, symmetry=symmetry, **about)
    faults = [fault for _, text in parsed for fault in text.faults]
    messages = sum(fault.message for fault in faults)
    files_written = tuple(found[n] for n in sorted(found))
    return Imported(files_written, dict(sorted(counts.items())), len(faults) - messages, messages, unscored, listed)


def round_table(part: TextRound, *, scalar_last: bool, inverse: bool, own_numbers: bool) -> pa.Table:
    """The rows of a log for one iteration, null where nothing is known.

    Ids are hashes of the particle's number, or else of its place among the lines, so that they are the same in all
    iterations. Half sets are made by place, since rules need two.
    """
    number = np.array(part.index if own_numbers else part.place, dtype=np.int64)
    quaternions = np.array(part.quaternion, dtype=np.float64).reshape(-1, 4)
    if scalar_last:
        quaternions = np.roll(quaternions, 1, axis=1)
    if inverse:
        quaternions = quaternions * (1.0, -1.0, -1.0, -1.0)
    quaternions *= np.where(quaternions[:, :1] < 0, -1.0, 1.0)
    views = viewing_direction(quaternion_to_matrix(quaternions))
    flags = np.array(part.flag)
    known = {
        "particle_id": particle_ids(f"{n}@text-log" for n in number.tolist()),
        "half": (1 + number % 2).astype(np.int8),
        **{f"quat_{c}": quaternions[:, i] for i, c in enumerate("wxyz")},
        **{f"view_{c}": views[:, i] for i, c in enumerate("xyz")},
        LOSS: np.array(part.loss, dtype=np.float32),
        "is_correct": pa.array(flags == 1, mask=flags < 0),
    }
    columns = [pa.array(known[f.name], f.type) if f.name in known else pa.nulls(len(number), f.type) for f in SCHEMA]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def _list_faults(parsed: list[tuple[Path, TextLog]], path: Path) -> Path | None:
    """Write every line that is no particle to a table of tab-separated values; None where there is none."""
    if not any(text.faults for _, text in parsed):
        path.unlink(missing_ok=True)
        return None
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(["file", "line", "kind", "why", "text"])
        for source, text in parsed:
            for f in text.faults:
                writer.writerow([source, f.line, "message" if f.message else "malformed", f.why, f.text])
    return path


def _require_particles(file: Path, text: TextLog, listed: Path | None, most_malformed: float) -> None:
    n, bad = text.n_particles, text.n_malformed
    first = next((f for f in text.faults if not f.message), next(iter(text.faults), None))
    where = "" if first is None else f"; line {first.line}: {first.why}"
    if n == 0:
        raise InputError(f"no line is a particle{where}", file=file, remedy="Give one line per particle")
    if bad > most_malformed * (n + bad):
        raise InputError(
            f"{bad:,} of {n + bad:,} lines are malformed{where}",
            file=file,
            remedy=f"See {listed}; mend them, or accept more by --most-malformed",
        )
    if bad:
        log.warning("%s: %d malformed lines, listed in %s", file, bad, listed)
