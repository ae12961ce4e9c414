"""From STAR files to the particle table: values in their places, rows in their order, faults named."""

from __future__ import annotations

import logging
from collections import Counter
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest

from cryocore.conventions import euler_to_matrix
from cryocore.errors import InputError
from cryocore.formats.stacks import StackReader
from cryocore.formats.star import filter_star, read_star
from cryocore.ingest.columns import columns_of
from cryocore.ingest.halves import Units, split
from cryocore.ingest.optics import find_groups
from cryocore.ingest.particles import particle_ids
from cryocore.log.columns import score_columns
from cryocore.tables.particles import PARTICLES_SCHEMA, Particles
from cryocore.tables.shards import Shard
from tests.ingest.samples import (
    BOX,
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

# Real files


def test_aspire_relion30(shared_data: Path) -> None:
    particles = load(shared_data / "particles/aspire17/sample_particles_relion30.star")
    assert len(particles) == 17
    assert [(o.voltage_kv, o.cs_mm, o.amplitude_contrast, o.box) for o in particles.optics] == [
        (300.0, 2.7, 0.1, 200),
        (200.0, 2.7, 0.1, 200),
    ]
    assert particles.optics[0].pixel_size_angstrom == pytest.approx(1.338, abs=1e-6)
    assert particles.column("optics_group").tolist() == [0] * 8 + [1] * 9
    assert particles.column("half").tolist() == [2, 2, 1, 1, 1, *particles.column("half").tolist()[5:]]
    assert particles.column("slice").tolist() == list(range(17))
    np.testing.assert_allclose(particles.rotations[0], euler_to_matrix(109.18664, 122.200343, 71.118492), atol=1e-12)
    np.testing.assert_allclose(particles.shifts_angstrom[0], [0.1996 * 1.338] * 2, rtol=1e-6)
    assert particles.column("defocus_u_angstrom")[0] == pytest.approx(21186.804688)


def test_aspire_relion31(shared_data: Path) -> None:
    star = shared_data / "particles/aspire17/sample_particles_relion31.star"
    particles = load(star)
    assert [(o.name, o.voltage_kv, o.pixel_size_angstrom) for o in particles.optics] == [
        ("opticsGroup1", 300.0, 1.4),
        ("opticsGroup2", 200.0, 1.4),
    ]
    old = load(star.with_name("sample_particles_relion30.star"))
    same = np.arange(17) != 14  # the two files disagree about one particle
    np.testing.assert_allclose(particles.quaternions[same], old.quaternions[same], atol=1e-9)
    assert np.array_equal(particles.ids, old.ids)
    overridden = load(star, pixel_size_angstrom=1.338)
    assert {o.pixel_size_angstrom for o in overridden.optics} == {1.338}
    np.testing.assert_array_equal(overridden.shifts_angstrom, particles.shifts_angstrom)


def test_ribosome_tilts(shared_data: Path, caplog: pytest.LogCaptureFixture) -> None:
    star = shared_data / "particles/ribosome_tilts219/sta_testing_bin8.star"
    with caplog.at_level(logging.INFO):
        particles = load(star, pixel_size_angstrom=15.68)
    assert len(particles) == 219
    assert particles.optics[0].pixel_size_angstrom == 15.68
    assert not particles.shifts_angstrom.any()
    assert "shifts are taken to be 0" in caplog.text
    assert load(star).optics[0].pixel_size_angstrom == pytest.approx(1.96)


def test_microtubule(shared_data: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        particles = load(shared_data / "particles/microtubule5/relion31.star", root=None)
    assert "rlnRandomSubset is 1 in every row and is ignored" in caplog.text
    assert sorted(particles.column("half")) == [1, 1, 1, 2, 2]
    assert particles.optics[0].pixel_size_angstrom == 2.806


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("particles/empiar10076_7/empiar_10076_7.star", "column rlnAngleRot: the particles have no poses"),
        ("star/relion40_subtomo.star", "column rlnTomoName: these are subtomograms"),
        ("star/relion50_spa_17.star", "row 12, column rlnImageName: '1@toy_images_a.mrcs' is the image of row 1"),
        ("star/relion2_3796_poses.star", "row 1, column rlnImageName: the stack mrc_files/stack_0500_cor_DW.mrcs"),
        ("star/relion31_magmat_1.star", "two half sets need at least two particles"),
    ],
)
def test_refused_real_files(shared_data: Path, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(shared_data / name)


def test_interleaved_optics_groups_of_a_real_file(shared_data: Path) -> None:
    tables = read_star(shared_data / "star/relion31_6opticsgroups_139.star")
    assert tables.optics is not None
    groups = find_groups(columns_of(tables), None)
    declared = tables.particles["rlnOpticsGroup"].to_numpy()
    assert np.any(np.diff(declared) < 0), "the groups of this file are interleaved"
    optics = groups.optics(np.full(len(groups), 196))
    by_key = tables.optics.set_index("rlnOpticsGroup")
    assert groups.index[0] == 0
    for row in range(139):
        found, expected = optics[groups.index[row]], by_key.loc[declared[row]]
        assert found.name == expected["rlnOpticsGroupName"]
        assert found.pixel_size_angstrom == expected["rlnImagePixelSize"]
        assert found.beam_tilt_mrad == (expected["rlnBeamTiltX"], expected["rlnBeamTiltY"])
        assert found.cs_mm == expected["rlnSphericalAberration"]
        assert found.magnification == tuple(expected[f"rlnMagMat{i}"] for i in ("00", "01", "10", "11"))
        assert f"[{','.join(f'{c:.12g}' for c in found.odd_zernike)}]" == expected["rlnOddZernike"]
        assert len(found.even_zernike) == 9


# Values


def test_rows_keep_their_places(tmp_path: Path) -> None:
    """Interleaved groups of different pixel size, box and voltage: nothing moves."""
    write_mrc(tmp_path / "a.mrcs", noise_images(12))
    write_mrc(tmp_path / "b.mrcs", noise_images(12, 20))
    columns, pattern = particle_columns(12), np.array([7, 3, 7, 3, 3, 7, 3, 7, 7, 3, 3, 7])
    columns["rlnOpticsGroup"] = pattern.tolist()
    columns["rlnImageName"] = [f"{12 - i}@{'a' if g == 3 else 'b'}.mrcs" for i, g in enumerate(pattern)]
    columns["rlnRandomSubset"] = [1, 1, 2, 2, 1, 1, 2, 2, 1, 1, 2, 2]
    columns["rlnOriginX"], columns["rlnOriginY"] = columns.pop("rlnOriginXAngst"), columns.pop("rlnOriginYAngst")
    optics = optics_columns(2) | {"rlnOpticsGroup": [3, 7], "rlnImagePixelSize": [1.5, 1.2], "rlnVoltage": [200, 300]}
    particles = load(write_data_set(tmp_path, particles=columns, optics=optics | {"rlnImageSize": [BOX, 20]}))
    assert [(o.name, o.pixel_size_angstrom, o.box) for o in particles.optics] == [("og2", 1.2, 20), ("og1", 1.5, BOX)]
    assert particles.column("optics_group").tolist() == (pattern == 3).astype(int).tolist()
    assert particles.column("slice").tolist() == list(range(11, -1, -1))
    assert particles.column("stack").tolist() == ["a.mrcs" if g == 3 else "b.mrcs" for g in pattern]
    assert particles.column("source_row").tolist() == list(range(12))
    assert particles.column("half").tolist() == columns["rlnRandomSubset"]
    assert particles.column("micrograph").tolist() == columns["rlnMicrographName"]
    np.testing.assert_array_equal(particles.column("defocus_u_angstrom"), np.float32(columns["rlnDefocusU"]))
    pixel = np.where(pattern == 3, 1.5, 1.2)
    np.testing.assert_allclose(particles.shifts_angstrom[:, 0], columns["rlnOriginX"] * pixel)
    np.testing.assert_allclose(particles.shifts_angstrom[:, 1], columns["rlnOriginY"] * pixel)
    angles = [columns[f"rlnAngle{k}"] for k in ("Rot", "Tilt", "Psi")]
    np.testing.assert_allclose(particles.rotations, euler_to_matrix(*angles), atol=1e-12)
    assert particles.ids.tolist() == particle_ids(columns["rlnImageName"]).tolist()


def test_row_values_come_before_optics_values_and_defaults(tmp_path: Path) -> None:
    columns = particle_columns() | {"rlnVoltage": [300, 200] * 4, "rlnCtfBfactor": [5.0] * N}
    optics = optics_columns() | {
        "rlnVoltage": [120.0],
        "rlnCtfBfactor": [9.0],
        "rlnPhaseShift": [30.0],
        "rlnBeamTiltX": [0.3],
        "rlnCtfDataAreCtfPremultiplied": [1],
        "rlnCtfDataArePhaseFlipped": [0],
        "rlnOddZernike": ["[0.1,-2e-3]"],
    }
    particles = load(write_data_set(tmp_path, particles=columns, optics=optics))
    assert [(o.name, o.voltage_kv) for o in particles.optics] == [("og1", 300.0), ("og1_2", 200.0)]
    assert particles.column("optics_group").tolist() == [0, 1] * 4
    assert set(particles.column("ctf_bfactor")) == {5.0}
    assert set(particles.column("phase_shift_deg")) == {30.0}
    assert set(particles.column("ctf_scale")) == {1.0}
    optic = particles.optics[0]
    assert (optic.beam_tilt_mrad, optic.odd_zernike, optic.even_zernike) == ((0.3, 0.0), (0.1, -0.002), ())
    assert (optic.premultiplied, optic.phase_flipped) == (True, False)


def test_optics_values_come_before_rows_where_relion_looks_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    columns = particle_columns() | {
        "rlnImagePixelSize": [1.9] * N,
        "rlnBeamTiltX": [-3.0] * N,
        "rlnMagMat00": [1.1] * N,
    }
    optics = optics_columns() | {
        "rlnBeamTiltX": [0.3],
        "rlnBeamTiltY": [0.0],
        "rlnOddZernike": ["[0.1,0.2,0.3,0.4,0.5,0.6]"],
    }
    (optic,) = load(write_data_set(tmp_path, particles=columns, optics=optics)).optics
    assert optic.pixel_size_angstrom == optics["rlnImagePixelSize"][0] != 1.9
    assert optic.beam_tilt_mrad == (0.3, 0.0)
    assert optic.odd_zernike == (0.1, 0.2, 0.3, 0.0, 0.0, 0.6)
    assert optic.magnification == (1, 0, 0, 1)
    assert "rlnMagMat00 of the particles is ignored" in caplog.text
    assert "the coma in rlnOddZernike is ignored" in caplog.text


def test_relion_defaults_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    columns, optics = particle_columns(), optics_columns()
    for label in ("rlnDefocusV", "rlnDefocusAngle"):
        del columns[label]
    del optics["rlnAmplitudeContrast"]
    particles = load(write_data_set(tmp_path, particles=columns, optics=optics))
    np.testing.assert_array_equal(particles.column("defocus_v_angstrom"), particles.column("defocus_u_angstrom"))
    assert particles.optics[0].amplitude_contrast == 0.0
    for label in ("rlnDefocusV", "rlnDefocusAngle", "rlnAmplitudeContrast"):
        assert f"no column {label}" in caplog.text


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"rlnImagePixelSize": 1.1, "rlnMicrographPixelSize": 1.2, "rlnMicrographOriginalPixelSize": 1.3}, 1.1),
        ({"rlnMicrographPixelSize": 1.2, "rlnMicrographOriginalPixelSize": 1.3}, 1.2),
        ({"rlnMicrographOriginalPixelSize": 1.3}, 1.3),
        ({"rlnDetectorPixelSize": 14.0, "rlnMagnification": 1e5}, 1.4),
        ({"rlnImagePixelSize": 1.1, "rlnDetectorPixelSize": 14.0, "rlnMagnification": 1e5}, 1.1),
    ],
)
def test_pixel_size_of_relion31(tmp_path: Path, given: dict[str, float], expected: float) -> None:
    optics = optics_columns()
    del optics["rlnImagePixelSize"]
    star = write_data_set(tmp_path, optics=optics | {k: [v] for k, v in given.items()})
    assert load(star).optics[0].pixel_size_angstrom == pytest.approx(expected)
    assert load(star, pixel_size_angstrom=2.0).optics[0].pixel_size_angstrom == 2.0


