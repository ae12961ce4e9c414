"""What files are, in ten lines."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cryocore import __version__
from cryocore.backend.base import kernel_files
from cryocore.convert.apply import apply_selection
from cryocore.convert.convert import convert
from cryocore.convert.info import describe
from cryocore.errors import InputError
from cryocore.maps.mrc import write_map
from cryocore.tables.io import write_table
from cryocore.tables.particles import Particles
from tests.explore.replay.test_commands import call
from tests.formats.samples import cs_fields, thu_rows, write_fields
from tests.runs import SyntheticRun


def test_particles(particles: Particles, simulated: Path, tmp_path: Path) -> None:
    (tmp_path / "a.thu").write_text("\n".join(thu_rows(particles)))
    cs = write_fields(tmp_path / "a.cs", cs_fields(particles))
    for path, kind in ((simulated, "RELION STAR file"), (cs, "cryoSPARC file"), (tmp_path / "a.thu", "THUNDER file")):
        facts = describe(path)
        assert (facts["kind"], facts["particles"], facts["poses"]) == (kind, 80, "3-D")
        assert facts["optics"] == "1 group, 300 kV, 2.7 mm, 0.1 contrast"
        assert facts["micrographs"] == 8 and facts["images"] == "1 stack, the first particles.mrcs"
        has_halves = kind != "THUNDER file"
        halves = np.bincount(particles.column("half"))[1:].tolist()
        assert facts["half sets"] == ({"1:": halves[0], "2:": halves[1]} if has_halves else "none")
        assert facts["pixel size"] == ("4.8 Å; images of 32 pixels" if has_halves else "not in the file")
        assert 8 <= len(call("info", path).splitlines()) <= 13
    assert describe(cs)["fields"] == ["alignments3D", "blob", "ctf", "location", "uid"]


def test_images_and_maps(simulated: Path, tmp_path: Path) -> None:
    facts = describe(simulated.with_name("particles.mrcs"))
    assert (facts["kind"], facts["sides"], facts["numbers"]) == ("MRC stack", "32 x 32 x 80", "float32, little-endian")
    volume = np.zeros((8, 8, 8), dtype=np.float32)
    volume[0, 0, 0] = 2
    volume[1, 0, 0] = np.nan
    write_map(tmp_path / "a.mrc", volume, 1.5)
    facts = describe(tmp_path / "a.mrc")
    assert (facts["kind"], facts["pixel size in the header"]) == ("MRC map", "1.5 Å")
    assert facts["values"].startswith("0 to 2, mean 0.00391") and facts["values"].endswith("1 are not finite")


def test_tables_of_a_run(particles: Particles, make_run: Callable[..., SyntheticRun], tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", n=200, n_rounds=0, box=16)
    run.validate(0)
    facts = describe(tmp_path / "run" / "log" / "round=0" / "log.parquet")
    assert (facts["kind"], facts["round"], facts["rows"]) == ("log of a round", 0, 200)
    assert facts["scores"] == ["l2_loss", "z", "dual", "mixture"] and facts["per band"] == ["image_power"]
    assert facts["selected"] == "200 (100.0%)" and facts["correct"].startswith(f"{run.correct.sum()} (")
    assert describe(run.truth)["kind"] == "truth about particles"
    subset = {"particle_id": particles.ids, "weight": np.ones(80, dtype=np.float32), "selected": np.arange(80) < 60}
    write_table(tmp_path / "subset.parquet", pa.table(subset), round=2)
    facts = describe(tmp_path / "subset.parquet")
    assert (facts["kind"], facts["round"]) == ("selection of a round (subset.parquet)", 2)
    assert facts["selected"] == "60 (75.0%)"
    particles.write(tmp_path / "particles.parquet")
    values = json.loads(call("info", tmp_path / "particles.parquet", tmp_path / "subset.parquet", "--json"))
    assert [v["rows"] for v in values] == [80, 80]
    assert values[0]["optics"] == ["simulated: 300 kV, 32 pixels of 4.8 Å"] and values[0]["micrographs"] == 8


def test_faults(tmp_path: Path) -> None:
    for name in ("a.star", "a.parquet", "a.mrc", "a.cs"):
        with pytest.raises(InputError, match="no such file"):
            describe(tmp_path / name)
        (tmp_path / name).write_bytes(b"x" * 2000)
        with pytest.raises(InputError):
            describe(tmp_path / name)


def test_a_file_without_its_passthrough_file(particles: Particles, tmp_path: Path) -> None:
    path = write_fields(tmp_path / "a.cs", cs_fields(particles, blob__path=None, blob__idx=None))
    assert describe(path)["images"] == "none; the job's passthrough file names them"
    assert describe(path)["poses"] == "3-D"
    with pytest.raises(InputError, match=r"column blob/path: the particles have no images.*--passthrough"):
        convert(path, tmp_path / "a.star")
    assert apply_selection(path, path, tmp_path / "b.cs").by == "uid"


def test_without_a_file_it_is_the_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = json.loads(call("info", "--json"))
    assert facts["cryocore"] == __version__
    assert facts["backend"] == f"auto takes the {'CPU' if facts['GPU'].startswith('none: ') else 'GPU'}"
    libraries = [
        path.stem.partition("-")[0]
        for path in Path(facts["CPU"].split("kernels ", 1)[1].rpartition(", by ")[0]).glob("*.so")
    ]
    assert {Path(file).stem for file in kernel_files("host")} <= set(libraries)
    assert facts["torch"] == f"{metadata.version('torch')} (torch)"
    monkeypatch.setattr("cryocore.backend.cpu._compiler", lambda: "false")
    text = call("info")
    assert "cores; kernels cannot be compiled: false: the C++ compiler cannot compile the kernels" in text
