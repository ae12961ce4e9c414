"""Half sets: which are those of the file, what is never parted, and that those made here are handed on."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cryocore.errors import InputError
from cryocore.formats.roots import without_record
from cryocore.formats.source import Source
from cryocore.formats.star import read_star
from cryocore.ingest.halves import Units, joined, split
from tests.formats.samples import cs_fields, write_fields
from tests.ingest.samples import N, load, noise_images, particle_columns, write_data_set, write_mrc

HALF = "rlnRandomSubset"


def with_halves(folder: Path, half: list[Any] | None, **columns: list[Any]) -> Path:
    particles = {**particle_columns(), **columns}
    del particles[HALF]
    return write_data_set(folder, particles=particles if half is None else {**particles, HALF: half})


@pytest.mark.parametrize("half", [None, [0] * N, [1] * N, [2] * N, [0.0] * N])
def test_half_sets_that_are_not_assigned_are_made_and_handed_on(tmp_path: Path, half: list[Any] | None) -> None:
    """RELION writes 0 for "not assigned yet", and 1 throughout after a classification."""
    particles = load(with_halves(tmp_path, half), seed=4)
    made = particles.column("half")
    assert particles.halves_made and sorted(made) == [1] * 4 + [2] * 4
    keep = np.array([1, 1, 0, 1, 1, 1, 1, 0], dtype=bool)
    Source.of(particles).write(keep, {}, tmp_path / "kept.star")
    assert read_star(tmp_path / "kept.star").particles[HALF].tolist() == made[keep].tolist()
    again = load(tmp_path / "kept.star", seed=5)
    assert again.column("half").tolist() == made[keep].tolist() and not again.halves_made


def test_half_sets_of_the_file_stay_as_they_stand(tmp_path: Path) -> None:
    star = with_halves(tmp_path, [1, 1, 2, 2, 1, 2, 1, 2])
    particles = load(star)
    assert not particles.halves_made
    source = Source.of(particles)
    assert source.is_as_read
    source.write(np.ones(N, dtype=bool), {}, tmp_path / "kept.star")
    assert without_record((tmp_path / "kept.star").read_bytes()) == star.read_bytes()


def test_particles_in_no_half_set_among_others_are_refused(tmp_path: Path) -> None:
    """As ``relion_refine`` does: a set joined of two of which one was never refined."""
    star = with_halves(tmp_path, [1, 2, 1, 0, 2, 1, 0, 2])
    with pytest.raises(InputError, match=f"row 4, column {HALF}: 0 is not a half set: 2 of 8 particles are in none"):
        load(star)


@pytest.mark.parametrize("field", ["alignments3D", "alignments_class3D_0"])
@pytest.mark.parametrize("split_of_file", [None, 0])
def test_half_sets_made_of_a_cs_file_are_handed_on(tmp_path: Path, field: str, split_of_file: int | None) -> None:
    fields = cs_fields(load(write_data_set(tmp_path)))
    fields["alignments3D/split"] = np.zeros(N, dtype=np.uint32)
    if split_of_file is None:
        del fields["alignments3D/split"]
    fields = {name.replace("alignments3D/", f"{field}/"): values for name, values in fields.items()}
    cs = write_fields(tmp_path / "p.cs", fields)
    particles = load(cs, root=str(tmp_path), seed=2)
    assert particles.halves_made
    keep = np.arange(N) != 5
    Source.of(particles).write(keep, {}, tmp_path / "kept.cs")
    rows = np.load(tmp_path / "kept.cs")
    assert (rows[f"{field}/split"] + 1).tolist() == particles.column("half")[keep].tolist()
    for name in set(fields) - {f"{field}/split"}:
        np.testing.assert_array_equal(rows[name], fields[name][keep])
    again = load(tmp_path / "kept.cs", root=str(tmp_path), seed=3)
    assert again.column("half").tolist() == particles.column("half")[keep].tolist() and not again.halves_made


def test_filaments_stay_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Tubes are numbered within their micrograph; of one micrograph, they are what is divided."""
    columns = {"rlnMicrographName": ["m.mrc"] * N, "rlnHelicalTubeID": [1, 1, 2, 2, 3, 3, 4, 4]}
    with caplog.at_level(logging.INFO):
        half = load(with_halves(tmp_path, None, **columns)).column("half")
    assert "by filament: 4, 4 particles" in caplog.text
    assert half[::2].tolist() == half[1::2].tolist()
    load(with_halves(tmp_path, [1, 1, 2, 2, 1, 2, 2, 2], **columns))
    assert "1 filaments have segments in both half sets" in caplog.text
    two = {**columns, "rlnMicrographName": ["m.mrc"] * 5 + ["n.mrc"] * 3}
    caplog.clear()
    load(with_halves(tmp_path, [1, 1, 2, 2, 1, 2, 2, 2], **two))
    assert "segments in both half sets" not in caplog.text


