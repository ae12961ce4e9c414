"""What cryoSPARC's versions and jobs leave in a folder: which file and which alignment counts, and older names."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cryocore.convert.convert import convert
from cryocore.convert.cs_out import _expansion
from cryocore.errors import InputError
from cryocore.formats.cs import read_cs
from cryocore.formats.kinds import filter_particles, read_tables
from cryocore.formats.records import read_records, write_records
from cryocore.formats.star import read_star
from cryocore.geometry.rotations import angular_distance_deg
from cryocore.ingest.columns import columns_of
from cryocore.ingest.copies import positions
from cryocore.ingest.particles import ids_of, read_particles
from cryocore.ingest.stacks import ImageNames
from cryocore.tables.particles import Particles
from tests.formats.samples import cs_fields, write_fields
from tests.ingest.samples import particle_columns, write_data_set

Table = dict[str, NDArray[Any]]


def load(path: Path, particles: Particles, **options: Any) -> Particles:
    return read_particles(path, **{"root": particles.root, "pixel_size_angstrom": None, "seed": 0, **options})


def assert_same_poses(found: Particles, particles: Particles) -> None:
    assert angular_distance_deg(found.rotations, particles.rotations).max() < 1e-4
    np.testing.assert_allclose(found.shifts_angstrom, particles.shifts_angstrom, atol=1e-5)


def parts(fields: Table, *prefixes: str) -> Table:
    """The fields that begin so, and the uid."""
    return {name: v for name, v in fields.items() if name == "uid" or name.startswith(prefixes)}


def earlier(fields: Table, prefix: str = "alignments3D") -> Table:
    """An alignment of another job: other poses and shifts."""
    rng, n = np.random.default_rng(5), len(fields["uid"])
    aligned = parts(fields, "alignments3D/")
    aligned |= {"alignments3D/pose": rng.normal(size=(n, 3)).astype(np.float32)}
    aligned |= {"alignments3D/shift": rng.normal(size=(n, 2)).astype(np.float32)}
    return {name.replace("alignments3D", prefix): v for name, v in aligned.items() if name != "uid"}


def of_classes(fields: Table, layout: str) -> Table:
    """The alignment as that of the second of two classes, the more probable one; the first is wrong."""
    aligned, other = parts(fields, "alignments3D/"), earlier(fields)
    del aligned["uid"]
    posterior = np.tile(np.float32([0.2, 0.8]), (len(fields["uid"]), 1))
    pairs = {name: np.stack([other[name], v], axis=1) for name, v in aligned.items()}
    pairs["alignments3D/class_posterior"] = posterior
    if "{}" not in layout:
        return {name.replace("alignments3D", layout): v for name, v in pairs.items() if not name.endswith("/class")}
    return {
        name.replace("alignments3D", layout.format(k)): v[:, i]
        for i, k in enumerate((2, 5))
        for name, v in pairs.items()
    }


@pytest.mark.parametrize("layout", ["alignments3D_multi", "alignments_class_{}", "alignments_class3D_{}"])
def test_a_job_s_own_alignment_comes_before_one_carried_along(
    particles: Particles, tmp_path: Path, layout: str, caplog: pytest.LogCaptureFixture
) -> None:
    fields = cs_fields(particles)
    own = {"uid": fields["uid"], **of_classes(fields, layout)}
    carried = parts(fields, "blob/", "ctf/", "location/") | earlier(fields)
    path = write_fields(tmp_path / "cryosparc_P1_J14_062_particles.cs", own)
    write_fields(tmp_path / "P1_J14_passthrough_particles.cs", carried)
    with caplog.at_level(logging.INFO):
        assert_same_poses(load(path, particles), particles)
    assert "not alignments3D of P1_J14_passthrough_particles.cs" in caplog.text
    done = convert(path, tmp_path / "a.star")
    assert "alignments3D/…" in done.lost[0]
    number = 2 if layout == "alignments3D_multi" else 6
    assert set(read_star(tmp_path / "a.star").particles["rlnClassNumber"]) == {number}


def test_one_map_comes_before_classes_of_earlier_jobs_in_one_file(particles: Particles, tmp_path: Path) -> None:
    """As in the exported particles of a refinement after a classification."""
    fields = cs_fields(particles)
    path = write_fields(
        tmp_path / "a.cs", fields | earlier(fields, "alignments_class_0") | earlier(fields, "alignments3D_multi")
    )
    assert_same_poses(load(path, particles), particles)
    assert any("alignments3D of a.cs is taken, not alignments" in notice for notice in read_cs(path).notices)


def test_an_alignment_is_of_one_file(particles: Particles, tmp_path: Path) -> None:
    """The shift of the job's own file is not in pixels of another file's alignment."""
    fields = cs_fields(particles)
    own = parts(fields, "alignments3D/pose", "alignments3D/shift")
    other = parts(fields, "blob/", "ctf/", "location/") | earlier(fields)
    other["alignments3D/psize_A"] = other["alignments3D/psize_A"] * 3
    path = write_fields(tmp_path / "J2_particles.cs", own)
    write_fields(tmp_path / "J2_passthrough_particles.cs", other)
    assert_same_poses(load(path, particles), particles)


def test_an_alignment_that_only_the_passthrough_file_has(particles: Particles, tmp_path: Path) -> None:
    fields = cs_fields(particles)
    path = write_fields(tmp_path / "J3_particles.cs", parts(fields, "blob/", "ctf/"))
    write_fields(tmp_path / "J3_passthrough_particles.cs", parts(fields, "alignments3D/", "location/"))
    assert_same_poses(load(path, particles), particles)
    assert any("is that of J3_passthrough_particles.cs" in notice for notice in read_cs(path).notices)


def test_a_pixel_size_of_0_is_none(particles: Particles, tmp_path: Path) -> None:
    fields = cs_fields(particles, alignments3D__psize_A=np.zeros(len(particles), dtype=np.float32))
    path = write_fields(tmp_path / "a.cs", fields)
    assert_same_poses(load(path, particles), particles)
    assert (
        "with a psize_A of 0: they are taken to be in pixels of the images" in convert(path, tmp_path / "a.star").text
    )
    fields["alignments3D/psize_A"][4:] = 4.8
    with pytest.raises(InputError, match=r"row 1, column alignments3D/psize_A: 0 is no pixel size"):
        load(write_fields(path, fields), particles)


def test_micrographs_of_other_pixels(particles: Particles, tmp_path: Path) -> None:
    """Coordinates of a particle that was extracted binned count the micrograph's pixels, in every format."""
    fields = cs_fields(particles, location__micrograph_psize_A=np.full(len(particles), 1.2, dtype=np.float32))
    path = write_fields(tmp_path / "a.cs", fields)
    done = convert(path, tmp_path / "a.star")
    assert "location" not in done.text
    convert(tmp_path / "a.star", tmp_path / "b.cs")
    for file in (path, tmp_path / "a.star", tmp_path / "b.cs"):
        columns = columns_of(read_tables(file))
        places = positions(columns, np.zeros((len(columns), 2)), np.full(len(columns), 4.8))
        assert places is not None and places[0] == pytest.approx([0.1 * 3710 * 1.2, 0.8 * 3838 * 1.2], rel=1e-5)