def test_pixel_size_of_relion30(tmp_path: Path) -> None:
    star = write_data_set(tmp_path)
    columns = old_columns() | {"rlnImagePixelSize": [9.0] * N}
    star.write_text(table("images", columns))
    particles = load(star)
    assert particles.optics[0].pixel_size_angstrom == 1.25
    np.testing.assert_allclose(particles.shifts_angstrom[:, 0], np.array(columns["rlnOriginX"]) * 1.25)
    np.testing.assert_allclose(
        load(star, pixel_size_angstrom=2.5).shifts_angstrom, 2 * particles.shifts_angstrom, rtol=1e-12
    )


def test_relion30_groups_by_the_six_values(tmp_path: Path) -> None:
    star = write_data_set(tmp_path)
    columns = old_columns() | {"rlnBeamTiltX": [0, 0, 1, 1, 0, 0, 1, 1], "rlnBeamTiltY": [0] * N}
    columns["rlnMagnification"] = [40000.0] * 7 + [80000.0]
    columns["rlnDetectorPixelSize"] = [5.0] * 7 + [10.0]
    star.write_text(table("", columns))
    particles = load(star)
    assert particles.column("optics_group").tolist() == [0, 0, 1, 1, 0, 0, 1, 2]
    assert [o.name for o in particles.optics] == ["opticsGroup1", "opticsGroup2", "opticsGroup3"]
    assert [o.pixel_size_angstrom for o in particles.optics] == [1.25] * 3


