"""The stage: what it writes besides the table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cryocore.config.select import Select
from cryocore.errors import InputError
from cryocore.formats.cs import read_cs
from cryocore.formats.source import Source
from cryocore.formats.star import read_star
from cryocore.geometry.rotations import random_rotations
from cryocore.imaging.ctf import kernel_particles
from cryocore.ingest.particles import ingest
from cryocore.log.quality import Quality, Spreads
from cryocore.log.rounds import open_round
from cryocore.select.choose import choose, columns_needed
from cryocore.select.stage import select, write_kept
from cryocore.tables.io import read_table, table_metadata, write_table
from cryocore.tables.particles import BFACTOR, BFACTOR_SD
from tests.formats.samples import cs_fields, write_fields
from tests.ingest.samples import BOX, N, optics_columns, particle_columns, table, write_data_set
from tests.log.test_quality import METADATA, drawn
from tests.phantoms import optics, particles


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


@pytest.mark.parametrize("own", [None, "rows", "optics"])
def test_envelopes_are_joined_with_those_of_the_file(tmp_path: Path, own: str | None) -> None:
    """Whoever reads the selection has the CTFs of its map; a B-factor of the optics group is that of the rows then."""
    columns, groups = particle_columns(), optics_columns()
    if own == "rows":
        columns["rlnCtfBfactor"] = [12.5 * i for i in range(N)]
    if own == "optics":
        groups["rlnCtfBfactor"] = [31.25]
    bfactor = np.round(np.linspace(-70, 95.37, N), 2).astype(np.float32)
    if own == "rows":
        columns["rlnCtfScalefactor"] = [0.8 + 0.02 * i for i in range(N)]
    parent = write_data_set(tmp_path, particles=columns, optics=groups)
    data = ingest(parent, root=None, pixel_size_angstrom=None, seed=0)
    scale = np.linspace(0.5, 1.7, N).astype(np.float32)
    found = Quality(bfactor, bfactor, scale, 0.1 * scale, Spreads(0.0, 50.0, 0.2, 0.0), N)
    write_table(tmp_path / "subset.parquet", pa.table({"particle_id": data.ids, **found.columns()}))
    write_table(tmp_path / "log.parquet", pa.table({"particle_id": data.ids, "half": data.column("half")}))
    kept = np.arange(N) != 3
    last, weights = open_round(tmp_path / "log.parquet"), kept.astype(np.float32)
    write_kept(Source.of(data), last, weights, kept, tmp_path / "kept.star", data.total_envelopes(found.columns()))
    again = ingest(tmp_path / "kept.star", root=None, pixel_size_angstrom=None, seed=0)
    with_quality = data.with_quality(tmp_path / "subset.parquet").take(np.flatnonzero(kept))
    for name in ("ctf_bfactor", "ctf_scale"):
        assert np.array_equal(again.column(name), with_quality.column(name))
    assert again.column("ctf_scale").std() > 0.2
    assert np.array_equal(kernel_particles(again, again.optics[0]), kernel_particles(with_quality, data.optics[0]))


def test_envelopes_of_a_cs_file(tmp_path: Path) -> None:
    data = replace(particles(random_rotations(N, np.random.default_rng(0)), optics(BOX)), parent="a.cs")
    total = np.linspace(-70, 95, N).astype(np.float32)
    for name, changes in (("has", {}), ("lacks", {"ctf__bfactor": None, "ctf__scale": None})):
        parent, out = tmp_path / f"{name}.cs", tmp_path / f"{name}_kept.cs"
        write_fields(parent, cs_fields(data, **changes))
        columns = {"rlnCtfBfactor": total, "rlnCtfScalefactor": np.abs(total)}
        Source(parent, np.arange(N), N, {}).write(np.arange(N) > 1, columns, out)
        for label, values in columns.items():
            assert np.array_equal(read_cs(out).particles[label].to_numpy(), values[2:])


@pytest.mark.parametrize("wanted", ["auto", "none"])
def test_particles_of_unequal_quality(tmp_path: Path, wanted: str) -> None:
    """The stage writes B-factors where particles differ and the settings want any, and not a byte where they do not."""
    n = 600
    rotations = random_rotations(n, np.random.default_rng(1))
    data = replace(particles(rotations, optics(64)), parent=str(tmp_path / "parent.star"))
    (tmp_path / "parent.star").write_text(table("optics", optics_columns()) + table("particles", particle_columns(n)))
    data.write(tmp_path / "particles.parquet")
    micrograph = np.arange(n) % 12
    for sd in (0.0, 150.0):
        bfactor = np.random.default_rng(2).normal(0.0, sd, 12)[micrograph] if sd else np.zeros(n)
        log = drawn(bfactor, micrograph.astype(float), 3, strength=20.0)
        log = log.set_column(0, "particle_id", pa.array(data.ids)).append_column("dual", pa.array(np.arange(n) * 1.0))
        write_table(tmp_path / "log.parquet", log, **METADATA)
        select(
            tmp_path / "particles.parquet",
            tmp_path / "log.parquet",
            settings=Select.model_validate({"quality": wanted, "rule": "fraction", "value": [0.9]}),
            symmetry="C1",
            seed=0,
            round_number=1,
            out_table=tmp_path / "subset.parquet",
            out_star=tmp_path / "subset.star",
        )
        subset, star = read_table(tmp_path / "subset.parquet"), read_star(tmp_path / "subset.star").particles
        found = sd > 0 and wanted == "auto"
        assert ("bfactor_angstrom2" in subset.column_names) is found is ("rlnCtfBfactor" in star)
        assert ("quality" in table_metadata(subset.schema)) is found
        if found:
            kept = subset["selected"].to_numpy()
            own, sd_of_own = (subset[name].to_numpy() for name in (BFACTOR, BFACTOR_SD))
            assert np.corrcoef(own, bfactor)[0, 1] > 0.8
            assert 0.0 < sd_of_own.min() <= sd_of_own.max() < 150.0
            np.testing.assert_array_equal(
                star["rlnCtfBfactor"].astype(np.float32), subset["bfactor_angstrom2"].to_numpy()[kept]
            )
