"""Selections in other folders than their parents, whose images are found."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from cryocore.convert.apply import apply_selection
from cryocore.convert.convert import convert
from cryocore.errors import InputError
from cryocore.formats.kinds import copy_particles, filter_particles
from cryocore.formats.roots import recorded_roots, without_record
from cryocore.formats.star import read_star
from cryocore.ingest.particles import read_particles
from cryocore.tables.particles import Particles
from tests.formats.samples import cs_fields, thu_rows, write_fields
from tests.ingest.samples import BOX, load, optics_columns, particle_columns, table, write_data_set, write_mrc

N = 12
KEEP = np.arange(N) % 3 > 0


def parent_in(folder: Path) -> Path:
    """A project whose images lie below ``job``, named as seen from there."""
    images = np.random.default_rng(0).normal(size=(N, BOX, BOX))
    write_mrc(folder / "job" / "stacks" / "a.mrcs", images)
    star = folder / "job" / "run" / "all.star"
    star.parent.mkdir()
    body = table("particles", particle_columns(N, "stacks/a.mrcs"))
    star.write_text(table("optics", optics_columns()) + body)
    return star


def root_of(file: Path, pixel: float | None = None) -> str:
    found = read_particles(file, root=None, pixel_size_angstrom=pixel, seed=0)
    assert os.path.isfile(Path(found.root) / found.column("stack")[0])
    return os.path.realpath(found.root)


def test_a_selection_is_read_where_it_lies_and_where_it_is_moved(tmp_path: Path) -> None:
    project = tmp_path / "project"
    parent = parent_in(project)
    job = str(project / "job")
    out = project / "far" / "results" / "mine" / "deep" / "kept.star"
    filter_particles(parent, KEEP, {}, out, job)
    lines = out.read_text().splitlines(keepends=True)
    assert lines[:2] == [f"# image paths start from {p}\n" for p in ("../../../../job", job)]
    rows = iter(KEEP.tolist())
    whole = parent.read_text().splitlines(keepends=True)
    assert lines[2:] == [line for line in whole if "@" not in line or next(rows)]
    assert root_of(out) == job
    # the file alone
    alone = tmp_path / "other" / "kept.star"
    alone.parent.mkdir()
    shutil.copy(out, alone)
    assert root_of(alone) == job
    # the project as a whole: the images of the new place, also where the old ones are still there
    shutil.copytree(project, tmp_path / "moved")
    assert root_of(tmp_path / "moved" / out.relative_to(project)) == str(tmp_path / "moved" / "job")
    # images of the same name beside the file are not those of the selection
    write_mrc(alone.parent / "stacks" / "a.mrcs", np.zeros((N, BOX, BOX)))
    assert root_of(alone) == job


def test_a_selection_of_a_selection_names_the_folder_once(tmp_path: Path) -> None:
    parent = parent_in(tmp_path)
    first, second, third = (tmp_path / ("a" * k) / "kept.star" for k in (1, 2, 3))
    filter_particles(parent, KEEP, {"cryocoreDual": np.zeros(KEEP.sum())}, first, str(tmp_path / "job"))
    filter_particles(first, np.arange(KEEP.sum()) > 0, {"cryocoreDual": np.ones(KEEP.sum() - 1)}, second)
    copy_particles(second, third)
    for file in (second, third):
        assert file.read_text().count("image paths start") == 2
        assert root_of(file) == str(tmp_path / "job")
    assert without_record(third.read_bytes()) == without_record(second.read_bytes())
    names = read_star(third).particles["rlnImageName"]
    assert names.tolist() == read_star(parent).particles["rlnImageName"][KEEP][1:].tolist()
    # and back among all particles
    assert apply_selection(third, parent, tmp_path / "b" / "out.star").n_selected == KEEP.sum() - 1
    assert root_of(tmp_path / "b" / "out.star") == str(tmp_path / "job")


def test_other_formats(particles: Particles, tmp_path: Path) -> None:
    """cryoSPARC's result group and THUNDER's comments name the folder too, and rows stay as they are."""
    root = os.path.realpath(particles.root)
    keep = np.arange(len(particles)) % 2 == 0
    project = tmp_path / "project"
    (project / "J5").mkdir(parents=True)
    parent = write_fields(project / "J5" / "a.cs", cs_fields(particles))
    thu = project / "a.thu"
    thu.write_text("# header\n" + "\n".join(thu_rows(particles)) + "\n")
    for file, pixel in ((parent, None), (thu, particles.optics[0].pixel_size_angstrom)):
        out = tmp_path / "results" / f"kept{file.suffix}"
        filter_particles(file, keep, {}, out, root)
        assert root_of(out, pixel) == root
        again = tmp_path / "again" / out.name
        filter_particles(out, keep[keep], {}, again)
        assert root_of(again, pixel) == root
        convert(out, tmp_path / "converted" / f"{file.suffix[1:]}.star", pixel_size_angstrom=pixel)
        assert root_of(tmp_path / "converted" / f"{file.suffix[1:]}.star") == root
    assert yaml.safe_load((tmp_path / "results" / "kept.csg").read_text())["group"]["type"] == "particle"
    assert (tmp_path / "again" / "kept.thu").read_text().count("image paths") == 2
    assert (tmp_path / "again" / "kept.thu").read_text().count("# header") == 1
    (tmp_path / "results" / "kept.csg").unlink()
    with pytest.raises(InputError, match="looked in"):
        root_of(tmp_path / "results" / "kept.cs")


def test_a_selection_finds_the_passthrough_files_of_its_parent(particles: Particles, tmp_path: Path) -> None:
    """Images in one file, CTFs in another; where the selection lies, moved alone, and moved with its project."""
    fields = cs_fields(particles)
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    (project / "J9").mkdir(parents=True)
    (project / "results").mkdir()
    names = {"005": "alignments3D/", "passthrough": ("blob/", "location/"), "passthrough_ctf": "ctf/"}
    for name, prefix in names.items():
        part = {k: v for k, v in fields.items() if k == "uid" or k.startswith(prefix)}
        write_fields(project / "J9" / f"cryosparc_P1_J9_{name}_particles.cs", part)
    other = {"uid": fields["uid"], "ctf/df1_A": fields["ctf/df1_A"] + 1}
    write_fields(project / "J9" / "cryosparc_P1_J7_passthrough_particles.cs", other)
    parent = project / "J9" / "cryosparc_P1_J9_005_particles.cs"
    keep = np.arange(len(particles)) % 2 > 0
    filter_particles(parent, keep, {}, project / "results" / "subset.cs")
    copy_particles(project / "results" / "subset.cs", project / "results" / "recommended.cs")
    (tmp_path / "alone").mkdir()
    for suffix in (".cs", ".csg"):
        shutil.copy(project / "results" / f"recommended{suffix}", tmp_path / "alone")
    options = {"root": particles.root, "pixel_size_angstrom": None, "seed": 0}
    for folder in (project / "results", tmp_path / "alone", elsewhere / "results"):
        if folder.parent == elsewhere:
            project.rename(elsewhere)
        found = read_particles(folder / "recommended.cs", **options)
        assert found.ids.tolist() == fields["uid"][keep].tolist()
        np.testing.assert_allclose(found.column("defocus_u_angstrom"), fields["ctf/df1_A"][keep])
    whole = write_fields(tmp_path / "whole.cs", fields)
    filter_particles(whole, keep, {}, tmp_path / "half.cs")
    assert "passthrough" not in (tmp_path / "half.csg").read_text()


def test_images_of_absolute_names_need_no_folder(tmp_path: Path) -> None:
    parent = parent_in(tmp_path)
    parent.write_text(parent.read_text().replace("@stacks", f"@{tmp_path}/job/stacks"))
    apply_selection(parent, parent, tmp_path / "out.star")
    assert (tmp_path / "out.star").read_bytes() == parent.read_bytes()
    assert recorded_roots(tmp_path / "out.star") == recorded_roots(tmp_path / "nothing.star") == []


def test_images_are_found_beside_the_file_that_a_link_leads_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    star = write_data_set(tmp_path / "data")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    Path("linked.star").symlink_to(star)
    assert load(Path("linked.star")).root == str(star.parent.resolve())
