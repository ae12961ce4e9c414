"""Particles that are there twice: found by their noise, whatever its colour, and nothing found where there are none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cryocore.backend import get_backend
from cryocore.config.plant import PlantedErrors
from cryocore.config.reconstruct import Reconstruct
from cryocore.config.simulate import Simulate
from cryocore.convert.apply import apply_selection
from cryocore.examine import examine
from cryocore.examine.duplicates import (
    WITHIN_DEG,
    Compared,
    Duplicates,
    candidates,
    compare,
    find_duplicates,
    interval,
    least_height,
    members,
    peaks,
    phases,
)
from cryocore.examine.point_group import examine_point_group
from cryocore.formats.stacks import read_images
from cryocore.geometry.rotations import (
    angular_distance_deg,
    matrix_to_quaternion,
    quaternion_to_matrix,
    random_rotations,
    rotations_by_angle,
)
from cryocore.geometry.symmetry import point_group
from cryocore.ingest.particles import ingest
from cryocore.maps.mrc import write_stack
from cryocore.reconstruct import reconstruct
from cryocore.simulate.stage import noise_spectrum, simulate
from cryocore.tables.particles import Particles
from cryocore.types import Floats, Floats32, Ints
from tests.phantoms import optics, particles

BACKGROUND = Path(__file__).parents[2] / "../shared/data/noise/betagal_background12_384.mrcs"
PIXEL = 2.2
DATA = {"n_particles": 600, "n_micrographs": 6, "box": 48, "pixel_size_angstrom": PIXEL, "molecule": "small"}
SEVEN_PIXELS = (7 * PIXEL, 7 * PIXEL)


def simulated(folder: Path, share: float, *, seed: int = 1, symmetry: str = "C1", **changes: object) -> Particles:
    plant = PlantedErrors(duplicate=share, duplicate_angstrom=SEVEN_PIXELS)
    settings = Simulate.model_validate({**DATA, **changes})
    simulate(settings, plant, symmetry=symmetry, seed=seed, out_dir=folder, backend=get_backend("cpu"))
    return ingest(folder / "particles.star", root=None, pixel_size_angstrom=None, seed=0)


def planted(folder: Path, data: Particles) -> set[tuple[int, int]]:
    """The ids of the pairs, as they stand in the file."""
    of = pq.read_table(folder / "truth.parquet").column("duplicate_of").to_pylist()
    place = {int(i): row for row, i in enumerate(data.ids)}
    pairs = [(int(i), int(o)) for i, o in zip(data.ids, of, strict=True) if o is not None]
    return {(a, b) if place[a] < place[b] else (b, a) for a, b in pairs}


def coloured(shape: tuple[int, ...], rng: np.random.Generator, kind: str = "coloured") -> Floats32:
    n = shape[-1]
    return np.fft.irfft2(np.fft.rfft2(rng.standard_normal(shape)) * noise_spectrum(kind, n), s=(n, n)).astype("f4")


def in_memory(images: Floats32, micrograph: Ints, shifts: Floats | None = None) -> Particles:
    """Particles of one pose."""
    n, zero = len(images), np.zeros((len(images), 2))
    x, y = (PIXEL * (zero if shifts is None else shifts)).T
    names = np.array([f"m{m}" for m in micrograph])
    return particles(
        np.tile(np.eye(3), (n, 1, 1)),
        optics(images.shape[-1], PIXEL),
        micrograph=names,
        shift_x_angstrom=x,
        shift_y_angstrom=y,
    )


def all_pairs(micrograph: Ints) -> Ints:
    i, j = np.triu_indices(len(micrograph), 1)
    return np.stack([i, j], axis=1)[micrograph[i] == micrograph[j]]


def compared(images: Floats32, micrograph: Ints, pairs: Ints | None = None, shifts: Floats | None = None) -> Compared:
    data = in_memory(images, micrograph, shifts)
    return compare(data, all_pairs(micrograph) if pairs is None else pairs, micrograph, lambda rows: images[rows])


@pytest.mark.parametrize(
    ("snr", "noise", "orientations"),
    [(0.1, "white", "single"), (0.01, "coloured", "preferred"), (0.5, "coloured", "single")],
)
def test_planted_duplicates_are_found_and_no_other_pair(
    tmp_path: Path, snr: float, noise: str, orientations: str
) -> None:
    data = simulated(tmp_path, 0.15, snr=snr, noise=noise, orientations=orientations)
    found = find_duplicates(data, "C1", seed=0)
    wanted = planted(tmp_path, data)
    assert {*zip(found.first.tolist(), found.second.tolist(), strict=True)} == wanted and len(wanted) == 90
    assert found.noticed and found.complete and found.n_overlapping == 0
    assert found.share == pytest.approx(0.15) and found.low <= 0.15 <= found.high
    assert np.median(found.distance_pixels) == pytest.approx(7.0, abs=0.3)
    assert np.median(found.distance_angstrom) == pytest.approx(7.0 * PIXEL, abs=0.3 * PIXEL)
    half = dict(zip(data.ids.tolist(), data.column("half").tolist(), strict=True))
    across = np.mean([half[a] != half[b] for a, b in wanted])
    assert found.across_share == pytest.approx(across) and found.noise_fsc == pytest.approx(0.3 * across)
    assert "15.0 % of the particles" in found.sentence and "one in each half set" in found.sentence
    table = found.table(data.ids)
    assert pa.compute.sum(table.column("selected")).as_py() == 510
    left_out = table.filter(table.column("duplicate_of").is_valid()).to_pydict()
    assert {*zip(left_out["duplicate_of"], left_out["particle_id"], strict=True)} == wanted
    assert not any(left_out["selected"]) and table.column("particle_id").to_pylist() == data.ids.tolist()
    assert found.as_dict()["examples"][0]["micrograph"].startswith("micrograph_")


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_found_among_particles_that_are_there_once(tmp_path: Path, seed: int) -> None:
    """All of one view, bright and in small boxes: the signal agrees, the noise does not."""
    changes = {"box": 32, "pixel_size_angstrom": 3.3, "snr": 0.5, "orientations": "single", "n_micrographs": 2}
    found = find_duplicates(simulated(tmp_path, 0.0, seed=seed, n_particles=1000, **changes), "C1", seed=0)
    assert found.n_compared > 100 and len(found.first) == 0 and not found.noticed
    assert (found.share, found.low, found.across_share, found.noise_fsc) == (0.0, 0.0, None, 0.0)
    assert found.sentence == f"No duplicates among {found.n_compared:,} pairs of particles with nearly equal poses."


def test_crops_of_real_background_that_do_not_overlap_share_nothing() -> None:
    if not BACKGROUND.exists():
        pytest.skip("no images of real background")
    patches, box = np.asarray(read_images(BACKGROUND), dtype=np.float32), 64
    crops = [p[y : y + box, x : x + box] for p in patches for y in range(0, 384, box) for x in range(0, 384, box)]
    found = compared(np.stack(crops), np.repeat(np.arange(len(patches)), 36))
    assert len(found.pairs) == 12 * 630
    assert found.noise_is_shared.mean() < 1e-3


def test_crops_of_real_background_that_overlap_are_noticed() -> None:
    if not BACKGROUND.exists():
        pytest.skip("no images of real background")
    patches = np.asarray(read_images(BACKGROUND), dtype=np.float32)
    images = np.concatenate([patches[:, 100:164, 100:164], patches[:, 107:171, 97:161]])
    found = compared(images, np.tile(np.arange(12), 2))
    assert found.noise_is_shared.all()
    np.testing.assert_array_equal(found.offset_pixels, np.tile([-3.0, 7.0], (12, 1)))


@pytest.mark.parametrize(("x", "y"), [(32, 0), (-40, 5), (20, -24)])
def test_one_particle_in_two_boxes_far_apart(x: int, y: int) -> None:
    """One is off its box's centre by half of it and more, and its shift says so."""
    canvas = coloured((20, 160, 160), np.random.default_rng(7))
    images = np.concatenate([canvas[:, 48:112, 48:112], canvas[:, 48 + y : 112 + y, 48 + x : 112 + x]])
    shifts = np.repeat([[0.0, 0.0], [x + 0.3, y - 0.4]], 20, axis=0)
    found = compared(images, np.tile(np.arange(20), 2), shifts=shifts)
    assert found.is_duplicate.mean() >= 0.9
    np.testing.assert_allclose(found.offset_pixels[found.is_duplicate], [[x, y]] * found.is_duplicate.sum(), atol=1e-6)


