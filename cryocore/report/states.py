"""The section on states: whether particles show something else than worse copies of the same."""

from __future__ import annotations

import json
from pathlib import Path

from cryocore.errors import InputError
from cryocore.explore.left_out import STATES_FIGURE, STATES_FILE
from cryocore.report.section import Drawing, Section
from cryocore.tables.io import AGAIN

NAMED = "states", "States", "Are the particles in more than one state?"
READING = (
    "The residuals of the images are compared with what they would be if a part of the molecule was missing in some "
    "particles, or turned; what a particle's own scale, fall-off, pose, shift and defocus explain is taken out first. "
    "Blue is where the second state has more density than the first, orange where it has less. States of single "
    "subunits of a symmetric molecule are not seen. Nothing is thrown out for its state."
)


def states_section(folder: Path) -> Section | None:
    """From the folder that ``look`` wrote; None where there is none."""
    path = folder / STATES_FILE
    if not path.exists():
        return None
    try:
        told = json.loads(path.read_text())
        answer, points, warning, second = (told[name] for name in ("sentence", "points", "warning", "second"))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"not what look writes ({error})", file=path, fix=AGAIN) from None
    drawing = Drawing(STATES_FIGURE, folder / f"{STATES_FIGURE}.svg", "Where the states differ, and log odds")
    return Section(
        *NAMED,
        answer,
        points=tuple(points),
        drawings=(drawing,) if second else (),
        reading=READING,
        warnings=tuple(filter(None, (answer if second else None, warning))),
    )
