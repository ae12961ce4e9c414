"""Several files of particles as one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cryocore.errors import InputError
from cryocore.formats.star import read_star
from cryocore.ingest.copies import Choice
from cryocore.ingest.join import join
from cryocore.tables.particles import Particles
from tests.formats.samples import cs_fields, write_fields
from tests.ingest.samples import (
    N,
    load,
    noise_images,
    old_columns,
    optics_columns,
    particle_columns,
    table,
    write_data_set,
    write_mrc,
)


def joined(folder: Path, *sources: Path, **options: Any) -> Path:
    out = folder / "joined.star"
    join(sources, out, **{"root": None, "pixel_size_angstrom": None, "class_number": None, **options})
    return out


def data_set(folder: Path, seed: int, **changes: Any) -> Path:
    write_mrc(folder / "a.mrcs", noise_images(seed=seed), pixel_size=1.5)
    optics = {k: changes.pop(k, v) for k, v in optics_columns().items()}
    return write_data_set(folder, particles=particle_columns() | changes, optics=optics)


def values_of(particles: Particles) -> list[dict[str, Any]]:
    return particles.table.drop_columns(["source_row", "stack", "optics_group", "micrograph"]).to_pylist()


def test_all_particles_are_read_as_in_their_own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two projects that call their stacks, micrographs and optics groups alike."""
    monkeypatch.chdir(tmp_path)
    first = data_set(Path("one"), 0)
    second = data_set(Path("two"), 1, rlnVoltage=[200.0], rlnRandomSubset=[2, 1] * 4)
    particles = load(joined(tmp_path, first, second))
    own = [load(first), load(second)]
    assert [o.name for o in particles.optics] == ["og1", "og1_2"]
    assert [o.voltage_kv for o in particles.optics] == [300.0, 200.0]
    assert particles.column("optics_group").tolist() == [0] * N + [1] * N
    assert particles.column("stack").tolist() == ["one/a.mrcs"] * N + ["two/a.mrcs"] * N
    assert particles.column("half").tolist() == [*own[0].column("half"), *own[1].column("half")]
    assert not particles.halves_made
    assert particles.column("micrograph")[[0, N]].tolist() == ["one/m0.mrc", "two/m0.mrc"]
    assert particles.ids[:N].tolist() == own[0].ids.tolist() == own[1].ids.tolist()
    assert len(set(particles.ids.tolist())) == 2 * N
    found, expected = values_of(particles), [*values_of(own[0]), *values_of(own[1])]
    for row in found + expected:
        del row["particle_id"]
    assert found == expected


def test_one_image_root_keeps_names_and_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a RELION project; groups that are the same stay one, and no column of ids is needed."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("Extract/a.mrcs", "Extract/b.mrcs")):
        write_mrc(Path(name), noise_images(seed=seed), pixel_size=1.5)
    sources = []
    for name in ("a", "b"):
        columns = particle_columns(N, f"Extract/{name}.mrcs")
        Path(f"{name}.star").write_text(table("optics", optics_columns()) + table("particles", columns))
        sources.append(Path(f"{name}.star"))
    tables = read_star(joined(tmp_path, *sources))
    assert "cryocoreParticleId" not in tables.particles and tables.optics is not None and len(tables.optics) == 1
    particles = load(tables.path)
    assert particles.ids.tolist() == [*load(sources[0]).ids, *load(sources[1]).ids]


def test_files_of_all_versions_and_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    new = data_set(Path("new"), 0)
    write_mrc(Path("old/a.mrcs"), noise_images(seed=1), pixel_size=1.25)
    old = Path("old/particles.star")
    old.write_text(table("images", old_columns() | {"rlnPhaseShift": [30.0] * N}))
    cs = write_fields(Path("new/p.cs"), cs_fields(load(data_set(Path("third"), 2)), blob__path=np.full(N, b">c.mrcs")))
    write_mrc(Path("new/c.mrcs"), noise_images(seed=3), pixel_size=1.5)
    particles = load(joined(tmp_path, new, old, cs))
    own = [load(new), load(old), load(cs)]
    assert len(particles) == 3 * N and [o.pixel_size_angstrom for o in particles.optics] == [1.5, 1.25, 1.5]
    for name in ("defocus_u_angstrom", "phase_shift_deg", "half"):
        np.testing.assert_allclose(particles.column(name), np.concatenate([o.column(name) for o in own]), rtol=1e-6)
    np.testing.assert_allclose(particles.shifts_angstrom, np.concatenate([o.shifts_angstrom for o in own]), atol=1e-5)
    np.testing.assert_allclose(particles.rotations, np.concatenate([o.rotations for o in own]), atol=1e-6)
    assert particles.ids[-N:].tolist() == own[2].ids.tolist()