def test_a_single_filament_is_parted_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one = {"rlnMicrographName": ["m.mrc"] * N, "rlnHelicalTubeID": [1] * N}
    assert sorted(load(with_halves(tmp_path, None, **one)).column("half")) == [1] * 4 + [2] * 4
    assert "1 filaments have segments in both half sets" in caplog.text


def test_what_must_stay_together_does_whatever_is_divided() -> None:
    rng = np.random.default_rng(1)
    ids = rng.integers(2**63, size=600, dtype=np.uint64)
    for micrograph in (np.zeros(600, dtype=np.int64), np.arange(600) // 60, rng.integers(300, size=600)):
        particle = rng.integers(200, size=600)
        half, _ = split(ids, Units(micrograph, None, particle, particle), 3)
        assert len({*zip(particle.tolist(), half.tolist(), strict=True)}) == len(set(particle.tolist()))
        assert set(half.tolist()) == {1, 2} and abs((half == 1).sum() - 300) <= 60
    assert joined(np.array([0, 1, 2]), np.array([0, 0, 1])).tolist() == [0, 0, 1]


def test_half_sets_of_copies_do_not_depend_on_the_order_of_rows() -> None:
    ids = np.random.default_rng(0).integers(2**63, size=300, dtype=np.uint64)
    image, one = np.repeat(np.arange(100), 3), np.zeros(300, dtype=np.int64)
    half, unit = split(ids, Units(one, None, image, image), 1)
    assert unit == "particle" and np.bincount(half).tolist() == [0, 150, 150]
    other, _ = split(ids[::-1], Units(one, None, image[::-1], image[::-1]), 1)
    np.testing.assert_array_equal(other[::-1], half)


def test_copies_in_both_half_sets_of_the_file_are_refused(tmp_path: Path) -> None:
    columns = particle_columns(4)
    rot = [a + turn for a in columns["rlnAngleRot"] for turn in (0.0, 120.0)]
    both = {k: [v for v in values for _ in range(2)] for k, values in columns.items()} | {"rlnAngleRot": rot}
    both[HALF] = [1, 1, 2, 2, 1, 2, 2, 2]
    with pytest.raises(InputError, match="image of row 5, in half set 1, is that of row 6, in half set 2"):
        load(write_data_set(tmp_path, particles=both))


def test_a_copied_stack_in_the_other_half_set_is_found_by_its_pixels(tmp_path: Path) -> None:
    """As a restack makes it: other names, no link, no coordinates."""
    write_mrc(tmp_path / "a.mrcs", noise_images(4))
    write_mrc(tmp_path / "b.mrcs", np.concatenate([noise_images(1, seed=9), noise_images(4)]))
    columns = particle_columns() | {"rlnImageName": [f"{1 + i // 2}@a.mrcs" for i in range(N)]}
    columns["rlnImageName"][1::2] = [f"{2 + i}@b.mrcs" for i in range(4)]
    with pytest.raises(InputError, match=r"row 1, .*image 1 of a.mrcs is image 2 of b.mrcs \(row 2\).*4 images are"):
        load(write_data_set(tmp_path, particles=columns))
    columns[HALF] = [1, 1, 2, 2] * 2
    particles = load(write_data_set(tmp_path, particles=columns))
    assert len(particles) == N