def test_ids_are_stable() -> None:
    names = ["000001@a.mrcs", "1@µ/b c.mrcs"]
    expected = [int.from_bytes(blake2b(n.encode(), digest_size=8).digest(), "little") for n in names]
    assert particle_ids(names).tolist() == expected
    assert expected[0] == 10379702279436820213
    assert particle_ids([]).shape == (0,)


def test_a_filtered_file_keeps_ids_and_values(tmp_path: Path) -> None:
    star, out = write_data_set(tmp_path), tmp_path / "out.star"
    whole = load(star)
    keep = np.arange(N) != 3
    filter_star(star, keep, {}, out)
    part = load(out)
    assert part.table.drop_columns("source_row").to_pylist() == [
        row for row, k in zip(whole.table.drop_columns("source_row").to_pylist(), keep, strict=True) if k
    ]


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    columns = particle_columns()
    del columns["rlnRandomSubset"]
    star = write_data_set(tmp_path, particles=columns)
    for name in ("1.parquet", "2.parquet"):
        load(star, seed=3).write(tmp_path / name)
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()
    again = Particles.read(tmp_path / "1.parquet")
    assert again.table.schema.equals(PARTICLES_SCHEMA)
    assert again.table.to_pylist() == load(star, seed=3).table.to_pylist()
    assert again.optics == load(star).optics


