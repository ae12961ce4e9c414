"""Which point groups half maps, and particles, are found to have."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cryocore.backend import get_backend
from cryocore.config.plant import PlantedErrors
from cryocore.examine import examine
from cryocore.examine.groups import chain, contains, cosets, maximal, next_larger, order, subgroups
from cryocore.examine.half_maps import HalfMaps, radius_of
from cryocore.examine.point_group import judge, sample
from cryocore.examine.split import Split, split_by
from cryocore.geometry.rotations import matrix_to_quaternion
from cryocore.geometry.symmetry import point_group
from cryocore.imaging.grid import FourierGrid
from cryocore.maps import soft_ball
from cryocore.tables.particles import IMAGE, Particles
from tests.phantoms import Blobs, optics, particles
from tests.score.simulated import simulated

BOX, RADIUS = 32, 11.0
CERTAIN = 5.0
"""Standard errors within which estimates have to lie; chance leaves them once in 2 million."""


def half_maps(group: str, noise: float, seed: int = 0, atoms: int = 12) -> HalfMaps:
    """Evenly sampled half maps of a molecule with a point group; ``noise`` is in the map's standard deviation."""
    rng = np.random.default_rng(seed)
    blobs = Blobs.random(atoms, 3.0, 1.3, seed=4).symmetrised(point_group(group))
    volume = blobs.map(BOX)
    halves = np.stack([volume + noise * volume.std() * rng.normal(size=volume.shape) for _ in range(2)])
    return evenly_sampled(halves)


def evenly_sampled(halves: np.ndarray) -> HalfMaps:
    grid = FourierGrid.of(BOX, 4.0, 2.0)
    coarse = FourierGrid(BOX, 4.0, BOX, grid.last_shell)
    return HalfMaps.within(halves.astype(np.float32), RADIUS, np.ones(coarse.shape, np.float32), grid)


@pytest.mark.parametrize(
    ("truth", "given", "verdict", "best"),
    [
        ("D2", "D2", "supported", "D2"),
        ("D2", "C4", "contradicted", "D2"),
        ("D2", "C2", "supported", "D2"),
        ("C4", "D4", "contradicted", "C4"),
        ("C4", "C8", "contradicted", "C4"),
        ("C4", "C3", "contradicted", "C4"),
        ("C1", "C2", "contradicted", "C1"),
        ("C1", "C1", "supported", "C1"),
        ("D3", "C1", "supported", "D3"),
        ("T", "T", "supported", "T"),
        ("O", "C4", "supported", "O"),
        ("T", "O", "contradicted", "T"),
    ],
)
def test_verdicts(truth: str, given: str, verdict: str, best: str) -> None:
    answer = judge(half_maps(truth, noise=1.0), given, 1000)
    assert (answer.verdict, answer.best) == (verdict, best), answer


def test_noise_decides_nothing() -> None:
    for seed in range(3):
        maps = half_maps("C1", 300.0, seed)
        assert {judge(maps, given, 1000).verdict for given in ("C4", "D2", "C7", "O")} == {"undecided"}


@pytest.mark.slow
@pytest.mark.parametrize("noise", [1.0, 4.0])
def test_what_is_left_under_the_right_group_is_noise(noise: float) -> None:
    """In its standard error it has mean 0 and standard deviation 1, over 50 draws of the noise."""
    errors = np.array([_rest_errors(half_maps("D4", noise, seed)) for seed in range(50)])
    assert np.all(np.abs(errors.mean(axis=0)) < CERTAIN / np.sqrt(50))
    assert np.all(np.abs(errors.std(axis=0) - 1.0) < CERTAIN / np.sqrt(2 * 50))


def _rest_errors(maps: HalfMaps) -> list[float]:
    pairs = (("C2", "C1"), ("C4", "C2"), ("D4", "C4"), ("D4", "C1"))
    return [split_by(maps, larger, smaller).rest_errors for larger, smaller in pairs]


def test_random_rotations_have_ratio_one() -> None:
    """Of many blobs without symmetry no rotation is better than any other."""
    maps = half_maps("C1", noise=0.5, atoms=200)
    assert [split_by(maps, group, "C1").ratio for group in ("T", "O")] == pytest.approx([1.0, 1.0], abs=0.1)


def test_an_axis_of_revolution_leaves_turns_about_it_undecided() -> None:
    rng = np.random.default_rng(0)
    rings = [Blobs(np.array([[0.0, 0.0, z]]), np.ones(1), 3.0) for z in (-5.0, 4.0)]
    volume = sum(ring.map(BOX) for ring in rings)
    maps = evenly_sampled(np.stack([volume + 2.0 * volume.std() * rng.normal(size=volume.shape) for _ in range(2)]))
    assert judge(maps, "C6", 1000).verdict == "undecided"


def test_split_of_nothing_is_nothing() -> None:
    even = half_maps("C1", noise=1.0)
    nothing = split_by(replace(even, density=np.zeros_like(even.density)), "C2", "C1")
    assert np.isnan(nothing.ratio) and (nothing.rest_errors, nothing.signal_errors) == (0.0, 0.0)
    assert isinstance(nothing, Split)