def test_segments_of_a_filament(particles: Particles, tmp_path: Path) -> None:
    tube = np.repeat(np.array([2**63 + 7, 2**63 + 9], dtype=np.uint64), (3, len(particles) - 3))
    path = write_fields(tmp_path / "a.cs", cs_fields(particles, filament__filament_uid=tube))
    assert read_cs(path).particles["rlnHelicalTubeID"].tolist() == [1] * 3 + [2] * (len(particles) - 3)
    write_fields(path, cs_fields(particles, filament__filament_uid=np.zeros_like(tube)))
    assert "rlnHelicalTubeID" not in read_cs(path).particles


def test_one_number_for_all(particles: Particles, tmp_path: Path) -> None:
    path = write_fields(tmp_path / "a.cs", cs_fields(particles, uid=np.zeros(len(particles), dtype=np.uint64)))
    with pytest.raises(InputError, match=r"0 appears twice\. Give each particle a number of its own: all have this"):
        load(path, particles)


def test_shifts_without_their_pixel_size(particles: Particles, tmp_path: Path) -> None:
    """They are in pixels of the images, whether the file says how large these are or the user does."""
    fields = cs_fields(particles, alignments3D__psize_A=None)
    path = write_fields(tmp_path / "a.cs", fields)
    assert_same_poses(load(path, particles), particles)
    assert (
        "come without psize_A: they are taken to be in pixels of the images" in convert(path, tmp_path / "a.star").text
    )
    assert_same_poses(load(tmp_path / "a.star", particles), particles)
    del fields["blob/psize_A"]
    path = write_fields(tmp_path / "b.cs", fields)
    assert_same_poses(load(path, particles, pixel_size_angstrom=4.8), particles)
    assert "Nothing says the pixel size" in convert(path, tmp_path / "b.star").text
    assert "Nothing says" not in convert(path, tmp_path / "b.star", pixel_size_angstrom=4.8).text
    assert_same_poses(load(tmp_path / "b.star", particles), particles)
    assert "rlnOriginX" not in read_star(tmp_path / "b.star").particles
    del fields["alignments3D/shift"]
    assert "No shifts in alignments3D" in convert(write_fields(path, fields), tmp_path / "c.star").text