def test_what_the_file_says_of_the_fit_is_kept_as_a_score(tmp_path: Path) -> None:
    given = [*np.linspace(0.1, 0.8, N - 1), "nan"]
    star = write_data_set(tmp_path, particles={**particle_columns(), "rlnMaxValueProbDistribution": given})
    load(star).write(tmp_path / "1.parquet")
    table = Particles.read(tmp_path / "1.parquet", Shard(1, 2)).table
    assert table.column_names == [*PARTICLES_SCHEMA.names, "given_max_probability"]
    assert "given_max_probability" in score_columns(table.schema)
    found = table.column("given_max_probability").to_numpy()
    np.testing.assert_allclose(found, [float(v) for v in given[N // 2 :]], rtol=1e-6)


# Half sets


def test_micrographs_stay_whole_and_halves_balanced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    columns = particle_columns()
    del columns["rlnRandomSubset"]
    with caplog.at_level(logging.INFO):
        particles = load(write_data_set(tmp_path, particles=columns), seed=11)
    assert "half sets made from seed 11, by micrograph: 4, 4 particles" in caplog.text
    pairs = set(zip(particles.column("micrograph").tolist(), particles.column("half").tolist(), strict=True))
    assert len(pairs) == 4


def units(micrographs: np.ndarray, image: np.ndarray | None = None, tubes: np.ndarray | None = None) -> Units:
    """Those of particles with an image each, unless they share some."""
    own = np.arange(len(micrographs)) if image is None else image
    return Units(np.unique(micrographs, return_inverse=True)[1], tubes, own, own)


def test_split() -> None:
    rng = np.random.default_rng(2)
    ids = rng.integers(2**63, size=5000, dtype=np.uint64)
    micrographs = np.array([f"m{int(i)}" for i in rng.geometric(0.03, 5000)], dtype=object)
    half, unit = split(ids, units(micrographs), 1)
    assert unit == "micrograph"
    assert abs(Counter(half.tolist())[1] - 2500) <= 1
    assert len({*zip(micrographs, half.tolist(), strict=True)}) == len(set(micrographs))
    assert not np.array_equal(half, split(ids, units(micrographs), 2)[0])

    for seed in range(5):  # one micrograph as large as all others together
        sizes = np.repeat(["a", "b", "c", "d", "e"], [100, 100, 400, 100, 100]).astype(object)
        half, unit = split(ids[:800], units(sizes), seed)
        assert (unit, Counter(half.tolist())) == ("micrograph", {1: 400, 2: 400})

    for lopsided in (np.full(5000, ""), np.where(np.arange(5000) < 4000, "a", "b")):
        half, unit = split(ids, units(lopsided), 1)
        assert unit == "particle"
        assert Counter(half.tolist()) == {1: 2500, 2: 2500}
        backwards, _ = split(ids[::-1], units(lopsided), 1)
        np.testing.assert_array_equal(backwards[::-1], half)
        other, _ = split(ids, units(lopsided), 2)
        assert abs((half == other).mean() - 0.5) < 0.05


# Where the images are


def test_image_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mrc(tmp_path / "project/Extract/a.mrcs", noise_images())
    job = tmp_path / "project/Refine3D/job001"
    job.mkdir(parents=True)
    star = job / "run_data.star"
    star.write_text(table("optics", optics_columns()) + table("particles", particle_columns(N, "Extract/a.mrcs")))
    assert load(star).root == str(tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    assert load(Path("Refine3D/job001/run_data.star")).root == "."
    assert load(star, root=str(tmp_path / "project")).root == str(tmp_path / "project")
    with pytest.raises(InputError, match="is not a directory"):
        load(star, root=str(tmp_path / "elsewhere"))
    with pytest.raises(InputError, match=r"a\.mrcs, row 1, column rlnImageName: the stack cannot be read"):
        load(star, root=str(job))
    write_mrc(tmp_path / "project/Extract/my images.mrcs", noise_images())
    star.write_text(star.read_text().replace("000001@Extract/a.mrcs", "'000001@Extract/my images.mrcs'"))
    assert load(star).column("stack")[0] == "Extract/my images.mrcs"


def test_the_project_of_the_file_comes_before_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two projects have stacks of the same names."""
    for project in ("one", "two"):
        write_mrc(tmp_path / project / "Extract/a.mrcs", noise_images())
    job = tmp_path / "one/Refine3D/job001"
    job.mkdir(parents=True)
    star = job / "run_data.star"
    star.write_text(table("optics", optics_columns()) + table("particles", particle_columns(N, "Extract/a.mrcs")))
    monkeypatch.chdir(tmp_path / "two")
    assert load(star).root == str(tmp_path / "one")
    (tmp_path / "one/Extract/a.mrcs").unlink()
    assert load(star).root == "."


def test_one_pixel_size_for_images_of_several_is_refused(tmp_path: Path) -> None:
    columns, optics = particle_columns(), optics_columns(2)
    columns["rlnOpticsGroup"] = [1, 2] * (N // 2)
    star = write_data_set(tmp_path, particles=columns, optics=optics | {"rlnImagePixelSize": [1.06, 0.82]})
    message = r"row 2, column rlnImagePixelSize: the images have pixel sizes of 0.82 to 1.06 Å; 1.06 Å cannot be that"
    with pytest.raises(InputError, match=message):
        load(star, pixel_size_angstrom=1.06)
    star = write_data_set(tmp_path, particles=columns, optics=optics | {"rlnImagePixelSize": [1.06, 1.07]})
    assert {o.pixel_size_angstrom for o in load(star, pixel_size_angstrom=1.1).optics} == {1.1}


def test_defocus_that_is_nowhere_underfocus_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    columns = particle_columns()
    for values in ([0.0] * N, [-1e4] * N):
        caplog.clear()
        load(write_data_set(tmp_path, particles=columns | {"rlnDefocusU": values, "rlnDefocusV": values}))
        assert "rlnDefocusU is above 0 in no row" in caplog.text


def test_angles_that_look_like_radians_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    columns = particle_columns(24)
    columns["rlnImageName"] = [f"{i % N + 1}@{name}.mrcs" for name in "abc" for i in range(N)]
    for name in "bc":
        write_mrc(tmp_path / f"{name}.mrcs", noise_images() + (name == "c") + np.arange(BOX))
    columns["rlnRandomSubset"] = [1, 2] * 12
    load(write_data_set(tmp_path, particles=columns))
    assert "radians" not in caplog.text
    for label in ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"):
        columns[label] = np.deg2rad(columns[label]).tolist()
    load(write_data_set(tmp_path, particles=columns))
    assert "no angle is larger than 3.1" in caplog.text and "are they in radians?" in caplog.text


def test_headers_with_another_pixel_size_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    star = write_data_set(tmp_path)
    load(star)
    assert "header of" not in caplog.text
    load(star, pixel_size_angstrom=1.7)
    assert "header of a.mrcs says 1.5 Å and is ignored" in caplog.text


def test_shifts_out_of_the_image_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    columns = particle_columns() | {"rlnOriginYAngst": [0.0] * 7 + [-1.5 * BOX / 2 - 0.1]}
    load(write_data_set(tmp_path, particles=columns))
    assert "1 shifts are longer than half the image" in caplog.text


def test_blank_images_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    images = noise_images()
    images[2] = 4.0
    write_mrc(tmp_path / "a.mrcs", images)
    load(write_data_set(tmp_path))
    assert "1 images are blank" in caplog.text


@pytest.mark.parametrize(("factor", "said"), [(1.3, False), (2.0, True)])
def test_optics_groups_that_are_not_normalised_alike_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, factor: float, said: bool
) -> None:
    images = noise_images()
    images[N // 2 :] *= factor
    images[0] = 0.0
    write_mrc(tmp_path / "a.mrcs", images)
    groups = particle_columns() | {"rlnOpticsGroup": [1] * (N // 2) + [2] * (N // 2)}
    load(write_data_set(tmp_path, particles=groups, optics=optics_columns(2)))
    assert ("images of optics group 2 are" in caplog.text) == said
    assert not said or 1.5 < float(caplog.text.split("group 2 are ")[1].split()[0]) < 2.6


@pytest.mark.parametrize("suffix", [":mrcs", ":MRCS", ":mrc", ":st"])
def test_formats_behind_image_names(tmp_path: Path, suffix: str) -> None:
    write_mrc(tmp_path / "a.mrc", noise_images())
    columns = particle_columns(stack=f"a.mrc{suffix}")
    columns["rlnImageName"][0] = "000001@a.mrc"
    particles = load(write_data_set(tmp_path, particles=columns))
    assert set(particles.column("stack")) == {"a.mrc"}
    with StackReader(particles) as reader:
        np.testing.assert_array_equal(reader.read(np.arange(N)), noise_images())
    columns["rlnImageName"][1] = "000001@a.mrc"
    columns["rlnImageName"][2] = f"000001@a.mrc{suffix}"
    with pytest.raises(InputError, match=r"is the image of row 1 already .and 1 more rows"):
        load(write_data_set(tmp_path, particles=columns))


def test_a_colon_that_is_no_format(tmp_path: Path) -> None:
    write_mrc(tmp_path / "10:30" / "a:b.mrcs", noise_images())
    particles = load(write_data_set(tmp_path, particles=particle_columns(stack="10:30/a:b.mrcs")))
    assert set(particles.column("stack")) == {"10:30/a:b.mrcs"}


def test_other_formats_behind_image_names(tmp_path: Path) -> None:
    columns = particle_columns(stack="a.dat:spi")
    columns["rlnImageName"][0] = "000001@a.mrcs"
    with pytest.raises(InputError, match=r"row 2, column rlnImageName: the format :spi behind a.dat:spi is not read"):
        load(write_data_set(tmp_path, particles=columns))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ispg": 401, "mz": 4}, "a series of volumes, not of images"),
        ({"mapc": 2, "mapr": 1, "maps": 3}, "run along the axes y x z"),
    ],
)
def test_stacks_of_something_else(tmp_path: Path, fields: dict[str, int], message: str) -> None:
    write_mrc(tmp_path / "a.mrcs", noise_images(), **fields)
    with pytest.raises(InputError, match=message):
        load(write_data_set(tmp_path))


def test_stack_of_unsigned_bytes(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (N, BOX, BOX))
    write_mrc(tmp_path / "a.mrcs", images.astype(np.uint8).view(np.int8), mode=0)
    raw = bytearray((tmp_path / "a.mrcs").read_bytes())
    raw[152:160] = np.array([1146047817, 0], "<i4").tobytes()
    (tmp_path / "a.mrcs").write_bytes(raw)
    with StackReader(load(write_data_set(tmp_path))) as reader:
        np.testing.assert_array_equal(reader.read(np.arange(N)), images)