@pytest.mark.parametrize("kind", ["gradient", "lattice", "edge of a mask", "fixed pattern"])
def test_what_images_of_a_micrograph_have_in_common_is_no_shared_noise(kind: str) -> None:
    rng, n = np.random.default_rng(0), 64
    micrograph = np.repeat(np.arange(10), 12)
    images = coloured((120, n, n), rng)
    y, x = np.mgrid[:n, :n]
    if kind == "gradient":  # ten times the noise, in the direction of its micrograph
        angle = rng.uniform(0, 2 * np.pi, 10)[micrograph, None, None]
        images += (np.cos(angle) * x + np.sin(angle) * y).astype(np.float32) / 2
    elif kind == "lattice":  # three waves of the noise's own variance, as of a crystal, each box at some place on it
        for k in rng.uniform(0.3, 0.4, (3, 2)) * [1, -1]:
            images += np.sqrt(2.0) * np.cos(2 * np.pi * (k[0] * x + k[1] * y) + rng.uniform(0, 6, (120, 1, 1)))
    elif kind == "edge of a mask":
        images[:, np.hypot(x - n / 2, y - n / 2) > 28] = 1.0
    else:
        images += rng.standard_normal((n, n)).astype(np.float32)
    found = compared(images, micrograph)
    assert len(found.pairs) == 660 and found.noise_is_shared.mean() < 0.003


