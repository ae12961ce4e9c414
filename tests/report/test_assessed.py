"""The file of all particles, each with what a round makes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from cryocore.backend import get_backend
from cryocore.config.plant import PlantedErrors
from cryocore.config.simulate import Simulate
from cryocore.formats.star import read_star
from cryocore.ingest.particles import ingest
from cryocore.report.summary import write_assessed
from cryocore.select.reasons import reasons
from cryocore.simulate.stage import simulate
from cryocore.tables.io import write_table


def test_all_particles_are_there_each_with_its_reason(tmp_path: Path) -> None:
    settings = Simulate(molecule="small", n_particles=6, box=16, pixel_size_angstrom=8.0, n_micrographs=1)
    simulate(settings, PlantedErrors(), symmetry="C1", seed=0, out_dir=tmp_path, backend=get_backend("cpu"))
    data = ingest(tmp_path / "particles.star", root=None, pixel_size_angstrom=None, seed=0)
    data.write(tmp_path / "particles.parquet")
    weight = np.array([1.0, 0.0, 0.25, 0.75, 0.0, 0.5], dtype=np.float32)
    selected, guarded = np.array([1, 0, 1, 1, 0, 1], dtype=bool), np.arange(6) == 2
    kinds = np.array(["correct", "junk", "misoriented", "correct", "unknown", "correct"], dtype=object)
    columns = {"particle_id": data.ids, "half": data.column("half"), "weight": weight, "selected": selected}
    told, untold = (tmp_path / "log" / f"round={r}" / "log.parquet" for r in (1, 2))
    write_table(told, pa.table(columns | {"reason": reasons(kinds, selected, guarded)}))
    write_table(untold, pa.table(columns))

    write_assessed(tmp_path, 1, tmp_path / "assessed.star")
    rows = read_star(tmp_path / "assessed.star").particles
    assert rows["cryocoreReason"].tolist() == ["none", "no_particle", "view_guard", "none", "unknown", "none"]
    assert rows["cryocoreSelected"].astype(int).tolist() == selected.astype(int).tolist()
    assert rows["rlnParticleFigureOfMerit"].astype(float).tolist() == weight.tolist()
    parent = read_star(tmp_path / "particles.star").particles
    assert rows[parent.columns].equals(parent)

    write_assessed(tmp_path, 2, tmp_path / "assessed.star")
    untold_reasons = read_star(tmp_path / "assessed.star").particles["cryocoreReason"]
    assert untold_reasons.tolist() == ["none", "unknown", "none", "none", "unknown", "none"]
