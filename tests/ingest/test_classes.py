"""Files of several classes: their poses refer to different maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cryocore.errors import InputError
from cryocore.formats.source import Source
from cryocore.formats.star import read_star
from cryocore.ingest.copies import Choice
from cryocore.ingest.particles import particle_ids
from tests.formats.samples import cs_fields, write_fields
from tests.ingest.samples import N, load, optics_columns, particle_columns, write_data_set

CLASSES = [2, 3, 2, 1, 2, 2, 3, 2]


@pytest.fixture
def star(tmp_path: Path) -> Path:
    optics = optics_columns(2) | {"rlnVoltage": [300.0, 200.0]}
    columns = particle_columns() | {"rlnClassNumber": CLASSES, "rlnOpticsGroup": [1, 1, 1, 1, 2, 2, 1, 2]}
    return write_data_set(tmp_path, particles=columns, optics=optics)


def test_several_classes_are_mentioned_with_their_sizes(star: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert len(load(star)) == N
    assert "rlnClassNumber has 3 classes (1: 1, 2: 5, 3: 2 particles): one map is made of all" in caplog.text


def test_one_class_is_read(star: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole, particles = load(star), load(star, choice=Choice(class_number=2))
    rows = [0, 2, 4, 5, 7]
    assert particles.column("source_row").tolist() == rows and particles.parent_rows == N
    assert particles.ids.tolist() == whole.ids[rows].tolist()
    assert particles.column("half").tolist() == whole.column("half")[rows].tolist()
    assert [o.voltage_kv for o in particles.optics] == [300.0, 200.0]
    keep = np.array([True, False, True, True, False])
    Source.of(particles).write(keep, {"cryocoreNew": np.arange(5)}, tmp_path / "kept.star")
    kept = read_star(tmp_path / "kept.star").particles
    assert particle_ids(kept["rlnImageName"]).tolist() == whole.ids[[0, 4, 5]].tolist()
    assert kept["cryocoreNew"].tolist() == [0, 2, 3]
    caplog.clear()
    load(tmp_path / "kept.star")
    assert "classes" not in caplog.text


def test_faults_name_the_row_of_the_file(tmp_path: Path) -> None:
    columns = particle_columns() | {"rlnClassNumber": CLASSES}
    columns["rlnDefocusU"][4] = columns["rlnAnglePsi"][3] = "nan"
    star = write_data_set(tmp_path, particles=columns)
    with pytest.raises(InputError, match="row 5, column rlnDefocusU"):
        load(star, choice=Choice(class_number=2))
    assert len(load(star, choice=Choice(class_number=3))) == 2


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (4, "no particle is of class 4; there are .class: particles. 1: 1, 2: 5, 3: 2"),
        (0, "no particle is of class 0"),
        (1, "two half sets need at least two particles"),
    ],
)
def test_a_class_that_is_none_is_refused(star: Path, number: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(star, choice=Choice(class_number=number))


def test_a_file_without_classes_has_none_to_choose(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="column rlnClassNumber: the particles are in no classes"):
        load(write_data_set(tmp_path), choice=Choice(class_number=1))


def test_classes_of_a_cs_file_count_from_0(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fields = cs_fields(load(write_data_set(tmp_path)))
    fields["alignments3D/class"] = np.array(CLASSES, dtype=np.uint32) - 1
    cs = write_fields(tmp_path / "p.cs", fields)
    load(cs, root=str(tmp_path))
    assert "alignments3D/class has 3 classes (0: 1, 1: 5, 2: 2 particles)" in caplog.text
    particles = load(cs, root=str(tmp_path), choice=Choice(class_number=1))
    assert particles.column("source_row").tolist() == [0, 2, 4, 5, 7]
    Source.of(particles).write(np.ones(5, dtype=bool), {}, tmp_path / "kept.cs")
    assert np.load(tmp_path / "kept.cs")["uid"].tolist() == particles.ids.tolist()


@pytest.mark.parametrize("layout", ["class", "class3D", "multi"])
def test_a_class_of_alignments_to_several(tmp_path: Path, layout: str) -> None:
    """The most probable class of each particle decides, and gives its pose."""
    whole = load(write_data_set(tmp_path))
    fields = cs_fields(whole)
    best = np.array([0, 1, 1, 0, 1, 0, 1, 1])
    own = {k.split("/")[1]: fields.pop(k) for k in [k for k in fields if k.startswith("alignments3D/")]}
    other = {**own, "pose": np.roll(own["pose"], 1, axis=0)}
    posterior = np.where(best[:, None] == np.arange(2), 0.8, 0.2).astype(np.float32)
    for number, part in enumerate((own, other)):
        part = {**part, "class_posterior": posterior[:, number]}
        if layout != "multi":
            fields |= {f"alignments_{layout}_{number}/{k}": v for k, v in part.items()}
    if layout == "multi":
        fields |= {f"alignments3D_multi/{k}": np.stack([own[k], other[k]], axis=1) for k in ("pose", "shift")}
        fields |= {"alignments3D_multi/class_posterior": posterior, "alignments3D_multi/psize_A": own["psize_A"]}
    cs = write_fields(tmp_path / "p.cs", fields)
    first = load(cs, root=str(tmp_path), choice=Choice(class_number=0))
    assert first.column("source_row").tolist() == [0, 3, 5]
    np.testing.assert_allclose(first.rotations, whole.rotations[[0, 3, 5]], atol=1e-6)
    second = load(cs, root=str(tmp_path), choice=Choice(class_number=1))
    np.testing.assert_allclose(second.rotations, np.roll(whole.rotations, 1, axis=0)[[1, 2, 4, 6, 7]], atol=1e-6)
