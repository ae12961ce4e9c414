"""cryoSPARC files: every field in its place, joined by uid, and faults named."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
import yaml

from cryocore.backend import get_backend
from cryocore.config.plant import PlantedErrors
from cryocore.config.reconstruct import Reconstruct
from cryocore.errors import InputError
from cryocore.formats.cs import read_cs
from cryocore.formats.kinds import filter_particles
from cryocore.formats.records import read_records
from cryocore.formats.stacks import StackReader
from cryocore.formats.star import read_star
from cryocore.geometry.rotations import angular_distance_deg
from cryocore.ingest.columns import columns_of
from cryocore.ingest.optics import find_groups
from cryocore.ingest.particles import ingest, quaternions_of, read_particles
from cryocore.maps.mrc import read_map, write_stack
from cryocore.reconstruct import reconstruct
from cryocore.simulate.plant import plant
from cryocore.tables.particles import Particles
from tests.formats.samples import cs_fields, write_fields

COMPARED = ("slice", "half", "optics_group", "defocus_u_angstrom", "defocus_v_angstrom", "ctf_scale", "ctf_bfactor")


def load(path: Path, root: Path | None = None, **options: object) -> Particles:
    where = None if root is None else str(root)
    return read_particles(path, **{"root": where, "pixel_size_angstrom": None, "seed": 0, **options})


def test_the_particles_are_those_of_the_star_file(particles: Particles, tmp_path: Path) -> None:
    fields = cs_fields(particles)
    found = load(write_fields(tmp_path / "a.cs", fields), particles.root)
    for name in COMPARED:
        np.testing.assert_array_equal(found.column(name), particles.column(name), err_msg=name)
    for name in ("defocus_angle_deg", "phase_shift_deg"):
        np.testing.assert_allclose(found.column(name), particles.column(name), atol=2e-5)
    assert angular_distance_deg(found.rotations, particles.rotations).max() < 1e-4
    np.testing.assert_allclose(found.shifts_angstrom, particles.shifts_angstrom, atol=1e-5)
    assert found.ids.tolist() == fields["uid"].tolist()
    assert found.column("stack").tolist() == particles.column("stack").tolist()
    assert found.column("micrograph").tolist() == [f"J1/{m}" for m in particles.column("micrograph")]
    (ours,), (theirs,) = found.optics, particles.optics
    for name in ("box", "pixel_size_angstrom", "voltage_kv", "cs_mm", "amplitude_contrast", "image_sign"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.name == "exposureGroup23"


def test_maps_of_inverted_images_are_those_of_the_star_file(particles: Particles, tmp_path: Path) -> None:
    """Poses, shifts, CTF and blob/sign together: protein is bright in the map, and the map is the same."""
    backend, stack = get_backend("cpu"), particles.column("stack")[0]
    with StackReader(particles) as reader:
        write_stack(tmp_path / stack, -reader.read(np.arange(len(particles))), 4.8)
    dark = cs_fields(particles, blob__sign=np.full(len(particles), -1, dtype=np.float32))
    maps = []
    for path, root in ((Path(particles.parent), None), (write_fields(tmp_path / "dark.cs", dark), str(tmp_path))):
        out = tmp_path / path.suffix[1:]
        ingest(path, root=root, pixel_size_angstrom=None, seed=0).write(out / "p.parquet")
        how = {"settings": Reconstruct(), "symmetry": "C1", "backend": backend, "out_dir": out}
        reconstruct(out / "p.parquet", None, None, **how)
        maps.append(read_map(out / "map.mrc")[0])
    assert np.abs(maps[0] - maps[1]).max() < 1e-4 * np.abs(maps[0]).max()


def test_the_shift_is_in_pixels_of_the_alignment(particles: Particles, tmp_path: Path) -> None:
    fields = cs_fields(particles)
    fields["alignments3D/psize_A"] = fields["alignments3D/psize_A"] * 2
    fields["alignments3D/shift"] = fields["alignments3D/shift"] / 2
    found = load(write_fields(tmp_path / "a.cs", fields), particles.root)
    np.testing.assert_allclose(found.shifts_angstrom, particles.shifts_angstrom, atol=1e-5)


def test_optics_groups(particles: Particles, tmp_path: Path) -> None:
    """Interleaved exposure groups keep their rows; one whose values differ becomes several."""
    n = len(particles)
    group = np.tile([7, 3, 7, 3], n // 4).astype(np.uint32)
    cs_mm = np.where(np.arange(n) % 4 == 2, 1.4, 2.7).astype(np.float32)
    tilt = np.zeros((n, 2), dtype=np.float32)
    tilt[group == 3] = 2.7e7 * np.sin([0.5e-3, -0.25e-3])
    matrix = np.zeros((n, 4), dtype=np.float32)
    matrix[group == 3] = 0.01, 0.002, 0.003, -0.01
    changes = {"ctf__exp_group_id": group, "ctf__cs_mm": cs_mm, "ctf__tilt_A": tilt, "ctf__anisomag": matrix}
    path = write_fields(tmp_path / "a.cs", cs_fields(particles, **changes))
    found = load(path, particles.root)
    by_name = {o.name: o for o in found.optics}
    assert set(by_name) == {"exposureGroup3", "exposureGroup7", "exposureGroup7_2"}
    names = np.array([o.name for o in found.optics])[found.column("optics_group")]
    assert (names == "exposureGroup3").tolist() == (group == 3).tolist()
    assert len(set(names[np.arange(n) % 4 == 2])) == 1
    np.testing.assert_allclose(by_name["exposureGroup3"].beam_tilt_mrad, (0.5, -0.25), rtol=1e-5)
    np.testing.assert_allclose(by_name["exposureGroup3"].magnification, (1.01, 0.002, 0.003, 0.99), atol=1e-6)
    assert by_name["exposureGroup7"].magnification == (1, 0, 0, 1)
    matrix += np.float32([1, 0, 0, 1])
    again = load(write_fields(path, cs_fields(particles, **changes)), particles.root)
    np.testing.assert_allclose(again.optics[1].magnification, found.optics[1].magnification, atol=1e-6)


def test_passthrough(particles: Particles, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The other file's rows are in another order, and it has more of them."""
    fields = cs_fields(particles)
    other = {name: v for name, v in fields.items() if name == "uid" or not name.startswith("alignments3D")}
    order = np.random.default_rng(0).permutation(len(particles))
    other = {name: v[order] for name, v in other.items()}
    main = {name: v[:60] for name, v in fields.items() if name == "uid" or name.startswith("alignments3D")}
    path = write_fields(tmp_path / "J24_005_particles.cs", main)
    with pytest.raises(InputError, match=r"column blob/path: the particles have no images.*--passthrough"):
        load(path)
    write_fields(tmp_path / "J23_passthrough_particles.cs", {name: v[:30] for name, v in other.items()})
    with pytest.raises(InputError, match="no images"):
        load(path)
    found = {}
    elsewhere = write_fields(tmp_path / "other.cs", other)
    found["given"] = load(path, particles.root, passthrough=elsewhere)
    write_fields(tmp_path / "J24_passthrough_particles.cs", other)
    with caplog.at_level(logging.INFO):
        found["neighbour"] = load(path, particles.root)
    assert "joined with J24_passthrough_particles.cs by uid" in caplog.text
    for data in found.values():
        np.testing.assert_array_equal(data.column("slice"), particles.column("slice")[:60])
        np.testing.assert_array_equal(data.column("defocus_u_angstrom"), particles.column("defocus_u_angstrom")[:60])
        np.testing.assert_allclose(data.shifts_angstrom, particles.shifts_angstrom[:60], atol=1e-5)
    for rows, fault in ((np.arange(1, 80), "lacks"), (np.r_[0:80, 3], "twice")):
        write_fields(elsewhere, {name: fields[name][rows] for name in other})
        with pytest.raises(InputError, match=fault):
            load(path, passthrough=elsewhere)


