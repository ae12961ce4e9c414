"""Coordinates on micrographs, from RELION to cryoSPARC and back: the same row of the same file, or turned on demand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cryocore.backend import get_backend
from cryocore.config.reconstruct import Reconstruct
from cryocore.convert.convert import convert
from cryocore.errors import InputError
from cryocore.formats.records import read_records
from cryocore.formats.stacks import StackReader
from cryocore.formats.star import read_star
from cryocore.ingest.particles import ingest
from cryocore.maps.mrc import read_map, write_stack
from cryocore.reconstruct import reconstruct
from cryocore.tables.particles import Particles
from tests.explore.replay.test_commands import call
from tests.formats.samples import cs_fields, write_fields
from tests.ingest.samples import particle_columns, write_data_set

HEIGHT, WIDTH = 3838, 3710


def test_rows_and_columns_of_the_same_file(particles: Particles, tmp_path: Path) -> None:
    """A micrograph's shape is (rows, columns); x runs along the columns, y along the rows from the first one."""
    fields = cs_fields(particles)
    done = convert(write_fields(tmp_path / "a.cs", fields), tmp_path / "a.star")
    assert "y flip" in done.text
    table = read_star(tmp_path / "a.star").particles
    np.testing.assert_allclose(table["rlnCoordinateX"], fields["location/center_x_frac"] * WIDTH, atol=1e-3)
    np.testing.assert_allclose(table["rlnCoordinateY"], fields["location/center_y_frac"] * HEIGHT, atol=1e-3)
    convert(tmp_path / "a.star", tmp_path / "b.cs")
    back = read_records(tmp_path / "b.cs")
    assert back["location/micrograph_shape"].tolist() == fields["location/micrograph_shape"].tolist()
    for name in ("location/center_x_frac", "location/center_y_frac"):
        np.testing.assert_allclose(back[name], fields[name], atol=1e-6)


def test_sizes_come_from_the_micrographs(tmp_path: Path) -> None:
    """RELION's files do not say them; where the micrographs are, their headers do."""
    columns = particle_columns() | {"rlnCoordinateX": [8.0] * 8, "rlnCoordinateY": [4.0] * 8}
    star = write_data_set(tmp_path, particles=columns)
    assert "coordinates, which need the size of the micrographs" in convert(star, tmp_path / "a.cs").lost
    for name in set(columns["rlnMicrographName"]):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_stack(tmp_path / name, np.zeros((1, 32, 64), np.float32), 1.0)
    done = convert(star, tmp_path / "a.cs")
    assert not any("coordinates" in lost for lost in done.lost)
    records = read_records(tmp_path / "a.cs")
    assert records["location/micrograph_shape"].tolist() == [[32, 64]] * 8
    assert records["location/center_x_frac"].tolist() == records["location/center_y_frac"].tolist() == [0.125] * 8
    job = tmp_path / "Refine3D" / "job005"
    job.mkdir(parents=True)
    below = convert(star.rename(job / "run_data.star"), tmp_path / "b.cs")
    assert below.lost == done.lost


def test_upside_down_twice_is_as_before(particles: Particles, tmp_path: Path) -> None:
    n = len(particles)
    changes = {"ctf__tilt_A": np.tile(np.float32([1.2e4, -3e3]), (n, 1))}
    changes |= {"ctf__anisomag": np.tile(np.float32([0.01, 0.003, 0.002, -0.01]), (n, 1))}
    given = write_fields(tmp_path / "a.cs", cs_fields(particles, **changes))
    done = json.loads(call("convert", given, tmp_path / "a.star", "--flip-y", "--json"))
    assert any("extract the particles again" in note for note in done["notes"])
    table = read_star(tmp_path / "a.star").particles
    y = HEIGHT - 1 - read_records(given)["location/center_y_frac"] * HEIGHT
    np.testing.assert_allclose(table["rlnCoordinateY"], y, atol=1e-3)
    convert(tmp_path / "a.star", tmp_path / "b.cs", flip_y=True)
    a, b = read_records(given), read_records(tmp_path / "b.cs")
    for name in (
        "alignments3D/shift",
        "ctf/tilt_A",
        "ctf/anisomag",
        "location/center_y_frac",
        "location/center_x_frac",
    ):
        np.testing.assert_allclose(b[name], a[name], rtol=1e-6, atol=1e-6, err_msg=name)
    angle = (b["ctf/df_angle_rad"] - a["ctf/df_angle_rad"]) / np.pi
    np.testing.assert_allclose(angle, np.round(angle), atol=1e-6)


def test_mirrored_images_give_the_same_map(particles: Particles, tmp_path: Path) -> None:
    """Images as they are extracted from micrographs upside down, with the table that was turned."""
    stack = particles.column("stack")[0]
    with StackReader(particles) as reader:
        images = reader.read(np.arange(len(particles)))
    rows = -np.arange(images.shape[1]) % images.shape[1]  # about the centre, pixel n/2
    write_stack(tmp_path / stack, images[:, rows], 4.8)
    given = write_fields(tmp_path / "a.cs", cs_fields(particles))
    convert(given, tmp_path / "a.star", flip_y=True)
    maps = []
    for path, root in ((given, particles.root), (tmp_path / "a.star", str(tmp_path))):
        out = tmp_path / path.suffix[1:]
        ingest(path, root=root, pixel_size_angstrom=None, seed=0).write(out / "p.parquet")
        how = {"settings": Reconstruct(), "symmetry": "C1", "backend": get_backend("cpu"), "out_dir": out}
        reconstruct(out / "p.parquet", None, None, **how)
        maps.append(read_map(out / "map.mrc")[0])
    difference = np.abs(maps[0] - maps[1]).max() / np.abs(maps[0]).max()
    assert difference < 1e-4


def test_coordinates_that_cannot_be_turned(tmp_path: Path) -> None:
    columns = particle_columns() | {"rlnCoordinateX": [8.0] * 8, "rlnCoordinateY": [4.0] * 8}
    star = write_data_set(tmp_path, particles=columns)
    with pytest.raises(InputError, match=r"column rlnCoordinateY: .* without the size of the micrographs"):
        convert(star, tmp_path / "a.cs", flip_y=True)