def test_older_names(particles: Particles, tmp_path: Path) -> None:
    fields = cs_fields(particles)
    renamed = {
        "ctf/amp_contrast": "ctf/ac",
        "ctf/accel_kv": "mscope_params/accel_kv",
        "ctf/cs_mm": "mscope_params/cs_mm",
    }
    older = {renamed.get(name, name): v for name, v in fields.items()}
    (found,) = load(write_fields(tmp_path / "a.cs", older), particles).optics
    (known,) = particles.optics
    for name in ("voltage_kv", "cs_mm", "amplitude_contrast"):
        assert getattr(found, name) == getattr(known, name), name
    done = convert(tmp_path / "a.cs", tmp_path / "a.star")
    assert done.lost == ("fields blob/import_sig, ctf/type",)
    both = convert(write_fields(tmp_path / "b.cs", fields | {"ctf/ac": older["ctf/ac"] / 2}), tmp_path / "b.star")
    assert "ctf/ac" in both.lost[0]
    assert load(tmp_path / "b.star", particles).optics[0].amplitude_contrast == known.amplitude_contrast
    without = convert(write_fields(tmp_path / "c.cs", cs_fields(particles, ctf__cs_mm=None)), tmp_path / "c.star")
    assert "rlnSphericalAberration is missing: RELION takes 0." in without.text


def test_passthrough_files_in_parts(particles: Particles, tmp_path: Path) -> None:
    """A job may write one for the images and one for their CTF; the micrographs are looked for too."""
    fields = cs_fields(particles)
    path = write_fields(tmp_path / "cryosparc_P2_J64_00102_particles.cs", parts(fields, "alignments3D/"))
    images = parts(fields, "blob/", "ctf/accel_kv", "ctf/exp_group_id")
    write_fields(tmp_path / "cryosparc_P2_J64_passthrough_particles_all_classes_blob.cs", images)
    order = np.random.default_rng(1).permutation(len(particles))
    optics = {name: v[order] for name, v in parts(fields, "ctf/", "location/").items()}
    write_fields(tmp_path / "cryosparc_P2_J64_passthrough_particles_all_classes_ctf.cs", optics)
    write_fields(
        tmp_path / "J63_passthrough_particles.cs", parts(fields, "blob/") | {"blob/path": fields["blob/path"][::-1]}
    )
    found = load(path, particles)
    assert_same_poses(found, particles)
    for name in ("slice", "stack", "defocus_u_angstrom"):
        assert found.column(name).tolist() == particles.column(name).tolist()
    assert found.column("micrograph").tolist() == [f"J1/{m}" for m in particles.column("micrograph")]


