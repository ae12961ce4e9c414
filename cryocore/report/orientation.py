"""The section on views: whether the selection makes them, or the map, less even."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryocore.errors import InputError
from cryocore.explore.orientation.diagnosis import orientation
from cryocore.explore.orientation.figures import orientation_figure
from cryocore.report.section import Drawing, Section, Table

Metrics = dict[str, Any]

NAMED = "orientation", "Views", "Does the selection make views or the map less even?"
READING = (
    "Above, the density of viewing directions before and after, z at the top, from all equivalent sides, and the share "
    "of each that is kept; grey: too few to say. Poses wrong at random fall evenly on the sphere, so that rare views "
    "hold more of them and rightly lose more. Below, the FSC between the half maps along cones of directions, "
    "where it changes by more than the overall FSC explains, and how far the resolution differs between directions. "
    "The sampling compensation factor (SCF) is 1 for uniform views, the area ratio 1 for a map that is as good in all "
    "directions."
)


COLUMNS = (
    ("SCF", "sampling_compensation_factor", "{:.3f}"),
    ("Unsampled share", "unsampled_share", "{:.3f}"),
    ("Area ratio", "fsc_area_ratio", "{:.2f}"),
    ("Worst direction (Å)", "worst_direction_resolution_angstrom", "{:.2f}"),
    ("Best direction (Å)", "best_direction_resolution_angstrom", "{:.2f}"),
)
"""What the table says of every round: head, metric and format."""


def orientation_section(run_dir: Path, rounds: Sequence[Metrics], *, seed: int) -> Section:
    """The first round beside the last one, from the log and the half maps; and all rounds by their metrics."""
    last = rounds[-1]["round"]
    if last == 0:
        return Section(*NAMED, "Nothing is selected yet.", tables=(_table(rounds),))
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
        tables=(_table(rounds),),
        reading=READING,
        warnings=found.warnings,
    )


def _table(rounds: Sequence[Metrics]) -> Table:
    rows = (
        (str(m["round"]), *("–" if m.get(name) is None else form.format(m[name]) for _, name, form in COLUMNS))
        for m in rounds
    )
    return Table("Evenness, round by round", ("Round", *(head for head, _, _ in COLUMNS)), tuple(rows))