@pytest.mark.parametrize("layout", ["alignments_class_{}", "alignments_class3D_{}", "alignments3D_multi"])
def test_several_classes(particles: Particles, tmp_path: Path, layout: str, caplog: pytest.LogCaptureFixture) -> None:
    """Each particle has the alignment of its most probable class."""
    rng, n = np.random.default_rng(2), len(particles)
    fields = cs_fields(particles)
    aligned = {name: fields.pop(name) for name in list(fields) if name.startswith("alignments3D")}
    best = rng.integers(0, 3, n)
    parts = ("pose", "shift", "psize_A", "split", "class_posterior")
    values = {part: aligned.get(f"alignments3D/{part}", np.zeros(n, dtype=np.float32)) for part in parts}
    stacks = {part: np.stack([v, v, v], axis=1) for part, v in values.items()}
    stacks["class_posterior"] = np.where(np.arange(3) == best[:, None], 0.7, 0.15).astype(np.float32)
    for part in ("pose", "shift"):  # the other classes' are wrong
        stacks[part] = np.where((np.arange(3) == best[:, None])[..., None], stacks[part], 0.5).astype(np.float32)
    for part, stack in stacks.items():
        if "{}" in layout:
            fields |= {f"{layout.format(k)}/{part}": stack[:, k] for k in range(3)}
        else:
            fields[f"{layout}/{part}"] = stack if part not in ("psize_A", "split") else stack[:, 0]
    path = write_fields(tmp_path / "a.cs", fields)
    with caplog.at_level(logging.INFO):
        found = load(path, particles.root)
    assert "several classes" in caplog.text
    assert angular_distance_deg(found.rotations, particles.rotations).max() < 1e-4
    np.testing.assert_allclose(found.shifts_angstrom, particles.shifts_angstrom, atol=1e-5)
    np.testing.assert_array_equal(found.column("half"), particles.column("half"))
    assert read_cs(path).particles["rlnClassNumber"].tolist() == (best + 1).tolist()


