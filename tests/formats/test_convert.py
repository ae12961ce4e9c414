"""From format to format and back: what both hold survives, what is lost is said."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cryocore.convert.convert import convert
from cryocore.convert.keys import Side
from cryocore.errors import InputError
from cryocore.formats.cs import read_cs
from cryocore.formats.kinds import read_tables
from cryocore.formats.records import Records, read_records
from cryocore.formats.star import read_star
from cryocore.formats.text import as_array, text_lines
from cryocore.formats.thu import read_thu
from cryocore.geometry.rotations import angular_distance_deg
from cryocore.ingest.columns import columns_of
from cryocore.ingest.particles import read_particles
from cryocore.ingest.stacks import known_root
from cryocore.maps.fsc import fsc
from cryocore.maps.mrc import read_map
from cryocore.tables.particles import Particles
from tests.explore.replay.test_commands import call
from tests.formats.samples import cs_fields, thu_rows, write_fields
from tests.ingest.samples import optics_columns, particle_columns, write_data_set


def load(path: Path, root: str, pixel_size: float | None = None) -> Particles:
    return read_particles(path, root=root, pixel_size_angstrom=pixel_size, seed=0)


def assert_same_records(found: Records, given: Records, but: tuple[str, ...]) -> None:
    """Fields of both are equal to the precision of the text between them; poses are the same rotations."""
    for name in set(given.dtype.names or ()) - set(but):
        a, b = found[name], given[name]
        if name == "alignments3D/pose":
            turn = Rotation.from_rotvec(a.astype(float)) * Rotation.from_rotvec(b.astype(float)).inv()
            assert turn.magnitude().max() < 1e-6
        elif a.dtype.kind in "SU":
            assert [v.lstrip(b">") for v in a.tolist()] == [v.lstrip(b">") for v in b.tolist()], name
        elif a.dtype.kind == "f":
            np.testing.assert_allclose(a, b, rtol=3e-7, atol=1e-6, err_msg=name)
        else:
            np.testing.assert_array_equal(a, b, err_msg=name)


def test_cs_to_star_and_back(particles: Particles, tmp_path: Path) -> None:
    n = len(particles)
    tilt = np.tile(np.float32([1.2e4, -3e3]), (n, 1))
    changes = {"ctf__tilt_A": tilt, "ctf__anisomag": np.tile(np.float32([0.01, 0, 0.002, -0.01]), (n, 1))}
    changes |= {"ctf__phase_shift_rad": np.linspace(0.1, 1.5, n, dtype=np.float32)}
    changes |= {"blob__sign": np.full(n, -1, dtype=np.float32), "ctf__bfactor": np.full(n, 30, dtype=np.float32)}
    changes |= {"alignments2D__pose": np.ones(n, dtype=np.float32), "ctf__trefoil_A": tilt}
    given = write_fields(tmp_path / "a.cs", cs_fields(particles, **changes))
    there = convert(given, tmp_path / "b.star")
    assert there.lost == ("fields blob/import_sig, ctf/type, ctf/trefoil_A, alignments2D/…",)
    assert "Not read: ctf/trefoil_A" in there.text and "--invert_contrast" in there.text
    back = convert(tmp_path / "b.star", tmp_path / "c.cs")
    assert back.lost == () and back.n == n
    lost = ("ctf/type", "blob/import_sig", "alignments2D/pose", "ctf/trefoil_A")
    assert_same_records(read_records(tmp_path / "c.cs"), read_records(given), lost)
    assert load(tmp_path / "b.star", particles.root).optics[0].image_sign == -1


@pytest.mark.parametrize("name", ["cs/cryosparc_P12_J24_001_particles.cs", "particles/empiar10076_7/empiar_10076_7.cs"])
def test_real_cs_to_star_and_back(shared_data: Path, tmp_path: Path, name: str) -> None:
    convert(shared_data / name, tmp_path / "b.star")
    convert(tmp_path / "b.star", tmp_path / "c.cs")
    lost = ("ctf/type", "blob/import_sig", "ctf/scale_const")
    assert_same_records(read_records(tmp_path / "c.cs"), read_records(shared_data / name), lost)


def test_star_to_thu_and_back(particles: Particles, simulated: Path, tmp_path: Path) -> None:
    there = convert(simulated, tmp_path / "a.thu")
    assert there.lost == ("half sets", "pixel size", "side of the images", "names of optics groups")
    convert(tmp_path / "a.thu", tmp_path / "b.star", pixel_size_angstrom=4.8)
    found = load(tmp_path / "b.star", particles.root)
    assert angular_distance_deg(found.rotations, particles.rotations).max() < 1e-5
    np.testing.assert_allclose(found.shifts_angstrom, particles.shifts_angstrom, atol=1e-5)
    for name in ("defocus_u_angstrom", "defocus_v_angstrom", "defocus_angle_deg", "phase_shift_deg"):
        np.testing.assert_allclose(found.column(name), particles.column(name), rtol=1e-6)
    for name in ("particle_id", "stack", "micrograph"):
        assert found.column(name).tolist() == particles.column(name).tolist()
    assert found.optics[0].pixel_size_angstrom == particles.optics[0].pixel_size_angstrom


@pytest.mark.parametrize(
    "source", ["particles/aspire17/sample_particles_relion30.star", "star/relion2_3796_poses.star"]
)
def test_real_star_to_thu_and_back(shared_data: Path, tmp_path: Path, source: str) -> None:
    there = convert(shared_data / source, tmp_path / "a.thu")
    assert "half sets" in there.lost and "rlnNormCorrection" in there.lost[-1]
    convert(tmp_path / "a.thu", tmp_path / "b.star")
    given, found = (read_star(path).particles for path in (shared_data / source, tmp_path / "b.star"))
    for label in ("rlnImageName", "rlnMicrographName", "rlnGroupNumber", "rlnClassNumber"):
        assert found[label].tolist() == given[label].tolist()
    for label in found:
        if given[label].dtype.kind == "f":
            difference = np.abs(found[label] - given[label])
            assert np.minimum(difference, 360 - difference).max() < 2e-6, label


def test_thu_to_star_and_back(particles: Particles, tmp_path: Path) -> None:
    """Also what RELION has no label for; the defocus factor is multiplied in."""
    rows = thu_rows(particles)
    (tmp_path / "a.thu").write_text("\n".join(rows))
    convert(tmp_path / "a.thu", tmp_path / "b.star")
    assert convert(tmp_path / "b.star", tmp_path / "c.thu").lost == ()
    for before, after in zip(rows, (tmp_path / "c.thu").read_text().splitlines(), strict=True):
        a, b = before.split(), after.split()
        assert a[7:9] == b[7:9] and a[11:13] == b[11:13] and b[24] == "1"
        for i in {*range(27)} - {1, 2, 7, 8, 24}:
            assert float(b[i]) == pytest.approx(float(a[i]), rel=1e-6, abs=2e-6), i
        assert float(b[1]) == pytest.approx(float(a[1]) / 2)


def test_star_to_cs_and_thu_agree(shared_data: Path, tmp_path: Path) -> None:
    """From 3.0 and 3.1 files; sizes of images from the stacks where the file has none."""
    star = shared_data / "particles/aspire17/sample_particles_relion30.star"
    done = convert(star, tmp_path / "a.cs")
    assert "coordinates, which need the size of the micrographs" in done.lost
    assert "protein is taken to be bright" in done.text
    records = read_records(tmp_path / "a.cs")
    assert records["blob/shape"].tolist() == [[200, 200]] * 17
    assert records["ctf/exp_group_id"].tolist() == [0] * 8 + [1] * 9
    given, found = load(star, str(star.parent)), load(tmp_path / "a.cs", str(star.parent))
    assert angular_distance_deg(found.rotations, given.rotations).max() < 1e-4
    np.testing.assert_allclose(found.shifts_angstrom, given.shifts_angstrom, atol=1e-6)
    assert found.ids.tolist() == given.ids.tolist()


def test_interleaved_optics_groups(shared_data: Path, tmp_path: Path) -> None:
    star = shared_data / "star/relion31_6opticsgroups_139.star"
    done = convert(star, tmp_path / "a.cs")
    assert "higher aberrations" in done.lost and "beam tilt" not in done.lost
    assert not {"pixel size of the micrographs", "pixel size"} & {*done.lost}
    a, b = columns_of(read_star(star)), columns_of(read_cs(tmp_path / "a.cs"))
    assert b.tables.optics is not None and len(b.tables.optics) == 6
    for label in (
        "rlnImagePixelSize",
        "rlnMicrographPixelSize",
        "rlnBeamTiltX",
        "rlnBeamTiltY",
        "rlnMagMat01",
        "rlnSphericalAberration",
    ):
        np.testing.assert_allclose(b.numbers(label), a.numbers(label), rtol=1e-5, atol=1e-7, err_msg=label)
    for label in ("rlnOriginXAngst", "rlnOriginYAngst"):
        np.testing.assert_allclose(b.numbers(label), a.numbers(label), atol=1e-5)


def test_relion_reconstructs_the_same_map(particles: Particles, simulated: Path, tmp_path: Path) -> None:
    if shutil.which("relion_reconstruct") is None:
        pytest.skip("no relion_reconstruct on the PATH")
    root = Path(particles.root)
    write_fields(tmp_path / "a.cs", cs_fields(particles))
    (tmp_path / "b.thu").write_text("#x\n" + "\n".join(thu_rows(particles)))
    convert(tmp_path / "a.cs", tmp_path / "a.star")
    convert(tmp_path / "b.thu", tmp_path / "b.star", pixel_size_angstrom=4.8)
    maps = []
    for star in (simulated, tmp_path / "a.star", tmp_path / "b.star"):
        out = tmp_path / f"{star.stem}.mrc"
        command = ["relion_reconstruct", "--i", star, "--o", out, "--ctf", "--skip_gridding", "--pad", "2"]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        maps.append(read_map(out)[0])
    # angles moved by 2e-6 degrees change RELION's last shells as much
    assert fsc(maps[0], maps[1])[1:13].min() > 0.9999
    assert fsc(maps[0], maps[2])[1:13].min() > 0.9999


def test_names_with_blanks(tmp_path: Path) -> None:
    columns = particle_columns(stack="my images.mrcs")
    columns["rlnImageName"] = [f"'{name}'" for name in columns["rlnImageName"]]
    star = write_data_set(tmp_path, particles=columns)
    convert(star, tmp_path / "a.cs")
    convert(tmp_path / "a.cs", tmp_path / "b.star")
    assert '"000001@my images.mrcs"' in (tmp_path / "b.star").read_text()
    assert read_star(tmp_path / "b.star").particles["rlnImageName"][7] == "000008@my images.mrcs"
    with pytest.raises(InputError, match=r"row 1, column rlnImageName: .*neither blanks nor #"):
        convert(star, tmp_path / "c.thu")


def test_what_cannot_be_converted(simulated: Path, particles: Particles, tmp_path: Path) -> None:
    for out, message in (
        ("a.star", "both are a RELION STAR file"),
        ("a.txt", "its suffix names no format of particles"),
    ):
        with pytest.raises(InputError, match=message):
            convert(simulated, tmp_path / out)
    optics = optics_columns()
    del optics["rlnImageSize"]
    star = write_data_set(tmp_path, optics=optics)
    (tmp_path / "a.mrcs").unlink()
    with pytest.raises(InputError, match=r"the stack a\.mrcs does not exist"):
        convert(star, tmp_path / "a.cs")
    star = write_data_set(tmp_path, particles=particle_columns() | {"cryocoreUid": [5, 6, 7, 8, 9, 5, 11, 12]})
    with pytest.raises(InputError, match="row 6, column cryocoreUid: 5 appears twice"):
        convert(star, tmp_path / "a.cs")
    cs = write_fields(tmp_path / "a.cs", cs_fields(particles))
    with pytest.raises(InputError, match="its suffix names no format"):
        convert(cs, tmp_path / "a.txt")
    records = cs_fields(particles)
    records["alignments3D/error"][3] = np.nan
    with pytest.raises(InputError, match="row 4, column alignments3D/error: 'nan' is not a finite number"):
        convert(write_fields(tmp_path / "a.cs", records), tmp_path / "b.star")


def test_without_poses(shared_data: Path, tmp_path: Path) -> None:
    convert(shared_data / "cs/cryosparc_J2_particles_exported.cs", tmp_path / "a.star")
    assert "_rlnAngleRot" not in (tmp_path / "a.star").read_text()
    convert(tmp_path / "a.star", tmp_path / "a.thu")
    assert "rlnAngleRot" not in read_thu(tmp_path / "a.thu").particles
    convert(tmp_path / "a.star", tmp_path / "a.cs")
    assert not any("alignments" in name for name in read_records(tmp_path / "a.cs").dtype.names or ())


def test_text_of_numbers() -> None:
    columns = [np.array([0.1, -0.0, 1e-9]), np.float32([2.95, 1e10, 3]), np.array([True, False, True]), np.arange(3)]
    words = as_array(np.array(["a", "b c", ""], dtype=object))
    text = b"".join(text_lines([*map(as_array, columns), words])).decode()
    assert text == "0.1 2.95 1 0 a\n0 1e+10 0 1 b c\n1e-9 3 1 2 \n"
    many = as_array(np.arange(200_000))
    lines = b"".join(text_lines([many, many])).decode().splitlines()
    assert len(lines) == 200_000 and lines[::65536] == [f"{i} {i}" for i in range(0, 200_000, 65536)]


def test_command(simulated: Path, tmp_path: Path) -> None:
    assert "Not held by a THUNDER file: half sets; pixel size" in call("convert", simulated, tmp_path / "a.thu")
    value = json.loads(call("convert", simulated, tmp_path / "a.cs", "--json"))
    assert (value["n"], value["kinds"], value["lost"]) == (80, ["star", "cs"], ["names of optics groups"])
    assert len(read_tables(tmp_path / "a.cs")) == 80


def test_a_format_behind_the_name_stays_out_of_thu_and_of_keys(tmp_path: Path) -> None:
    star = write_data_set(tmp_path)
    plain = tmp_path / "plain.star"
    plain.write_text(star.read_text())
    star.write_text(star.read_text().replace("@a.mrcs", "@a.mrcs:mrcs"))
    convert(star, tmp_path / "a.thu", pixel_size_angstrom=1.5)
    assert "@a.mrcs " in (tmp_path / "a.thu").read_text() and ":mrcs" not in (tmp_path / "a.thu").read_text()
    assert known_root(star, ["000001@a.mrcs:mrcs"]) == str(tmp_path)
    sides = [Side(f, columns_of(read_tables(f))).images("rlnImageName")[1] for f in (star, plain)]
    assert sides[0] == sides[1] == ["a.mrcs"]
