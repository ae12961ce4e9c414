"""The sections on the data set as a whole, from the answers that examine wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cryocore.errors import InputError
from cryocore.report.section import Section, Table
from cryocore.tables.io import AGAIN

Answer = dict[str, Any]

POINT_GROUP = "point-group", "Point group", "Do the particles have the point group of the run?"
READING = (
    "Half maps of the particles are made without symmetry. The ratio says how far they break a group: 0 where its "
    "rotations change nothing, about 1 where they are no better than random turns. It is that of the step from a "
    "smaller group, whose symmetry is then given. Poses that were found under a wrong group have its symmetry and "
    "cannot speak against it."
)
DUPLICATES = "duplicates", "Duplicates", "Are particles there twice?"
READING_DUPLICATES = (
    "Particles of a micrograph with nearly equal poses are compared by the noise of their images, which is the same "
    "where two boxes lie on one particle. The list is in duplicates.parquet."
)


def examined_sections(run_dir: Path) -> list[Section]:
    """One section per question that was asked; none where examine has not run."""
    path = run_dir / "examine.json"
    if not path.exists():
        return []
    try:
        answers = json.loads(path.read_text())
        return [SECTIONS[name](answers[name]) for name in SECTIONS if name in answers]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"not the answers of examine ({error})", file=path, fix=AGAIN) from None


def point_group_section(answer: Answer) -> Section:
    """Which point groups the particles support."""
    rows = tuple(
        (c["group"], c["within"], _ratio(c["ratio"], c["error"]), c["verdict"] + (" ◂" if c["group"] == given else ""))
        for given in [answer["given"]]
        for c in answer["candidates"]
    )
    return Section(
        *POINT_GROUP,
        answer["sentence"],
        tables=(Table(f"Point groups, by {answer['n_particles']:,} particles", HEAD, rows),),
        reading=READING,
        warnings=(answer["sentence"],) if answer["verdict"] == "contradicted" else (),
    )


def duplicates_section(answer: Answer) -> Section:
    """How many particles are there twice, and some of them."""
    rows = tuple(
        (str(e["particle_id"]), str(e["duplicate_of"]), e["micrograph"], f"{e['distance_angstrom']:.1f}")
        for e in answer["examples"]
    )
    parts = (
        "" if answer["complete"] else f"{answer['n_compared']:,} of {answer['n_candidates']:,} pairs were compared.",
        f"The boxes of {answer['n_overlapping']:,} pairs of different particles overlap."
        if answer["n_overlapping"]
        else "",
    )
    return Section(
        *DUPLICATES,
        answer["sentence"],
        points=tuple(filter(None, parts)),
        tables=(Table(f"The first of {answer['n_found']:,} pairs", HEAD_DUPLICATES, rows),) if rows else (),
        reading=READING_DUPLICATES,
        warnings=(answer["warning"],) if answer["warning"] else (),
    )


HEAD = ("Group", "Within", "Ratio", "Verdict")
HEAD_DUPLICATES = ("Particle", "Duplicate of", "Micrograph", "Distance, Å")
SECTIONS = {"point_group": point_group_section, "duplicates": duplicates_section}


def _ratio(value: float | None, error: float | None) -> str:
    return "–" if value is None or error is None else f"{value:.2f} ± {error:.2f}"
