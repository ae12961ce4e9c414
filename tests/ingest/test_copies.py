"""Particles that are there more than once: copies that are meant, that are not, and particles picked twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cryocore.errors import InputError
from cryocore.formats.source import Source
from cryocore.geometry.rotations import matrix_to_euler, quaternion_to_matrix
from cryocore.geometry.symmetry import point_group
from cryocore.ingest.copies import Choice, close_pairs, is_expanded, thinned
from cryocore.ingest.particles import distinct
from cryocore.tables.particles import Particles
from tests.formats.samples import cs_fields, write_fields
from tests.ingest.samples import N, load, noise_images, optics_columns, particle_columns, write_data_set, write_mrc

ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")


def expanded(n: int, group: str, jitter_deg: float = 0.0) -> dict[str, list[Any]]:
    """Every particle with all poses that the group makes of its own, as ``relion_particle_symmetry_expand`` does."""
    columns, operators = particle_columns(n), point_group(group)
    own = Rotation.from_euler("ZYZ", np.stack([columns[k] for k in ANGLES], axis=1), degrees=True).inv().as_matrix()
    poses = (own[:, None] @ operators[None]).reshape(-1, 3, 3)
    if jitter_deg:
        turns = np.random.default_rng(0).normal(0, np.deg2rad(jitter_deg / 3), (len(poses), 3))
        poses = Rotation.from_rotvec(turns).as_matrix() @ poses
    many = {k: [v for v in values for _ in operators] for k, values in columns.items()}
    return many | dict(zip(ANGLES, matrix_to_euler(poses).round(6).T.tolist(), strict=True))


@pytest.mark.parametrize(("group", "jitter_deg"), [("C4", 0.0), ("D2", 4.0), ("O", 0.0), ("I1", 0.0), ("C7", 6.0)])
def test_a_symmetry_expanded_set_is_read(
    tmp_path: Path, group: str, jitter_deg: float, caplog: pytest.LogCaptureFixture
) -> None:
    columns = expanded(N, group, jitter_deg)
    order = len(columns[ANGLES[0]]) // N
    del columns["rlnRandomSubset"]
    particles = load(write_data_set(tmp_path, particles=columns))
    assert f"{N * order} particles of {N} images: a symmetry-expanded set" in caplog.text
    assert len(set(particles.ids.tolist())) == len(particles) == N * order
    assert particles.images.tolist() == np.repeat(particles.ids[::order], order).tolist()
    half = particles.column("half").reshape(N, order)
    assert (half == half[:, :1]).all() and sorted(half[:, 0]) == [1] * 4 + [2] * 4
    particles.write(tmp_path / "particles.parquet")
    assert Particles.read(tmp_path / "particles.parquet").images.tolist() == particles.images.tolist()


def test_copies_keep_ids_and_half_sets_through_a_selection(tmp_path: Path) -> None:
    columns = expanded(N, "C3")
    del columns["rlnRandomSubset"]
    particles = load(write_data_set(tmp_path, particles=columns), seed=8)
    keep = np.random.default_rng(0).permutation(3 * N) < 2 * N
    Source.of(particles).write(keep, {}, tmp_path / "kept.star")
    again = load(tmp_path / "kept.star", seed=9)
    assert again.ids.tolist() == particles.ids[keep].tolist()
    assert again.column("half").tolist() == particles.column("half")[keep].tolist()
    columns["rlnImageName"] = columns["rlnImageName"][::-1]
    assert load(write_data_set(tmp_path, particles=columns)).ids.tolist() != particles.ids.tolist()


def test_a_copy_that_is_left_alone_keeps_its_id(tmp_path: Path) -> None:
    columns = expanded(N, "C2") | {"rlnClassNumber": [1, 2] * N}
    star = write_data_set(tmp_path, particles=columns)
    second = load(star, choice=Choice(class_number=2))
    assert not second.has_copies and second.ids.tolist() == load(star).ids[1::2].tolist()
    Source.of(second).write(np.ones(N, dtype=bool), {}, tmp_path / "kept.star")
    assert load(tmp_path / "kept.star").ids.tolist() == second.ids.tolist()


def test_an_id_that_two_images_have_is_refused(tmp_path: Path) -> None:
    columns = particle_columns() | {"cryocoreParticleId": [5, 6, 7, 8, 9, 6, 11, 12]}
    with pytest.raises(InputError, match="row 6, column cryocoreParticleId: the id of row 2, which has another image"):
        load(write_data_set(tmp_path, particles=columns))


def test_ids_of_copies_are_distinct_and_those_of_others_stay() -> None:
    ids = np.array([7, 8, 7, 9, 7, 8], dtype=np.uint64)
    found = distinct(ids)
    assert len(set(found.tolist())) == 6 and found[[0, 1, 3]].tolist() == [7, 8, 9]
    assert distinct(found).tolist() == found.tolist()


def test_an_expanded_cs_file_is_read(tmp_path: Path) -> None:
    """cryoSPARC gives every copy a uid of its own."""
    columns = expanded(4, "C2")
    fields = cs_fields(load(write_data_set(tmp_path, particles=columns)))
    fields["sym_expand/src_uid"] = np.repeat(fields["uid"][::2], 2)
    fields["alignments3D/split"] = np.repeat(np.array([0, 1, 0, 1], dtype=np.uint32), 2)
    cs = write_fields(tmp_path / "p.cs", fields)
    particles = load(cs, root=str(tmp_path))
    assert particles.ids.tolist() == fields["uid"].tolist()
    assert particles.images.tolist() == np.repeat(fields["uid"][::2], 2).tolist()


@pytest.mark.parametrize("seed", range(3))
def test_the_same_image_with_other_poses_is_no_expansion(seed: int) -> None:
    image = np.repeat(np.arange(50), 2)
    poses = Rotation.random(100, rng=np.random.default_rng(seed))
    assert not is_expanded(image, poses.as_quat(scalar_first=True))
    poses = Rotation.concatenate([poses[:50], poses[:50] * Rotation.from_euler("Z", 180, degrees=True)])
    image = np.tile(np.arange(50), 2)
    assert not is_expanded(image, Rotation.concatenate([poses[:50], poses[:50]]).as_quat(scalar_first=True))
    matrices = poses.inv().as_matrix()
    matrices[50:] = matrices[:50] @ Rotation.from_euler("Z", 180, degrees=True).as_matrix()
    turned = Rotation.from_matrix(matrices).as_quat(scalar_first=True)
    assert is_expanded(image, turned)
    np.testing.assert_allclose(quaternion_to_matrix(turned), matrices, atol=1e-12)
    twice = np.concatenate([turned, turned[50:]])
    assert not is_expanded(np.concatenate([image, image[50:]]), twice), "one of the copies is there twice"


def test_copies_can_be_removed_or_kept(tmp_path: Path) -> None:
    columns = particle_columns() | {"rlnImageName": [f"{1 + i % 6}@a.mrcs" for i in range(N)]}
    star = write_data_set(tmp_path, particles=columns)
    with pytest.raises(InputError, match=r"row 7, .*'1@a.mrcs' is the image of row 1 already .and 1 more rows"):
        load(star)
    assert load(star, choice=Choice(copies="remove")).column("source_row").tolist() == list(range(6))
    kept = load(star, choice=Choice(copies="keep"))
    assert kept.images.tolist() == kept.ids[[0, 1, 2, 3, 4, 5, 0, 1]].tolist()


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_a_link_to_a_stack_is_the_stack(tmp_path: Path, link: Any) -> None:
    """As cryoSPARC makes them on import; pure noise would be resolved to Nyquist."""
    write_mrc(tmp_path / "a.mrcs", noise_images())
    link(tmp_path / "b.mrcs", tmp_path / "a.mrcs")
    columns = particle_columns() | {"rlnImageName": [f"{i + 1}@{s}.mrcs" for s in "ab" for i in range(4)]}
    columns["rlnRandomSubset"] = [1] * 4 + [2] * 4
    star = write_data_set(tmp_path, particles=columns)
    with pytest.raises(InputError, match=r"row 5, .*image of row 1 already .*b.mrcs and a.mrcs are the same file"):
        load(star)
    columns["rlnRandomSubset"] = [1, 2] * 4
    star = write_data_set(tmp_path, particles=columns)
    assert load(star, choice=Choice(copies="remove")).column("source_row").tolist() == [0, 1, 2, 3]


# Picked twice


def picked(**columns: Any) -> dict[str, list[Any]]:
    """Eight particles on two micrographs of 0.5 Å, in a box of 24 Å; the second and fourth are 2 Å apart."""
    places = {"rlnCoordinateX": [100.0, 300, 500, 304, 100, 300, 500, 700], "rlnCoordinateY": [100.0] * N}
    still = {"rlnOriginXAngst": [0.0] * N, "rlnOriginYAngst": [0.0] * N}
    return particle_columns() | {"rlnMicrographName": ["m"] * 4 + ["n"] * 4} | places | still | columns


OPTICS = optics_columns() | {"rlnMicrographPixelSize": [0.5], "rlnMicrographOriginalPixelSize": [0.25]}


def test_particles_picked_twice_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    star = write_data_set(tmp_path, particles=picked(), optics=OPTICS)
    load(star)
    assert "1 pairs of particles are closer than 0.1 of the image's side" in caplog.text
    assert "of 0 each half set has one" in caplog.text
    caplog.clear()
    for share in (0.0, 0.08):
        load(star, choice=Choice(duplicate_share=share))
    assert "closer" not in caplog.text
    load(write_data_set(tmp_path, particles=picked(rlnRandomSubset=[1, 1, 1, 2, 1, 2, 1, 2]), optics=OPTICS))
    assert "of 1 each half set has one" in caplog.text


def test_half_sets_that_are_made_keep_them_together(tmp_path: Path) -> None:
    columns = picked(rlnMicrographName=["m"] * N, rlnCoordinateX=[100, 300, 500, 304, 700, 900, 1100, 1300])
    del columns["rlnRandomSubset"]
    star = write_data_set(tmp_path, particles=columns, optics=OPTICS)
    for seed in range(8):
        half = load(star, seed=seed).column("half")
        assert half[1] == half[3] and abs((half == 1).sum() - 4) <= 1


@pytest.mark.parametrize(("distance", "gone"), [(1.9, []), (2.1, [3]), (105.0, [1, 3, 5, 7])])
def test_particles_can_be_removed_by_distance(tmp_path: Path, distance: float, gone: list[int]) -> None:
    star = write_data_set(tmp_path, particles=picked(), optics=OPTICS)
    found = load(star, choice=Choice(min_distance_angstrom=distance))
    assert found.column("source_row").tolist() == [i for i in range(N) if i not in gone]
    assert found.parent_rows == N


def test_the_shift_is_part_of_the_place(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Two boxes that show one particle at their sides: shifts that centre it bring both to one place."""
    at = {"rlnCoordinateX": [100.0, 300, 500, 312, 100, 300, 500, 700]}
    star = write_data_set(tmp_path, particles=picked(**at), optics=OPTICS)
    load(star)
    assert "closer" not in caplog.text
    moved = picked(**at, rlnOriginXAngst=[0, -3.0, 0, 2.5, 0, 0, 0, 0])
    assert len(load(write_data_set(tmp_path, particles=moved, optics=OPTICS))) == N
    assert "1 pairs" in caplog.text