def test_planted_errors(particles: Particles, tmp_path: Path) -> None:
    path = write_fields(tmp_path / "a.cs", cs_fields(particles))
    settings = PlantedErrors(wrong_shift=0.25, junk=0.25)
    plant(path, settings, root=particles.root, pixel_size_angstrom=None, seed=1, out_dir=tmp_path / "planted")
    found = ingest(tmp_path / "planted" / "particles.star", root=None, pixel_size_angstrom=None, seed=0)
    moved = np.hypot(*(found.shifts_angstrom - particles.shifts_angstrom).T)
    assert ((moved > 9.9).sum(), (moved > 1e-4).sum()) == (20, 20)
    assert sum("junk" in name for name in found.column("stack")) == 20
    assert angular_distance_deg(found.rotations, particles.rotations).max() < 1e-4


# Real files


def test_a_refinement(shared_data: Path) -> None:
    path = shared_data / "cs/cryosparc_P12_J24_001_particles.cs"
    records, tables = read_records(path), read_cs(path)
    columns = columns_of(tables)
    assert len(tables) == 2019
    names = tables.particles["rlnImageName"]
    assert names[0] == "000001@J19/extract/20150917_05196_DNA-TET-25k-DE20_raw.region_000.sum-all_003-072_particles.mrc"
    groups = find_groups(columns, None)
    optics = groups.optics(np.array([180]))[0]
    assert (optics.pixel_size_angstrom, optics.voltage_kv, optics.cs_mm) == (2.95, 200.0, 2.0)
    assert (optics.amplitude_contrast, optics.image_sign) == (0.07, -1)
    # Rodrigues' formula for the first pose, from the file's numbers
    p = records["alignments3D/pose"][0].astype(np.float64)
    angle, (x, y, z) = np.linalg.norm(p), p / np.linalg.norm(p)
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turned = np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k
    from cryocore.geometry.rotations import quaternion_to_matrix

    np.testing.assert_allclose(quaternion_to_matrix(quaternions_of(columns)[0]), turned.T, atol=1e-6)
    np.testing.assert_allclose(
        tables.particles["rlnOriginXAngst"], records["alignments3D/shift"][:, 0] * 2.95, rtol=1e-6
    )
    assert (tables.particles["rlnRandomSubset"] == records["alignments3D/split"] + 1).all()
    np.testing.assert_array_equal(tables.particles["cryosparcError"], records["alignments3D/error"])