def test_boxes_between_pixels_and_poses_that_differ_are_found(tmp_path: Path) -> None:
    """A picture that was cut half a pixel beside, along both axes, and refined again."""
    rng, n = np.random.default_rng(1), 64
    pictures = coloured((40, n, n), rng)
    ramp = np.exp(-2j * np.pi * 4.5 * (np.fft.fftfreq(n)[:, None] + np.fft.rfftfreq(n)))
    images = np.concatenate([pictures, np.fft.irfft2(np.fft.rfft2(pictures) * ramp, s=(n, n)).astype(np.float32)])
    shifts = np.concatenate([np.zeros((40, 2)), np.tile([-4.5, -4.5], (40, 1))])
    found = compared(images, np.tile(np.arange(40), 2), shifts=shifts)
    assert found.is_duplicate.all() and found.apart_pixels.max() < 1.0
    poses = random_rotations(40, rng)
    again = rotations_by_angle(rng.normal(size=(40, 3)), rng.uniform(0, 4, 40)) @ poses
    quaternions = matrix_to_quaternion(np.concatenate([poses, again]))
    pairs = candidates(np.tile(np.arange(40), 2), quaternions, point_group("C1"), ids(80), seed=0)
    assert {*map(tuple, pairs.pairs.tolist())} == {(i, i + 40) for i in range(40)}


@pytest.mark.parametrize(("step", "is_found"), [(6, True), (32, True), (56, False)])
def test_overlapping_boxes_of_two_particles_are_told_from_one(step: int, is_found: bool) -> None:
    """Both centred: they share noise where the boxes overlap, and their maps do not."""
    rng, n = np.random.default_rng(2), 64
    canvas = coloured((30, 128, 128), rng)
    images = np.concatenate([canvas[:, :n, :n], canvas[:, :n, step : step + n]])
    found = compared(images, np.tile(np.arange(30), 2))
    assert found.noise_is_shared.mean() == pytest.approx(float(is_found), abs=0.1)
    assert not found.is_duplicate.any()
    if is_found:
        assert found.apart_pixels[found.noise_is_shared].tolist() == pytest.approx([step] * 30, abs=1e-6)


def test_threshold() -> None:
    """Peaks of unrelated images stay below it as often as it says, and it follows what all images have in common."""
    rng = np.random.default_rng(3)
    for n in (24, 32):
        first, second = (phases(rng.standard_normal((4000, n, n)).astype(np.float32)) for _ in range(2))
        height, _ = peaks(first, second, n)
        assert np.mean(height > least_height(n, np.zeros(0))) < 2.5e-3
        assert np.mean(height > least_height(n, height[:500])) < 2.5e-3
    assert least_height(128, np.zeros(100)) == 0.15
    assert least_height(128, np.full(100, 0.4)) == pytest.approx(0.52)


def test_images_without_high_frequencies_are_not_compared() -> None:
    rng, n = np.random.default_rng(4), 64
    blurred = np.fft.rfft2(rng.standard_normal((2, n, n)))
    blurred[:, np.hypot(np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)) > 0.2] = 0.0
    images = np.fft.irfft2(blurred, s=(n, n))[[0, 0, 1]] + 1e-6 * rng.standard_normal((3, n, n))
    for some in (images.astype(np.float32), np.zeros((3, n, n), np.float32)):
        found = compared(some, np.zeros(3, dtype=np.int64))
        assert np.isnan(found.shared).all() and not found.noise_is_shared.any()


