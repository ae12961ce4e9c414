"""The stage: pictures of particles, selected and left out, the map of what is left out, and states, for the report."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from cryocore.backend import Backend
from cryocore.errors import InputError
from cryocore.explore.dropped import dropped
from cryocore.explore.dropped.figures import dropped_figure
from cryocore.explore.gallery import Seen, strips, write_gallery
from cryocore.explore.left_out import FIGURE, FILE, STATES_FILE
from cryocore.explore.states import states
from cryocore.explore.states.output import write_states
from cryocore.figures.look import save
from cryocore.tables.io import write_json

EACH = 4
"""Particles of each group in the report."""

log = logging.getLogger(__name__)


def look(run_dir: Path, out_dir: Path, *, number: str, seed: int, backend: Backend) -> None:
    """Write pictures of particles of a round, what the map of those that it leaves out is like, and its figure; and
    whether the particles are in more than one state.

    ``left_out.json`` has the groups of particles with their sizes, and under ``map`` what
    :meth:`cryocore.explore.dropped.Dropped.as_dict` gives, or why there is no such map; ``states.json`` what
    :meth:`cryocore.explore.states.States.as_dict` gives, or why no state is looked for.

    Parameters
    ----------
    run_dir : results/<run>
    out_dir : folder to write
    number : the round, or last
    seed : of what is drawn
    """
    (out_dir / f"{FIGURE}.svg").unlink(missing_ok=True)
    of_left_out = look_at_left_out(run_dir, out_dir, number, seed, backend)
    seen = Seen.of_run(run_dir, number, backend)  # large, and not needed before
    found = strips(seen, EACH)
    write_gallery(found, seen, out_dir)
    groups = {strip.name: strip.n for strip in found}
    write_json(out_dir / FILE, {"round": seen.log.number, "groups": groups, "map": of_left_out})
    look_for_states(seen, out_dir, seed)
    log.info("round %d: pictures of %d groups", seen.log.number, len(found))


def look_at_left_out(run_dir: Path, out_dir: Path, number: str, seed: int, backend: Backend) -> dict[str, Any]:
    """Draw the map of what a round leaves out; what it is like, or why there is none."""
    try:
        left_out = dropped(run_dir, backend, number=number, seed=seed)
    except InputError as error:
        return {"verdict": None, "reason": error.problem}
    figure = dropped_figure(left_out)
    save(figure, out_dir / f"{FIGURE}.svg")
    plt.close(figure)
    return left_out.as_dict()


def look_for_states(seen: Seen, out_dir: Path, seed: int) -> None:
    """Write whether the particles of a round are in more than one state, and what a second one is like."""
    try:
        found = states(seen, seed=seed)
    except InputError as error:
        reason = f"States are not looked for: {error.problem}."
        write_json(out_dir / STATES_FILE, {"sentence": reason, "points": [], "warning": None, "second": None})
        return
    write_states(found, seen.data.ids, out_dir)
    write_json(out_dir / STATES_FILE, found.as_dict())
    log.log(logging.WARNING if found.warning else logging.INFO, found.text)