def test_a_file_and_its_star_twin(shared_data: Path) -> None:
    """The same seven particles, imported by cryoSPARC and written by RELION."""
    folder = shared_data / "particles/empiar10076_7"
    ours, theirs = read_cs(folder / "empiar_10076_7.cs"), read_star(folder / "empiar_10076_7.star")
    a, b = columns_of(ours), columns_of(theirs)
    for label, tolerance in (("rlnDefocusU", 0.1), ("rlnDefocusV", 0.1), ("rlnDefocusAngle", 1e-4), ("rlnVoltage", 0)):
        np.testing.assert_allclose(a.numbers(label), b.numbers(label), atol=tolerance)
    pixels = [find_groups(c, None).pixel_size_angstrom for c in (a, b)]
    np.testing.assert_allclose(*pixels, rtol=1e-5)
    assert [n.lstrip("0") for n in ours.particles["rlnImageName"]] == theirs.particles["rlnImageName"].tolist()


def test_two_dimensional_alignments_are_refused(shared_data: Path, caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.INFO),
        pytest.raises(InputError, match="alignments3D/pose: the particles have no poses"),
    ):
        load(shared_data / "cs/cryosparc_J2_particles_exported.cs")
    assert "2-D alignments only" in caplog.text


# Selections


def test_a_selection_keeps_all_fields(particles: Particles, tmp_path: Path) -> None:
    parent = write_fields(tmp_path / "a.cs", cs_fields(particles))
    keep = np.arange(len(particles)) % 3 == 1
    filter_particles(parent, keep, {"cryocoreDual": np.zeros(keep.sum())}, tmp_path / "b.cs")
    whole, part = read_records(parent), read_records(tmp_path / "b.cs")
    assert part.dtype == whole.dtype and part.tobytes() == whole[keep].tobytes()
    with pytest.raises(InputError, match="stay in the format of"):
        filter_particles(parent, keep, {}, tmp_path / "b.star")
    with pytest.raises(InputError, match="has 80 particles where 7"):
        filter_particles(parent, keep[:7], {}, tmp_path / "b.cs")


# Faults