def test_passthrough_files_of_other_jobs_that_differ_are_refused(particles: Particles, tmp_path: Path) -> None:
    fields = cs_fields(particles)
    path = write_fields(tmp_path / "J9_particles.cs", parts(fields, "blob/", "alignments3D/", "location/"))
    for job, factor in (("J7", 1), ("J8", 1.01)):
        ctf = parts(fields, "ctf/")
        write_fields(tmp_path / f"{job}_passthrough_particles.cs", ctf | {"ctf/df1_A": ctf["ctf/df1_A"] * factor})
    with pytest.raises(
        InputError, match=r"J8_passthrough_particles.cs, column ctf/df1_A: it and J7.* differ.*passthrough"
    ):
        load(path, particles)
    found = load(path, particles, passthrough=tmp_path / "J7_passthrough_particles.cs")
    np.testing.assert_array_equal(found.column("defocus_u_angstrom"), particles.column("defocus_u_angstrom"))
    (tmp_path / "J8_passthrough_particles.cs").unlink()
    assert_same_poses(load(path, particles), particles)


def test_faults_of_a_passthrough_file_are_placed_in_it(particles: Particles, tmp_path: Path) -> None:
    fields = cs_fields(particles)
    path = write_fields(tmp_path / "J2_particles.cs", parts(fields, "blob/", "ctf/", "location/"))
    aligned = parts(fields, "alignments3D/")
    aligned["alignments3D/pose"] = aligned["alignments3D/pose"].copy()
    aligned["alignments3D/pose"][3] = np.nan
    write_fields(tmp_path / "J2_passthrough_particles.cs", {name: v[::-1] for name, v in aligned.items()})
    with pytest.raises(InputError, match=r"J2_passthrough_particles.cs, row 77, column alignments3D/pose"):
        load(path, particles)


def test_a_header_of_more_than_64_kilobytes(particles: Particles, tmp_path: Path) -> None:
    fields = cs_fields(particles)
    names = ("error", "alpha", "weight", "pose_ess", "shift_ess", "cross_cor", "class_posterior")
    many = {f"alignments_class3D_{i}/{name}": np.full(80, i, np.float32) for i in range(400) for name in names}
    with pytest.warns(UserWarning, match="format 2.0"):
        path = write_fields(tmp_path / "a.cs", fields | many)
    write_records(tmp_path / "b.cs", read_records(path))
    assert (tmp_path / "b.cs").read_bytes() == path.read_bytes()
    keep = np.arange(80) % 2 > 0
    for parent in (path, tmp_path / "b.cs"):
        filter_particles(parent, keep, {}, tmp_path / "kept.cs")
        kept = np.load(tmp_path / "kept.cs", max_header_size=10**6)
        assert kept.tobytes() == read_records(parent)[keep].tobytes()
        assert kept.dtype == read_records(parent).dtype
    assert_same_poses(load(tmp_path / "b.cs", particles), particles)
    assert [path.read_bytes()[6], write_fields(tmp_path / "c.cs", fields).read_bytes()[6]] == [2, 1]


def test_what_is_lost_is_said(particles: Particles, tmp_path: Path) -> None:
    """Coordinates without the micrographs' size, a tilt without Cs, a class's own fields."""
    n = len(particles)
    fields = cs_fields(particles, location__micrograph_shape=None, ctf__type=None, blob__import_sig=None)
    assert convert(write_fields(tmp_path / "a.cs", fields), tmp_path / "a.star").lost == ("fields location/…",)
    tilted = cs_fields(particles, ctf__type=None, blob__import_sig=None, ctf__cs_mm=None)
    tilted |= {"ctf/tilt_A": np.ones((n, 2), np.float32)}
    done = convert(write_fields(tmp_path / "b.cs", tilted), tmp_path / "b.star")
    assert done.lost == ("fields ctf/tilt_A",) and "Not read: ctf/tilt_A" in done.text
    nothing = cs_fields(particles, ctf__type=np.full(n, b"imported"), blob__import_sig=np.zeros(n, np.uint64))
    done = convert(write_fields(tmp_path / "c.cs", nothing), tmp_path / "c.star")
    assert done.lost == () and "holds all of it" in done.text
    classes = nothing | {"alignments2D/class": np.zeros(n, np.uint32)}
    assert convert(write_fields(tmp_path / "c.cs", classes), tmp_path / "c.star").lost == ("fields alignments2D/…",)
    bare = {name: v for name, v in nothing.items() if not name.startswith(("ctf/", "alignments"))}
    done = convert(write_fields(tmp_path / "d.cs", bare), tmp_path / "d.star")
    assert "The particles have no CTF" in done.text
    with pytest.raises(InputError, match="column ctf/df1_A: the column is missing"):
        convert(tmp_path / "d.cs", tmp_path / "d.thu")