def test_distance_leaves_copies_that_are_meant(tmp_path: Path) -> None:
    columns = expanded(4, "C2") | {"rlnMicrographName": ["m"] * 8, "rlnOriginXAngst": [0.0] * 8}
    columns |= {"rlnCoordinateX": np.repeat([10.0, 50, 90, 91], 2).tolist(), "rlnCoordinateY": [5.0] * 8}
    columns |= {"rlnOriginYAngst": [0.0] * 8}
    star = write_data_set(tmp_path, particles=columns)
    found = load(star, choice=Choice(min_distance_angstrom=3.0))
    assert found.column("source_row").tolist() == [0, 1, 2, 3, 4, 5]


def test_coordinates_that_say_nothing_are_no_fault(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    load(write_data_set(tmp_path, particles=picked(rlnCoordinateX=["nan", "none", *[5.0] * 6]), optics=OPTICS))
    columns = particle_columns()
    with pytest.raises(InputError, match="nothing says where on their micrographs the particles are"):
        load(write_data_set(tmp_path, particles=columns), choice=Choice(min_distance_angstrom=5.0))


def test_segments_of_a_filament_are_not_picked_twice(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    load(write_data_set(tmp_path, particles=picked(rlnHelicalTubeID=[1, 2, 3, 2, 1, 1, 1, 1]), optics=OPTICS))
    assert "closer" not in caplog.text


def test_close_pairs_are_those_of_a_direct_search(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    n = 400
    columns = particle_columns(n) | {"rlnMicrographName": [f"m{i}" for i in rng.integers(5, size=n)]}
    from cryocore.formats.star import read_star
    from cryocore.ingest.columns import columns_of

    tables = columns_of(read_star(write_data_set(tmp_path, particles=columns)))
    places, names = rng.uniform(0, 300, (n, 2)), np.array(columns["rlnMicrographName"])
    distance = np.full(n, 6.0)
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    expected = np.argwhere(np.triu((apart < 6.0) & (names[:, None] == names[None]), 1))
    found = close_pairs(tables, places, distance, np.arange(n))
    assert len(expected) > 20
    assert sorted(map(tuple, found.tolist())) == sorted(map(tuple, expected.tolist()))
    stays = thinned(n, found)
    assert not any(stays[a] and stays[b] for a, b in expected)
    assert all(stays[j] or any(stays[i] for i, k in expected if k == j) for j in range(n))
    crowd = np.zeros((n, 2))
    assert len(close_pairs(tables, crowd, distance, np.arange(n))) > 10_000


def test_the_pixel_size_of_micrographs_that_is_assumed_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """RELION writes that of the movies alone into extracted particles, which may be another."""
    choice = Choice(min_distance_angstrom=2.1)
    load(write_data_set(tmp_path, particles=picked(), optics=OPTICS), choice=choice)
    assert "distances on micrographs" not in caplog.text
    movie = {name: values for name, values in OPTICS.items() if name != "rlnMicrographPixelSize"}
    load(write_data_set(tmp_path, particles=picked(), optics=movie), choice=choice)
    assert "no rlnMicrographPixelSize: distances on micrographs are by that of the movies" in caplog.text
    caplog.clear()
    load(write_data_set(tmp_path, particles=picked(), optics=optics_columns()), choice=choice)
    assert "distances on micrographs are by that of the images, 1.5 Å" in caplog.text
    caplog.clear()
    load(write_data_set(tmp_path, particles=picked(), optics=movie | {"rlnMicrographOriginalPixelSize": [1.5]}))
    assert "distances on micrographs" not in caplog.text


def test_segments_of_a_filament_are_never_too_close(tmp_path: Path) -> None:
    star = write_data_set(tmp_path, particles=picked(rlnHelicalTubeID=[1] * N), optics=OPTICS)
    assert len(load(star, choice=Choice(min_distance_angstrom=105.0))) == N