def test_half_sets_that_one_file_lacks_are_made_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    particles = load(joined(tmp_path, data_set(Path("one"), 0), data_set(Path("two"), 1, rlnRandomSubset=[0] * N)))
    assert particles.halves_made and sorted(particles.column("half")) == [1] * N + [2] * N
    assert "two/particles.star has no half sets: those of all files are made again" in caplog.text


def test_files_of_one_half_set_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = [data_set(Path(str(half)), half, rlnRandomSubset=[half] * N) for half in (1, 2)]
    particles = load(joined(tmp_path, *files))
    assert not particles.halves_made and particles.column("half").tolist() == [1] * N + [2] * N
    assert load(joined(tmp_path, files[0], data_set(Path("three"), 3, rlnRandomSubset=[1] * N))).halves_made


@pytest.mark.parametrize(
    ("label", "values", "problem"),
    [
        ("rlnRandomSubset", [1, 2, 0, 1, 2, 1, 2, 1], "row 3, column rlnRandomSubset: 0 is not a half set"),
        ("rlnDefocusU", None, "column rlnDefocusU: the particles have no defocus"),
        ("rlnAngleTilt", None, "column rlnAngleTilt: the particles have no poses"),
    ],
)
def test_what_one_file_lacks_is_refused_by_its_name(
    label: str, values: Any, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first, columns = data_set(Path("one"), 0), particle_columns() | {label: values}
    write_mrc(Path("two/a.mrcs"), noise_images(seed=1), pixel_size=1.5)
    second = write_data_set(Path("two"), particles={k: v for k, v in columns.items() if v is not None})
    with pytest.raises(InputError, match=f"two/particles.star, {problem}"):
        joined(tmp_path, first, second)


def test_astigmatism_that_one_file_lacks_stays_with_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, columns = data_set(Path("one"), 0), particle_columns()
    del columns["rlnDefocusV"], columns["rlnDefocusAngle"]
    write_mrc(Path("two/a.mrcs"), noise_images(seed=1), pixel_size=1.5)
    second = write_data_set(Path("two"), particles=columns)
    particles, own = load(joined(tmp_path, first, second)), [load(first), load(second)]
    for name in ("defocus_u_angstrom", "defocus_v_angstrom", "defocus_angle_deg"):
        assert particles.column(name).tolist() == [*own[0].column(name), *own[1].column(name)], name


def test_what_not_all_files_have_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    first = data_set(Path("one"), 0, rlnGroupNumber=[1, 2] * 4, rlnCtfFigureOfMerit=[0.5] * N)
    second = data_set(Path("two"), 1, rlnGroupNumber=[1, 1, 2, 3] * 2)
    tables = read_star(joined(tmp_path, first, second)).particles
    assert "rlnCtfFigureOfMerit" not in tables and "left out, since not all files have them: rlnCtfF" in caplog.text
    assert tables["rlnGroupNumber"].tolist() == [1, 2] * 4 + [3, 3, 4, 5] * 2


def test_particles_that_two_files_share_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = data_set(Path("one"), 0)
    (Path("one") / "again.star").write_text(first.read_text())
    star = joined(tmp_path, first, Path("one/again.star"))
    with pytest.raises(InputError, match=r"row 9, column rlnImageName: .* is the image of row 1 already"):
        load(star)
    assert load(star, choice=Choice(copies="remove")).ids.tolist() == load(first).ids.tolist()


def test_copies_of_one_class_keep_their_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    copies = {k: [v for v in values[: N // 2] for _ in range(2)] for k, values in particle_columns().items()}
    copies = copies | {"rlnClassNumber": [1, 2] * (N // 2)}
    del copies["rlnOpticsGroup"]
    first = data_set(Path("one"), 0, **copies)
    second = data_set(Path("two"), 1, rlnClassNumber=[2] * N)
    found = load(joined(tmp_path, first, second, class_number=2))
    assert found.ids[: N // 2].tolist() == load(first, choice=Choice(class_number=2)).ids.tolist()


def test_one_class_of_each_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = [data_set(Path(name), i, rlnClassNumber=[1, 2] * 4) for i, name in enumerate(("one", "two"))]
    found = read_star(joined(tmp_path, *files, class_number=2)).particles
    assert len(found) == N and set(found["rlnClassNumber"]) == {2}
