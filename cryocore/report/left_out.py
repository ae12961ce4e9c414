"""The section that shows what is left out: particles of each kind, and their map."""

from __future__ import annotations

import json
from pathlib import Path

from cryocore.errors import InputError
from cryocore.explore.left_out import FIGURE, FILE, TITLES
from cryocore.report.section import Drawing, Section
from cryocore.tables.io import AGAIN

NAMED = "particles", "Particles", "What do particles that are left out look like, and their map?"
READING = (
    "Below each other: the image; the image low-passed; what its half map predicts at its pose, without the particle's "
    "own share in it; and what is left, low-passed alike. Contrast is that of the images. Particles are drawn by their "
    "ids, but for those at the edge, which are about as probably correct as not; above are the probability of being "
    "correct, the defocus and the micrograph. "
)
READING_MAP = (
    "The map of what is left out stands beside those of as many of all and of the selected particles. If it held worse "
    "copies of the same, its signal would correlate by 1 with that of the selected ones (dashed)."
)


def particles_figure(group: str) -> str:
    """The name of the figure of a group of particles, a key of ``TITLES``."""
    return f"particles_{group}"


def left_out_section(folder: Path) -> Section | None:
    """From the folder that ``look`` wrote; None where there is none."""
    path = folder / FILE
    if not path.exists():
        return None
    try:
        told = json.loads(path.read_text())
        number, groups, of_map = told["round"], told["groups"], told["map"]
        verdict = of_map["verdict"]
        missing = "" if verdict else f"Their map is not made: {of_map['reason']}."
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"not what look writes ({error})", file=path, fix=AGAIN) from None
    drawn = [name for name in TITLES if name in groups]
    pictures = tuple(
        Drawing(particles_figure(name), folder / f"{name}.png", f"{TITLES[name]}: some particles", is_half=True)
        for name in drawn
    )
    maps = (Drawing(FIGURE, folder / f"{FIGURE}.svg", "FSC and slices of the map of what is left out"),)
    return Section(
        *NAMED,
        f"Round {number}: {verdict or missing}",
        drawings=(*pictures, *(maps if verdict else ())),
        reading=READING + (READING_MAP if verdict else ""),
    )