def test_pairs_that_cannot_be_compared_are_not_called_different(tmp_path: Path) -> None:
    data = simulated(tmp_path, 0.15, n_particles=100, n_micrographs=1, orientations="single")
    write_stack(tmp_path / "particles.mrcs", [np.zeros((100, 48, 48), np.float32)], PIXEL)
    found = find_duplicates(data, "C1", seed=0)
    assert found.n_candidates > 0 and (found.n_compared, found.complete, found.noticed) == (0, False, False)
    assert found.sentence.startswith(f"Duplicates are not told: the images of {found.n_candidates:,} pairs")


def ids(n: int) -> np.ndarray:
    return np.arange(n, dtype=np.uint64)


@pytest.mark.parametrize("symmetry", ["C1", "C4", "D7", "O"])
def test_candidates_are_the_close_pairs_of_a_micrograph(symmetry: str) -> None:
    rng, group = np.random.default_rng(5), point_group(symmetry)
    near = rotations_by_angle(rng.normal(size=(150, 3)), rng.uniform(0, 12, 150))
    base = random_rotations(150, rng)
    rotations = np.concatenate([base, near @ base @ group[rng.integers(len(group), size=150)]])
    member = np.tile(rng.integers(3, size=150), 2)
    found = candidates(member, matrix_to_quaternion(rotations), group, ids(300), seed=0)
    angle = angular_distance_deg(rotations[:, None], rotations[None], group)
    wanted = np.triu((angle < WITHIN_DEG) & (member[:, None] == member), 1)
    assert found.n_searched == 300 and wanted.sum() > 40
    assert {*map(tuple, found.pairs.tolist())} == {*zip(*np.nonzero(wanted), strict=True)}
    assert len(found.pairs) == wanted.sum()
    np.testing.assert_allclose(found.angle_deg, angle[tuple(found.pairs.T)], atol=1e-4)


def test_no_pairs_are_no_duplicates() -> None:
    data = in_memory(np.zeros((3, 32, 32), np.float32), np.arange(3))
    found = find_duplicates(data, "C1", seed=0)
    assert (found.n_candidates, found.share, found.noticed) == (0, 0.0, False)
    assert found.sentence == "No duplicates: no two particles of a micrograph have nearly equal poses."
    assert (
        found.as_dict()["distance_pixels"] is None
        and found.table(data.ids).column("selected").to_pylist() == [True] * 3
    )


def test_copies_of_an_image_are_no_pair() -> None:
    same = np.tile([1.0, 0.0, 0.0, 0.0], (4, 1))
    images = np.array([7, 7, 8, 8], dtype=np.uint64)
    found = candidates(np.zeros(4, dtype=np.int64), same, point_group("C1"), images, seed=0)
    assert {*map(tuple, found.pairs.tolist())} == {(0, 2), (0, 3), (1, 2), (1, 3)}


def test_half_turns_are_close_whatever_their_sign() -> None:
    close = quaternion_to_matrix([[1e-3, 1.0, 0.0, 0.0], [-1e-3, 1.0, 0.0, 0.0]])
    quaternions = matrix_to_quaternion(close)
    assert quaternions[0] @ quaternions[1] < 0
    found = candidates(np.zeros(2, dtype=np.int64), quaternions, point_group("C1"), ids(2), seed=0)
    assert found.pairs.tolist() == [[0, 1]] and found.angle_deg[0] == pytest.approx(np.rad2deg(4e-3), rel=1e-3)


def test_the_search_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cryocore.examine.duplicates.MOST_FOUND", 1000)
    monkeypatch.setattr("cryocore.examine.duplicates.CHUNK", 50)
    member, one = np.repeat(np.arange(100), 20), np.tile([1.0, 0.0, 0.0, 0.0], (2000, 1))
    found = candidates(member, one, point_group("C1"), ids(2000), seed=0)
    assert 1000 <= len(found.pairs) < 1700 and len(found.pairs) == found.n_searched / 20 * 190
    monkeypatch.setattr("cryocore.examine.duplicates.MOST_FOUND", 10**6)
    monkeypatch.setattr("cryocore.examine.duplicates.MOST_SEARCHED", 400)
    assert candidates(member, one, point_group("C1"), ids(2000), seed=0).n_searched in (400, 420, 440)
    assert candidates(member, one, point_group("C4"), ids(2000), seed=0).n_searched < 200