def test_groups_contain_each_other() -> None:
    for name in ("C6", "D4", "T", "O", "I1", "I4"):
        inside = subgroups(name)
        assert inside[0] == "C1" and inside[-1] == name and chain(name)[-1] == name
        assert all(contains(name, other) for other in inside)
        assert maximal(inside) == [name]
        assert all(contains(larger, name) and order(larger) > order(name) for larger in next_larger(name))
        for other in inside:
            many = np.einsum("hij,gjk->hgik", point_group(other), cosets(name, other)).reshape(-1, 3, 3)
            whole = point_group(name)
            assert len(many) == len(whole)
            assert np.allclose(np.einsum("aij,bij->ab", many, whole).max(axis=1), 3.0)


def test_of_copies_of_an_image_one_is_taken() -> None:
    data = particles(np.tile(np.eye(3), (12, 1, 1)), optics(32))
    images = np.repeat(data.ids[::3], 3)
    copies = replace(data, table=data.table.append_column(IMAGE, pa.array(images)))
    rows = sample(copies, seed=0)
    assert len(rows) == 4 and len(np.unique(images[rows])) == 4
    assert sample(data, seed=0).tolist() == list(range(12))


def test_half_sets_come_from_different_micrographs() -> None:
    names = np.array([f"m{i % 60:02d}.mrc" for i in range(14_000)])
    half = np.random.default_rng(0).integers(1, 3, len(names)).astype(np.int8)
    data = particles(np.tile(np.eye(3), (len(names), 1, 1)), optics(32), micrograph=names, half=half)
    rows = sample(data, seed=0)
    assert len(rows) == 5000
    assert not {*names[rows[half[rows] == 1]]} & {*names[rows[half[rows] == 2]]}


def test_what_follows_is_said() -> None:
    maps = half_maps("D2", noise=1.0)
    assert judge(maps, "D2", 1).sentence == "The particles support D2."
    assert judge(maps, "C2", 1).sentence.endswith("consider symmetry: D2 if the molecule can have it.")
    told = judge(maps, "D4", 1).sentence
    assert told.startswith("The particles contradict D4 (C4: ratio ") and "support D2. Run with symmetry: D2." in told
    without = judge(half_maps("C1", noise=1.0), "C1", 1).sentence
    assert without == "The particles support C1, which any particles do: nothing is seen for a larger group."
    noise = judge(half_maps("D2", noise=300.0), "D2", 1)
    assert noise.sentence == "The particles do not tell whether D2 holds."
    assert json.loads(json.dumps(noise.as_dict()))["verdict"] == "undecided"


def test_radius_of_a_mask() -> None:
    assert radius_of(soft_ball(32, 9.0, 3.0)) == pytest.approx(10.5, abs=0.5)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulation of a molecule without symmetry, 30 % of the poses wrong, and its first maps."""
    folder = tmp_path_factory.mktemp("examined")
    simulated(folder, PlantedErrors(wrong_pose=0.3))
    return folder


@pytest.mark.parametrize(("symmetry", "verdict"), [("C1", "supported"), ("C4", "contradicted"), ("D2", "contradicted")])
def test_stage(run: Path, symmetry: str, verdict: str) -> None:
    out = run / f"{symmetry}.json"
    backend = get_backend("cpu")
    examine(run / "particles.parquet", run / "round", symmetry=symmetry, seed=0, backend=backend, out=out)
    answer = json.loads(out.read_text())["point_group"]
    assert (answer["verdict"], answer["best"], answer["n_particles"]) == (verdict, "C1", 800)
    if verdict == "contradicted":
        assert answer["sentence"].endswith("Run with symmetry: C1.")
        worst = next(c for c in answer["candidates"] if c["group"] == symmetry)
        assert worst["ratio"] - 3 * worst["error"] > 0.5


def test_views_in_one_asymmetric_unit_contradict_nothing(tmp_path: Path) -> None:
    """Programs put poses into one asymmetric unit: most of Fourier space is then known on one side only."""
    simulated(tmp_path, PlantedErrors(), molecule="channel", orientations="preferred")
    data = Particles.read(tmp_path / "particles.parquet")
    mates = np.einsum("nij,gjk->ngik", data.rotations, point_group("C4"))
    unit = mates[np.arange(len(data)), np.argmax(mates[:, :, 2] @ [0.8, 0.3, 0.4], axis=1)]
    table = data.table
    for i, name in enumerate(("quat_w", "quat_x", "quat_y", "quat_z")):
        at = table.column_names.index(name)
        values = pa.array(matrix_to_quaternion(unit)[:, i]).cast(table.schema.field(at).type)
        table = table.set_column(at, table.schema.field(at), values)
    maps = HalfMaps.of(replace(data, table=table), 70.0, get_backend("cpu"))
    assert judge(maps, "C4", len(data)).verdict == "supported"
    assert judge(maps, "D4", len(data)).best == "C4"