def test_every_file_written_has_its_result_group(particles: Particles, tmp_path: Path) -> None:
    parent = write_fields(tmp_path / "parent.cs", cs_fields(particles))
    filter_particles(parent, np.arange(len(particles)) % 2 > 0, {}, tmp_path / "kept.cs")
    group = yaml.safe_load((tmp_path / "kept.csg").read_text())
    assert group["group"] == {
        "name": "particles",
        "title": "Particles",
        "description": "Selected by cryocore",
        "type": "particle",
    }
    fields = read_records(tmp_path / "kept.cs").dtype.names
    assert set(group["results"]) == {name.partition("/")[0] for name in fields} - {"uid"}
    for name, result in group["results"].items():
        assert result == {"metafile": ">kept.cs", "num_items": len(particles) // 2, "type": f"particle.{name}"}
    first = (tmp_path / "kept.csg").read_bytes()
    filter_particles(parent, np.arange(len(particles)) % 2 > 0, {}, tmp_path / "kept.cs")
    assert (tmp_path / "kept.csg").read_bytes() == first


def test_faults_in_values(particles: Particles, tmp_path: Path) -> None:
    def fault(message: str, **changes: object) -> None:
        with pytest.raises(InputError, match=message):
            load(write_fields(tmp_path / "a.cs", cs_fields(particles, **changes)), particles.root)

    fields = cs_fields(particles)
    pose, ids, number = fields["alignments3D/pose"].copy(), fields["uid"].copy(), fields["ctf/df1_A"].copy()
    pose[4, 1], ids[9], number[2] = np.nan, ids[3], np.inf
    fault(r"row 5, column alignments3D/pose: \[.*nan.*is no rotation vector", alignments3D__pose=pose)
    fault("row 10, column uid: .* appears twice", uid=ids)
    fault("row 3, column ctf/df1_A: .*not a finite number", ctf__df1_A=number)
    fault("column alignments3D/pose: holds float32 .* where numbers", alignments3D__pose=pose[:, :2])
    fault("column ctf/accel_kv: 0.3 is not a voltage in kV", ctf__accel_kv=np.full(80, 0.3, dtype=np.float32))
    fault("column blob/path: is not UTF-8 text", blob__path=np.full(80, b"\xff\xfe"))
    fault("column blob/path: holds control characters", blob__path=np.full(80, b"a\nb"))
    fault("column blob/path: holds float32", blob__path=number)
    fault("the particles have no defocus", ctf__df1_A=None)
    fault("column blob/sign: 0 is not a sign of contrast", blob__sign=np.zeros(80, dtype=np.float32))
    fault("row 1, column blob/path: image 999 of", blob__idx=np.full(80, 998, dtype=np.uint32) + np.arange(80))
    np.save(tmp_path / "b.npy", read_records(tmp_path / "a.cs")[["blob/path", "blob/idx"]])
    with pytest.raises(InputError, match="column uid: the particles have no uid"):
        load((tmp_path / "b.npy").rename(tmp_path / "b.cs"))


def header(text: str, body: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    raw = text.encode() + b"\n"
    length = len(raw).to_bytes(2 if version[:1] == b"\x01" else 4, "little")
    return b"\x93NUMPY" + version + length + raw + body


RECORD = "'descr': [('uid', '<u8'), ('x', '<f4')], 'fortran_order': False"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a cryoSPARC file"),
        (b"data_\nloop_\n", "not a cryoSPARC file"),
        (b"\x94CSDAT" + bytes(50), "compressed cryoSPARC data set"),
        (b"\x93NUMPY\x03\x00" + bytes(50), "not a cryoSPARC file"),
        (header("{"), "its header is damaged"),
        (header("{" + RECORD + "}"), "its header is damaged"),
        (header("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", bytes(4)), "no table of records"),
        (header("{" + RECORD + ", 'shape': (0,)}"), "it has no rows"),
        (header("{" + RECORD + ", 'shape': (-1,)}"), "no table of records"),
        (header("{" + RECORD + ", 'shape': (2, 2)}", bytes(48)), "no table of records"),
        (header("{" + RECORD + ", 'shape': (3,)}", bytes(35)), "truncated: 35 bytes where .* 3 rows, 36 bytes"),
        (header("{" + RECORD + ", 'shape': (99999999999999999999999,)}", bytes(36)), "truncated"),
        (header("{'descr': [('uid', 'O')], 'fortran_order': False, 'shape': (1,)}", bytes(8)), "Python objects"),
        (header("{'descr': [('uid', '|S0')], 'fortran_order': False, 'shape': (1,)}"), "no table of records"),
        (header("{'descr': " + "(" * 5000 + ", 'fortran_order': False, 'shape': (1,)}"), "its header is damaged"),
        (header("x" * 300_000, version=b"\x02\x00"), "its header is damaged"),
        (pickle.dumps([1, 2]), "not a cryoSPARC file"),
    ],
)
def test_files_that_are_none(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "a.cs"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message):
        read_cs(path)


def test_damaged_files_are_read_or_refused(particles: Particles, tmp_path: Path) -> None:
    path = write_fields(tmp_path / "a.cs", {name: v[:6] for name, v in cs_fields(particles).items()})
    data, rng = path.read_bytes(), np.random.default_rng(8)
    refused = 0
    for _ in range(150):
        broken = bytearray(data)
        for place in rng.integers(0, len(data) if rng.random() < 0.5 else 1500, size=3):
            broken[place] = rng.integers(0, 256)
        path.write_bytes(broken[: rng.integers(1, len(data))] if rng.random() < 0.2 else broken)
        try:
            read_cs(path)
        except InputError:
            refused += 1
    assert 40 < refused < 150
    for place in (tmp_path, tmp_path / "none.cs"):
        with pytest.raises(InputError, match="cannot be read"):
            read_cs(place)
