"""The stage: what is asked of a data set as a whole, and the file of the answers."""

from __future__ import annotations

import json
from pathlib import Path

from cryocore.backend import Backend
from cryocore.examine.point_group import examine_point_group
from cryocore.tables.io import atomic_path
from cryocore.tables.particles import Particles


def examine(particles: Path, round_dir: Path, *, symmetry: str, seed: int, backend: Backend, out: Path) -> None:
    """Write the answers as JSON, each under the name of its question.

    Parameters
    ----------
    particles : what ingest wrote
    round_dir : maps of all particles; of them mask.mrc is read
    symmetry : the point group that the run has
    """
    data = Particles.read(particles)
    answers = {
        "point_group": examine_point_group(data, round_dir / "mask.mrc", symmetry, seed=seed, backend=backend).as_dict()
    }
    with atomic_path(out) as temporary:
        temporary.write_text(json.dumps(answers, indent=1) + "\n")
