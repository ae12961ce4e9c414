"""Selections of binned particles, found again in their parents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from cryocore.convert.apply import apply_selection
from cryocore.convert.convert import convert
from cryocore.errors import InputError
from cryocore.formats.kinds import filter_particles
from cryocore.formats.records import read_records
from cryocore.formats.star import read_star
from cryocore.ingest.particles import ids_of
from cryocore.tables.io import write_table
from cryocore.tables.particles import Particles
from tests.explore.replay.test_commands import call
from tests.formats.samples import cs_fields, write_fields
from tests.ingest.samples import optics_columns, particle_columns, table

N = 12
KEEP = np.arange(N) % 3 == 0


def columns(stack: str) -> dict[str, list[Any]]:
    """Particles of three stacks with coordinates."""
    made = particle_columns(N)
    made["rlnImageName"] = [f"{i % 4 + 1:06d}@{stack.format(i // 4)}" for i in range(N)]
    made["rlnMicrographName"] = [f"m{i // 4}.mrc" for i in range(N)]
    made["rlnCoordinateX"] = [100.25 + 10 * i for i in range(N)]
    made["rlnCoordinateY"] = [50.5 + 7 * i for i in range(N)]
    return made


def write(path: Path, made: dict[str, list[Any]], pixel: float, box: int, rows: Any = None) -> Path:
    chosen = range(N) if rows is None else rows
    optics = optics_columns() | {"rlnImagePixelSize": [pixel], "rlnImageSize": [box]}
    body = table("particles", {label: [values[i] for i in chosen] for label, values in made.items()})
    path.write_text(table("optics", optics) + body)
    return path


def selected(folder: Path, made: dict[str, list[Any]]) -> Path:
    """The kept ones of particles binned 4-fold."""
    parent = write(folder / "binned.star", made, 4.0, 32)
    filter_particles(parent, KEEP, {"cryocoreDual": np.zeros(KEEP.sum())}, folder / "recommended.star")
    return folder / "recommended.star"


def test_by_coordinates(tmp_path: Path) -> None:
    """Extracted again: other names, and another order."""
    recommended = selected(tmp_path, columns("Extract/job010/m{}.mrcs"))
    order = np.random.default_rng(0).permutation(N)
    full = columns("Extract/job020/x{}.mrcs")
    parent = write(tmp_path / "full.star", full, 1.0, 128, order)
    done = apply_selection(recommended, parent, tmp_path / "out.star")
    assert (done.by, done.n_selected, done.n_parent) == ("coordinates", 4, N)
    assert done.notes == ("Pixel size 4 Å in the selection, 1 Å in the parent: binned 4-fold.",)
    names = read_star(tmp_path / "out.star").particles["rlnImageName"].tolist()
    assert names == [full["rlnImageName"][i] for i in order if KEEP[i]]
    lines = set(parent.read_bytes().splitlines())
    assert set((tmp_path / "out.star").read_bytes().splitlines()) <= lines


def test_by_number(tmp_path: Path) -> None:
    """Scaled as a whole: stacks in another folder, of another suffix."""
    binned, full = columns("binned/m{}.mrc"), columns("full/m{}.mrcs")
    for made in (binned, full):
        del made["rlnCoordinateX"]
    done = apply_selection(selected(tmp_path, binned), write(tmp_path / "full.star", full, 1, 128), tmp_path / "o.star")
    assert done.by == "number"
    assert (
        read_star(tmp_path / "o.star").particles["rlnImageName"].tolist()
        == np.array(full["rlnImageName"])[KEEP].tolist()
    )


def test_by_image_and_table(tmp_path: Path) -> None:
    made = columns("m{}.mrcs")
    recommended, parent = selected(tmp_path, made), tmp_path / "binned.star"
    assert apply_selection(recommended, parent, tmp_path / "a.star").by == "image"
    ids = ids_of(read_star(parent))
    subset = {"particle_id": ids[::-1], "weight": np.float32(KEEP[::-1]), "selected": KEEP[::-1]}
    write_table(tmp_path / "subset.parquet", pa.table(subset))
    assert apply_selection(tmp_path / "subset.parquet", parent, tmp_path / "b.star").by == "image"
    assert (tmp_path / "a.star").read_bytes() == (tmp_path / "b.star").read_bytes()
    other = write(tmp_path / "other.star", columns("x{}.mrcs"), 1, 128)
    with pytest.raises(
        InputError, match=r"by uid, .*; by image, 4 of 4 selected particles are missing \(rows 1, 2, 3, 4"
    ):
        apply_selection(tmp_path / "subset.parquet", other, tmp_path / "c.star")
    write_table(tmp_path / "ids.parquet", pa.table({"particle_id": ids}))
    with pytest.raises(InputError, match="no columns particle_id and selected"):
        apply_selection(tmp_path / "ids.parquet", parent, tmp_path / "c.star")


def test_copies_of_an_image_are_selected_one_by_one(tmp_path: Path) -> None:
    """A selection of a symmetry-expanded set, as a table and as the STAR file that a run writes."""
    twice = {label: [value for value in values for _ in range(2)] for label, values in columns("m{}.mrcs").items()}
    optics = table("optics", optics_columns())
    parent = tmp_path / "expanded.star"
    parent.write_text(optics + table("particles", twice))
    kept = np.arange(2 * N) % 3 == 1
    ids = ids_of(read_star(parent))
    write_table(tmp_path / "subset.parquet", pa.table({"particle_id": ids, "selected": kept}))
    filter_particles(parent, kept, {"cryocoreParticleId": ids[kept]}, tmp_path / "recommended.star")
    filter_particles(parent, kept, {}, tmp_path / "expected.star")
    for name in ("subset.parquet", "recommended.star"):
        done = apply_selection(tmp_path / name, parent, tmp_path / "a.star")
        assert (done.by, done.n_selected) == ("image", 2 * N // 3)
        assert (tmp_path / "a.star").read_bytes() == (tmp_path / "expected.star").read_bytes()
    with pytest.raises(InputError, match="rows 1 and 2 of the parent are alike"):
        apply_selection(tmp_path / "expected.star", parent, tmp_path / "b.star")


def test_half_sets_go_to_a_parent_that_has_none(particles: Particles, tmp_path: Path) -> None:
    made = columns("m{}.mrcs")
    recommended, halves = selected(tmp_path, made), np.array(made["rlnRandomSubset"])[KEEP].tolist()
    for name, own in (("none", None), ("zero", [0] * N), ("one", [1] * N)):
        rest = {k: v for k, v in made.items() if k != "rlnRandomSubset"} | ({"rlnRandomSubset": own} if own else {})
        done = apply_selection(recommended, write(tmp_path / f"{name}.star", rest, 1, 128), tmp_path / "out.star")
        assert read_star(tmp_path / "out.star").particles["rlnRandomSubset"].tolist() == halves
        assert "The half sets are the selection's" in done.text
    other = made | {"rlnRandomSubset": made["rlnRandomSubset"][::-1]}
    done = apply_selection(recommended, write(tmp_path / "own.star", other, 1, 128), tmp_path / "out.star")
    assert read_star(tmp_path / "out.star").particles["rlnRandomSubset"].tolist() == [3 - half for half in halves]
    assert "half sets" not in done.text
    fields = cs_fields(particles)
    selection = write_fields(tmp_path / "s.cs", {name: v[::-2] for name, v in fields.items()})
    del fields["alignments3D/split"]
    apply_selection(selection, write_fields(tmp_path / "p.cs", fields), tmp_path / "q.cs")
    found = read_records(tmp_path / "q.cs")["alignments3D/split"]
    assert found.tolist() == read_records(selection)["alignments3D/split"][::-1].tolist()


def test_by_uid(particles: Particles, tmp_path: Path) -> None:
    fields = cs_fields(particles)
    binned, full = write_fields(tmp_path / "a.cs", fields), dict(fields)
    order = np.random.default_rng(1).permutation(80)
    full["blob/path"] = np.array([f"J9/{i}.mrc".encode() for i in range(80)])
    full = {name: values[order] for name, values in full.items()}
    keep = np.arange(80) % 4 == 0
    filter_particles(binned, keep, {}, tmp_path / "recommended.cs")
    parent = write_fields(tmp_path / "full.cs", full)
    assert apply_selection(tmp_path / "recommended.cs", parent, tmp_path / "out.cs").by == "uid"
    assert read_records(tmp_path / "out.cs").tobytes() == read_records(parent)[keep[order]].tobytes()
    # the same through a STAR file that kept the uid
    convert(tmp_path / "recommended.cs", tmp_path / "recommended.star")
    assert apply_selection(tmp_path / "recommended.star", parent, tmp_path / "o.cs").by == "uid"
    assert (tmp_path / "o.cs").read_bytes() == (tmp_path / "out.cs").read_bytes()


def test_missing_and_double_particles(tmp_path: Path) -> None:
    made = columns("binned/m{}.mrcs")
    recommended = selected(tmp_path, made)
    full = columns("full/x{}.mrcs")
    parent = write(tmp_path / "less.star", full, 1, 128, [*range(6), *range(7, 12)])
    with pytest.raises(InputError, match=r"by coordinates, 1 of 4 selected particles are missing \(rows 3 of the"):
        apply_selection(recommended, parent, tmp_path / "o.star")
    parent = write(tmp_path / "twice.star", full, 1, 128, [*range(12), 5])
    with pytest.raises(InputError, match="by coordinates, rows 6 and 13 of the parent are alike"):
        apply_selection(recommended, parent, tmp_path / "o.star", by="coordinates")
    assert not (tmp_path / "o.star").exists()
    with pytest.raises(InputError, match=r"by uid, .*recommended.star has none"):
        apply_selection(recommended, parent, tmp_path / "o.star", by="uid")


def test_exchanged_files_and_other_boxes_are_said(tmp_path: Path) -> None:
    recommended = selected(tmp_path, columns("binned/m{}.mrcs"))
    finer = write(tmp_path / "coarse.star", columns("x/x{}.mrcs"), 8, 16)
    assert "the parent is coarser" in apply_selection(recommended, finer, tmp_path / "o.star").text
    other = write(tmp_path / "wide.star", columns("x/x{}.mrcs"), 1, 160)
    assert (
        "show 128 Å in the selection, 160 Å in the parent"
        in apply_selection(recommended, other, tmp_path / "o.star").text
    )


@pytest.mark.parametrize("size", ["0", "x", "nan"])
def test_a_box_that_is_none_is_not_compared(size: str, tmp_path: Path) -> None:
    parent = write(tmp_path / "parent.star", columns("m{}.mrcs"), 1, 128)
    parent.write_text(parent.read_text().replace(" 128 ", f" {size} "))
    done = apply_selection(selected(tmp_path, columns("m{}.mrcs")), parent, tmp_path / "out.star")
    assert done.n_selected == KEEP.sum() and "the images show" not in done.text


def test_command(tmp_path: Path) -> None:
    recommended = selected(tmp_path, columns("a/m{}.mrcs"))
    parent = write(tmp_path / "full.star", columns("b/m{}.mrcs"), 1, 128)
    assert call("transfer-selection", recommended, parent, tmp_path / "o.star").startswith("4 of 12 particles of ")
    value = json.loads(call("transfer-selection", recommended, parent, tmp_path / "o.star", "--by", "number", "--json"))
    assert (value["by"], value["n_selected"]) == ("number", 4)