def expanded(fields: Table, n_copies: int) -> Table:
    """As symmetry expansion leaves them: each copy has a number and a pose of its own, and the image of its source."""
    copies = {name: np.repeat(v, n_copies, axis=0) for name, v in fields.items()}
    copies["sym_expand/src_uid"] = copies["uid"]
    copies["sym_expand/idx"] = np.tile(np.arange(n_copies, dtype=np.uint32), len(fields["uid"]))
    copies["uid"] = copies["uid"] + copies["sym_expand/idx"]
    turn = 2 * np.pi / n_copies * copies["sym_expand/idx"]
    pose = Rotation.from_rotvec(np.outer(turn, [0.0, 0.0, 1.0])) * Rotation.from_rotvec(copies["alignments3D/pose"])
    return copies | {"alignments3D/pose": pose.as_rotvec().astype(np.float32)}


def test_symmetry_expanded_particles_share_their_images(particles: Particles, tmp_path: Path) -> None:
    fields = expanded(cs_fields(particles, ctf__type=None, blob__import_sig=None), 4)
    path = write_fields(tmp_path / "a.cs", fields)
    tables = read_cs(path)
    assert "symmetry-expanded: 320 copies of 80 particles" in tables.notices
    names = tables.particles["rlnImageName"].to_numpy().reshape(80, 4)
    assert (names == names[:, :1]).all() and len(set(names[:, 0])) == 80
    assert tables.ids is not None and tables.ids.tolist() == fields["uid"].tolist()
    done = convert(path, tmp_path / "a.star")
    assert done.lost == () and done.n == 320
    table = read_star(tmp_path / "a.star").particles
    assert [int(uid) for uid in table["cryosparcSourceUid"]] == fields["sym_expand/src_uid"].tolist()
    assert [int(copy) for copy in table["cryosparcSymmetryIndex"]] == [0, 1, 2, 3] * 80


@pytest.mark.parametrize("numbered", [True, False])
def test_an_expanded_set_comes_back_from_a_star_file(particles: Particles, tmp_path: Path, numbered: bool) -> None:
    """Copies have numbers of their own or, in files made elsewhere, that of the particle they were made of."""
    fields = expanded(cs_fields(particles), 4)
    fields = fields if numbered else fields | {"uid": fields["sym_expand/src_uid"]}
    path = write_fields(tmp_path / "a.cs", fields)
    convert(path, tmp_path / "a.star")
    convert(tmp_path / "a.star", tmp_path / "b.cs")
    first, back = read_cs(path), read_cs(tmp_path / "b.cs")
    records = read_records(tmp_path / "b.cs")
    assert ids_of(back).tolist() == ids_of(first).tolist() and len(set(records["uid"].tolist())) == 320
    if numbered:
        assert records["uid"].tolist() == fields["uid"].tolist()
    for name in ("sym_expand/src_uid", "sym_expand/idx", "blob/idx", "alignments3D/split", "alignments3D/class"):
        assert records[name].tolist() == fields[name].tolist(), name
    assert [path.lstrip(b">") for path in fields["blob/path"]] == records["blob/path"].tolist()
    turn = Rotation.from_rotvec(records["alignments3D/pose"]).inv() * Rotation.from_rotvec(fields["alignments3D/pose"])
    assert np.rad2deg(turn.magnitude()).max() < 1e-4
    np.testing.assert_allclose(records["alignments3D/shift"], fields["alignments3D/shift"], atol=1e-5)
    image = [(row["blob/path"], int(row["blob/idx"])) for row in records]
    assert len(set(image)) == 80 and all(image.count(one) == 4 for one in set(image))