def test_a_sample_of_the_pairs_estimates_the_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = simulated(tmp_path, 0.15, orientations="single", n_particles=1500, snr=0.1)
    whole = find_duplicates(data, "C1", seed=0)
    monkeypatch.setattr("cryocore.examine.duplicates.MOST_COMPARED", 120)
    found = [find_duplicates(data, "C1", seed=seed) for seed in range(10)]
    assert whole.complete is True and all(f.complete is False for f in found)  # as JSON has them
    assert np.mean([f.share for f in found]) == pytest.approx(0.15, abs=0.02)
    assert all(f.low < 0.15 < f.high for f in found)


def test_sets_of_particles() -> None:
    eye = np.tile(np.eye(3), (5000, 1, 1))
    one = particles(eye, optics(32), micrograph=np.full(5000, ""))
    np.testing.assert_array_equal(members(one), np.arange(5000) // 2000)
    stack = np.array([f"s{i % 3}" for i in range(5000)])
    by_stack = members(particles(eye, optics(32), micrograph=np.full(5000, ""), stack=stack))
    np.testing.assert_array_equal(by_stack, np.arange(5000) % 3)
    group = np.arange(5000) // 2 % 2
    both = particles(eye, optics(32), micrograph=stack, optics_group=group)
    found = members(replace(both, optics=both.optics * 2))
    assert len({*zip(found, stack, group, strict=True)}) == found.max() + 1 == 6


def test_interval_covers_the_rate() -> None:
    rng = np.random.default_rng(6)
    bounds = [interval(int(k), 200) for k in rng.binomial(200, 0.05, 2000)]
    assert 0.95 <= np.mean([low <= 0.05 <= high for low, high in bounds]) < 0.99
    assert interval(0, 0) == (0.0, 0.0) and interval(3, 3)[1] == 1.0


def test_a_few_pairs_are_no_warning() -> None:
    none = np.zeros(0)
    some = Duplicates(
        none, none, (), none, none, 0, 0, 0, 0, 0, share=0.5, low=0.0, high=1.0, across_share=None, complete=True
    )
    assert not some.noticed
    three = replace(some, first=ids(3), share=0.02)
    named = three.warning(Path("results/a/duplicates.parquet"), "my data/run.v2.star")
    assert named and "duplicates.parquet 'my data/run.v2.star' run.v2_unique.star and" in named
    assert three.noticed and not replace(three, share=0.009).noticed


def test_the_stage_writes_a_selection_without_them(tmp_path: Path) -> None:
    data = simulated(tmp_path, 0.15, snr=0.1)
    backend, file = get_backend("cpu"), tmp_path / "particles.parquet"
    data.write(file)
    common = {"symmetry": "C1", "backend": backend}
    reconstruct(file, None, None, settings=Reconstruct(), out_dir=tmp_path / "round_0", **common)
    examine(file, tmp_path / "round_0", seed=0, out=tmp_path / "examine.json", **common)
    answer = json.loads((tmp_path / "examine.json").read_text())["duplicates"]
    assert answer["noticed"] and answer["n_found"] == 90 and answer["complete"]
    star = tmp_path / "particles.star"
    assert f"transfer-selection {tmp_path}/duplicates.parquet {star} particles_unique.star and" in answer["warning"]
    done = apply_selection(tmp_path / "duplicates.parquet", star, tmp_path / "particles_unique.star")
    assert (done.n_selected, done.n_parent) == (510, 600)
    left = ingest(tmp_path / "particles_unique.star", root=None, pixel_size_angstrom=None, seed=0)
    after = find_duplicates(left, "C1", seed=0)
    assert after.n_compared > 0 and not len(after.first) and after.warning(file, str(star)) is None


def test_duplicates_do_not_speak_against_the_point_group(tmp_path: Path) -> None:
    """Noise that both half sets have is the same under no rotation."""
    data = simulated(
        tmp_path, 0.3, symmetry="C4", molecule="channel", pixel_size_angstrom=3.0, snr=0.02, n_particles=400
    )
    backend, file = get_backend("cpu"), tmp_path / "particles.parquet"
    data.write(file)
    common = {"symmetry": "C4", "backend": backend}
    reconstruct(file, None, None, settings=Reconstruct(), out_dir=tmp_path / "round_0", **common)
    examine(file, tmp_path / "round_0", seed=0, out=tmp_path / "examine.json", **common)
    answer = json.loads((tmp_path / "examine.json").read_text())
    assert answer["duplicates"]["noticed"] and answer["point_group"]["n_particles"] == 280
    assert answer["point_group"]["verdict"] == "supported"
    assert examine_point_group(data, tmp_path / "round_0" / "mask.mrc", "C4", seed=0, backend=backend).verdict == (
        "contradicted"
    )
