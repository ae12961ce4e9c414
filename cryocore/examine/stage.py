"""The stage: what is asked of a data set as a whole, and the file of the answers."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from cryocore.backend import Backend
from cryocore.examine.duplicates import find_duplicates
from cryocore.examine.point_group import examine_point_group
from cryocore.tables.io import write_json, write_table
from cryocore.tables.particles import Particles

log = logging.getLogger(__name__)

DUPLICATES = "duplicates.parquet"


def examine(particles: Path, round_dir: Path, *, symmetry: str, seed: int, backend: Backend, out: Path) -> None:
    """Write the answers as JSON, each under the name of its question, and duplicates.parquet beside them.

    Parameters
    ----------
    particles : what ingest wrote
    round_dir : maps of all particles; of them mask.mrc is read
    symmetry : the point group that the run has
    """
    data = Particles.read(particles)
    duplicates, listed = find_duplicates(data, symmetry, seed=seed), out.with_name(DUPLICATES)
    warning = duplicates.warning(listed, data.parent)
    log.log(logging.WARNING if warning else logging.INFO, warning or duplicates.sentence)
    once = data.take(np.flatnonzero(~np.isin(data.ids, duplicates.second)))  # noise in both half sets breaks any group
    group = examine_point_group(once, round_dir / "mask.mrc", symmetry, seed=seed, backend=backend)
    log.log(logging.WARNING if group.verdict == "contradicted" else logging.INFO, group.sentence)
    write_table(listed, duplicates.table(data.ids), complete=duplicates.complete)
    write_json(out, {"point_group": group.as_dict(), "duplicates": duplicates.as_dict() | {"warning": warning}})