def test_copies_may_share_their_number_if_they_share_their_image(particles: Particles, tmp_path: Path) -> None:
    fields = expanded(cs_fields(particles), 2)
    fields["uid"] = fields["sym_expand/src_uid"]
    assert len(read_cs(write_fields(tmp_path / "a.cs", fields))) == 160
    fields["blob/idx"] = np.arange(160, dtype=np.uint32)
    with pytest.raises(InputError, match=r"row 2, column uid: .* appears twice"):
        read_cs(write_fields(tmp_path / "a.cs", fields))
    with pytest.raises(InputError, match=r"row 2, column uid: .* appears twice"):
        read_cs(write_fields(tmp_path / "a.cs", parts(fields, "alignments3D/")))


def test_copies_of_a_star_file_are_told_apart(particles: Particles) -> None:
    """Particles of one image are copies of the first of them, for cryoSPARC."""
    columns = columns_of(read_star(particles.parent))
    image = np.array([3, 1, 3, 1, 2])
    names = ImageNames(np.zeros(5, dtype=np.int64), image, ("a.mrcs",))
    found = _expansion(columns, names, np.arange(10, 15, dtype=np.uint64))
    assert found["sym_expand/src_uid"].tolist() == [10, 11, 10, 11, 14]
    assert found["sym_expand/idx"].tolist() == [0, 0, 1, 1, 0]
    alone = ImageNames(np.array([0, 1, 0]), np.array([0, 0, 1]), ("a.mrcs", "b.mrcs"))
    assert _expansion(columns, alone, np.arange(3, dtype=np.uint64)) == {}


def test_ids_of_copies_become_numbers_of_cryosparc(tmp_path: Path) -> None:
    columns = {label: [v for v in values[:4] for _ in range(2)] for label, values in particle_columns().items()}
    star = write_data_set(tmp_path, particles=columns | {"cryocoreParticleId": range(8, 0, -1)})
    done = convert(star, tmp_path / "a.cs")
    assert read_records(tmp_path / "a.cs")["uid"].tolist() == [8, 7, 6, 5, 4, 3, 2, 1]
    assert "cryocoreParticleId" not in done.text
    star = write_data_set(tmp_path, particles=columns | {"cryocoreParticleId": range(8), "cryocoreUid": range(1, 9)})
    assert "cryocoreParticleId" in "; ".join(convert(star, tmp_path / "a.cs").lost)


def test_values_that_cryosparc_has_no_number_for(tmp_path: Path) -> None:
    """Half sets that are not assigned yet stay out; a class 0 is refused."""
    star = write_data_set(tmp_path, particles=particle_columns() | {"rlnRandomSubset": [0] * 8})
    done = convert(star, tmp_path / "a.cs")
    assert "rlnRandomSubset is not assigned yet" in done.text
    assert "alignments3D/split" not in (read_records(tmp_path / "a.cs").dtype.names or ())
    for label, values in (("rlnRandomSubset", [1, 2, 0, 1, 2, 1, 2, 1]), ("rlnClassNumber", [1, 2, 0, 1, 2, 1, 2, 1])):
        star = write_data_set(tmp_path, particles=particle_columns() | {label: values})
        with pytest.raises(InputError, match=f"row 3, column {label}: 0 is not a"):
            convert(star, tmp_path / "a.cs")


def test_without_poses_what_goes_with_them_is_lost(tmp_path: Path) -> None:
    columns = particle_columns() | {"rlnClassNumber": [3] * 8, "rlnRandomSubset": [1, 2] * 4}
    del columns["rlnAngleRot"], columns["rlnAngleTilt"]
    star = write_data_set(tmp_path, particles=columns)
    done = convert(star, tmp_path / "a.cs")
    lost = "; ".join(done.lost)
    for label in ("half sets", "rlnAnglePsi", "rlnOriginX", "rlnClassNumber"):
        assert label in lost, label
    assert "rlnAnglePsi" in "; ".join(convert(star, tmp_path / "a.thu").lost)


def test_numbers_that_thunder_does_not_count_to(tmp_path: Path) -> None:
    star = write_data_set(tmp_path, particles=particle_columns() | {"rlnClassNumber": [1, 1e30, *[1] * 6]})
    with pytest.raises(InputError, match=r"row 2, column rlnClassNumber: 1e\+30 is not a count"):
        convert(star, tmp_path / "a.thu")
