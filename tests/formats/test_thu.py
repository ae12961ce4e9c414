"""THUNDER files: units, signs, comments anywhere, and faults named."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cryocore.errors import InputError
from cryocore.formats.kinds import filter_particles
from cryocore.formats.thu import read_thu
from cryocore.geometry.rotations import angular_distance_deg
from cryocore.ingest.particles import ingest, read_particles
from cryocore.tables.particles import Particles
from tests.formats.samples import thu_rows

HEADER = "#0:VOLTAGE\n#1:DEFOCUS_U\n#25 STD_DEFOCUS\n"


def load(path: Path, root: str, pixel_size: float | None = 4.8) -> Particles:
    return read_particles(path, root=root, pixel_size_angstrom=pixel_size, seed=0)


def test_the_particles_are_those_of_the_star_file(
    particles: Particles, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each process of THUNDER appends its own header: comments and blank lines stand between the rows."""
    rows, path = thu_rows(particles), tmp_path / "a.thu"
    text = HEADER + "\n".join(rows[:30]) + "\n\n  \n" + HEADER + "\n".join(rows[30:]) + "\n# the end\n"
    path.write_text(text + rows[0].replace("@", "@#") + "\n")  # a # anywhere makes a comment
    with caplog.at_level(logging.INFO):
        found = load(path, particles.root)
    assert "no half sets" in caplog.text and "half sets made from seed 0" in caplog.text
    assert angular_distance_deg(found.rotations, particles.rotations).max() < 1e-5
    np.testing.assert_allclose(found.shifts_angstrom, particles.shifts_angstrom, atol=1e-7)
    for name in ("defocus_u_angstrom", "defocus_v_angstrom"):
        np.testing.assert_allclose(found.column(name), particles.column(name), rtol=1e-7)
    np.testing.assert_allclose(found.column("defocus_angle_deg"), particles.column("defocus_angle_deg"), atol=1e-5)
    for name in ("particle_id", "slice", "stack", "micrograph"):
        assert found.column(name).tolist() == particles.column(name).tolist(), name
    assert found.optics[0].voltage_kv == 300.0 and found.optics[0].cs_mm == pytest.approx(2.7)
    assert read_thu(path).particles["rlnClassNumber"].tolist() == [1 + i % 2 for i in range(80)]
    assert read_thu(path).lines[[0, 30]].tolist() == [4, 39]
    with pytest.raises(InputError, match=r"nothing in the file gives the pixel size.*pixel_size_angstrom"):
        load(path, particles.root, None)


def test_a_selection_keeps_every_other_byte(particles: Particles, tmp_path: Path) -> None:
    rows, path = thu_rows(particles), tmp_path / "a.thu"
    path.write_bytes((HEADER + "\r\n".join(rows[:7]) + "\r\n\r\n#x\r\n" + "\n".join(rows[7:])).encode())
    keep = np.arange(80) % 2 == 0
    filter_particles(path, keep, {}, tmp_path / "b.thu")
    text = (HEADER + "\r\n".join(rows[:7:2]) + "\r\n\r\n#x\r\n" + "".join(f"{r}\n" for r in rows[8::2])).encode()
    assert (tmp_path / "b.thu").read_bytes() == text
    assert read_thu(tmp_path / "b.thu").particles["rlnImageName"].tolist() == [r.split()[7] for r in rows[::2]]
    with pytest.raises(InputError, match="has 80 particles where 3"):
        filter_particles(path, keep[:3], {}, tmp_path / "c.thu")


def test_real_particles_are_those_of_their_star_file(shared_data: Path) -> None:
    folder = shared_data / "particles/aspire17"
    star = ingest(folder / "sample_particles_relion30.star", root=None, pixel_size_angstrom=None, seed=0)
    found = load(shared_data / "thu/aspire17_from_star.thu", str(folder), star.optics[0].pixel_size_angstrom)
    assert angular_distance_deg(found.rotations, star.rotations).max() < 1e-5
    np.testing.assert_allclose(found.shifts_angstrom, star.shifts_angstrom, atol=1e-6)
    np.testing.assert_allclose(found.column("defocus_u_angstrom"), star.column("defocus_u_angstrom"))
    np.testing.assert_allclose(found.column("defocus_angle_deg"), star.column("defocus_angle_deg"), atol=1e-4)
    assert [o.voltage_kv for o in found.optics] == [300.0, 200.0]
    assert found.ids.tolist() == star.ids.tolist()


def change(column: int, value: str) -> Callable[[str], str]:
    return lambda row: " ".join([*row.split()[:column], value, *row.split()[column + 1 :]])


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (change(13, "2.0"), r"row 3, column 13 \(quaternion 0\): 2.* is not the norm of a unit quaternion"),
        (change(24, "0"), r"row 3, column 24 \(defocus factor\): 0 is not a defocus factor above 0"),
        (change(0, "300"), r"row 3, column 0 \(voltage\): 0.3 is not a voltage in kV"),
        (change(1, "far"), r"row 3, column 1 \(defocus U\): 'far' is not a finite number"),
        (change(4, "2.7"), "no fault"),
        (change(12, "1.5"), r"row 3, column 12 \(class\): '1.5' is not a whole number"),
        (change(14, "nan"), r"column 14 \(quaternion 1\): 'nan' is not a finite number"),
        (change(7, "stack.mrcs"), r"row 3, column 7 \(particle path\): 'stack.mrcs' is not number@stack"),
        (change(7, "'1@my stack.mrcs'"), "do not split at spaces"),
        (change(26, ""), "row 3: line 3 has 26 values where a particle has 27"),
        (change(26, "1 2"), "line 3 has 28 values"),
        (lambda row: row + "\x00", "it holds binary data"),
        (lambda row: row.replace("000003@", "\udcff"), "is not UTF-8"),
    ],
)
def test_faults(particles: Particles, tmp_path: Path, edit: Callable[[str], str], message: str) -> None:
    rows, path = thu_rows(particles), tmp_path / "a.thu"
    rows[2] = edit(rows[2])
    path.write_bytes("\n".join(rows).encode(errors="surrogateescape"))
    if message == "no fault":  # a Cs near 0 is unusual, and possible
        load(path, particles.root)
        return
    with pytest.raises(InputError, match=message):
        load(path, particles.root)


def test_files_without_poses_or_particles(particles: Particles, tmp_path: Path) -> None:
    path, rows = tmp_path / "a.thu", thu_rows(particles)
    for column in (13, 14, 15, 16):
        rows = [change(column, "0")(row) for row in rows]
    path.write_text("\n".join(rows))
    with pytest.raises(InputError, match=r"column 13-16 \(quaternion\): the particles have no poses"):
        load(path, particles.root)
    for text in ("", "# nothing\n\n"):
        path.write_text(text)
        with pytest.raises(InputError, match=r"empty|no particles"):
            load(path, particles.root)


def test_damaged_files_are_read_or_refused(particles: Particles, tmp_path: Path) -> None:
    path, rng, refused = tmp_path / "a.thu", np.random.default_rng(8), 0
    data = (HEADER + "\n".join(thu_rows(particles)[:6])).encode()
    letters = np.frombuffer(b"\n\r\t #\"'@0.-xe\x0b\x00\xff", dtype=np.uint8)
    for _ in range(150):
        broken = bytearray(data)
        for place in rng.integers(0, len(data), size=2):
            broken[place] = rng.choice(letters)
        path.write_bytes(broken)
        try:
            read_thu(path)
        except InputError:
            refused += 1
    assert 40 < refused < 150
