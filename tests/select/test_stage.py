"""The stage: what it writes besides the table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cryocore.config.select import Select
from cryocore.errors import InputError
from cryocore.formats.source import Source
from cryocore.formats.star import read_star
from cryocore.log.rounds import open_round
from cryocore.select.choose import choose, columns_needed
from cryocore.select.stage import write_kept
from cryocore.tables.io import write_table
from tests.ingest.samples import optics_columns, particle_columns, table


def test_a_star_file_has_weights_and_scores_of_the_kept(tmp_path: Path) -> None:
    parent = tmp_path / "particles.star"
    parent.write_text(table("optics", optics_columns()) + table("particles", particle_columns(6)))
    scores = {"particle_id": np.arange(6), "half": np.ones(6), "z": np.arange(6.0), "expected_z": np.ones(6)}
    write_table(tmp_path / "log.parquet", pa.table(scores))
    weights = np.array([1.0, 0.0, 0.25, 0.5, 0.0, 1.0], dtype=np.float32)
    source, last = Source(parent, np.arange(6), 6, {}), open_round(tmp_path / "log.parquet")
    write_kept(source, last, weights, weights > 0.3, tmp_path / "kept.star")
    found = read_star(tmp_path / "kept.star").particles
    assert [float(v) for v in found["rlnParticleFigureOfMerit"]] == [1.0, 0.5, 1.0]
    assert [float(v) for v in found["cryocoreZ"]] == [0.0, 3.0, 5.0]


def test_copies_of_an_image_count_once() -> None:
    half = np.tile([1, 2], 8)
    log = {"particle_id": np.arange(16), "half": half, "zc": np.arange(16.0)}
    settings = Select(rule="threshold", value=[-1.0], score="zc", minimum=8)
    assert choose(log, settings, 1).selected.all()
    assert columns_needed(settings, [*log, "image_id"])[-1] == "image_id"
    with pytest.raises(InputError, match=r"whose weights are worth 4\.0 equal ones; at least 8"):
        choose({**log, "image_id": np.repeat(np.arange(4, dtype=np.uint64), 4) * 2 + half}, settings, 1)
