"""The section on views: whether the selection makes them, or the map, less even."""

from __future__ import annotations

from pathlib import Path

from cryocore.errors import InputError
from cryocore.orientation.diagnosis import orientation
from cryocore.orientation.figures import orientation_figure
from cryocore.report.section import Drawing, Section

NAMED = "orientation", "Views", "Does the selection make views or the map less even?"
READING = (
    "Above, the density of viewing directions before and after, z at the top, from all equivalent sides, and the share "
    "of each that is kept; grey: too few to say. Poses wrong at random fall evenly on the sphere, so that rare views "
    "hold more of them and rightly lose more. Below, the FSC between the half maps along cones of directions, "
    "where it changes by more than the overall FSC explains, and how far the resolution differs between directions."
)


def orientation_section(run_dir: Path, last: int, *, seed: int) -> Section:
    """The first round beside the last one, from the log and the half maps."""
    if last == 0:
        return Section(*NAMED, "Nothing is selected yet.")
    try:
        found = orientation(run_dir, 0, last, seed)
    except InputError as error:
        return Section(*NAMED, f"Not answered: {error.problem}.")
    answer, *points = found.sentences
    return Section(
        *NAMED,
        answer,
        points=tuple(points),
        drawings=(Drawing("orientation", orientation_figure(found), "Views and directional FSC before and after"),),
        reading=READING,
        warnings=found.warnings,
    )
