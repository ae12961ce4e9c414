"""The B-factor that a simulation planted, from its images."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from cryocore.backend import get_backend
from cryocore.commands.app import app
from cryocore.config.plant import PlantedErrors
from cryocore.config.simulate import Simulate
from cryocore.errors import InputError
from cryocore.explore.reslog import fit_bfactor, measure, reslog
from cryocore.explore.reslog.figures import reslog_figure
from cryocore.explore.reslog.measure import AT_OTHERS, _ranks, at_poses_of_others, sizes_for
from cryocore.formats.stacks import StackReader
from cryocore.ingest.cache import cache
from cryocore.ingest.particles import ingest
from cryocore.maps.masks import automatic_mask
from cryocore.maps.mrc import write_map
from cryocore.simulate.stage import simulate, true_map
from cryocore.tables.io import read_table, write_table
from cryocore.tables.particles import Particles

N, PLANTED, PIXEL = 2400, 150.0, 1.8
CPU = get_backend("cpu", threads=1)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run whose last round keeps a random half."""
    folder = tmp_path_factory.mktemp("reslog")
    settings = Simulate(
        molecule="small",
        bfactor_angstrom2=PLANTED,
        n_particles=N,
        box=64,
        pixel_size_angstrom=PIXEL,
        snr=0.06,
        orientations="uniform",
    )
    simulate(settings, PlantedErrors(), symmetry="C1", seed=3, out_dir=folder / "images", backend=CPU)
    data = ingest(folder / "images" / "particles.star", root=str(folder / "images"), pixel_size_angstrom=None, seed=0)
    data.write(folder / "particles.parquet")
    mask = automatic_mask(true_map(settings), PIXEL)
    for number, weights in enumerate((np.ones(N), np.random.default_rng(1).permutation(np.arange(N) % 2))):
        write_map(folder / f"round_{number}" / "mask.mrc", mask, PIXEL)
        np.savez(folder / f"round_{number}" / "sampling.npz", padding=np.float64(2.0), last_shell=31)
        table = pa.table(
            {"particle_id": data.ids, "half": data.column("half"), "weight": np.asarray(weights, dtype=np.float32)}
        )
        write_table(folder / "log" / f"round={number}" / "log.parquet", table, symmetry="C1")
    return folder


@pytest.mark.slow
def test_the_planted_bfactor_is_found(run):
    """Of all particles and of a random half: both within 20 % and three standard errors."""
    found = reslog(run, CPU)
    assert [s.name for s in found] == ["all particles", "round 1"]
    for series in found:
        error = series.bfactor_sd_angstrom2
        assert series.fit.bfactor_angstrom2 == pytest.approx(PLANTED, abs=max(3 * error, 0.2 * PLANTED))
        assert error < 0.2 * PLANTED
        assert series.fit.plain_bfactor_angstrom2 > series.fit.bfactor_angstrom2
    whole = found[0]
    assert max(p.n_particles for p in whole.points) == N
    resolutions = [p.smooth_resolution_angstrom for p in whole.points if p.repeat == 0]
    assert resolutions == sorted(resolutions, reverse=True)
    # the line of the half predicts what all particles reach
    assert found[1].fit.resolution_at(N) == pytest.approx(resolutions[-1], rel=0.06)
    assert reslog_figure(found).axes


def test_the_verb_answers_in_json(run, tmp_path):
    command = ["reslog", str(run), "--round", "0", "--sizes", "300,600,1200", "--backend", "cpu", "--json"]
    result = CliRunner().invoke(app, [*command, "--plot", str(tmp_path / "r.png")])
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    assert [p["n_particles"] for p in values[0]["points"]] == [300, 600, 1200]
    assert os.path.getsize(tmp_path / "r.png") > 5000


def test_noise_and_shape_reach_less_than_the_particles(run):
    found = {s.name: s for s in reslog(run, CPU, number="0", sizes=[800, 2400], bound=True)}
    whole, bound = found["all particles"], found[AT_OTHERS]
    assert bound.bound and bound.fit is None and not whole.bound
    best = min(p.smooth_resolution_angstrom for p in bound.points)
    assert best > 2 * min(p.smooth_resolution_angstrom for p in whole.points)
    assert f"Noise and overall shape reach {best:.2f} Å" in bound.text and bound.as_dict()["bound"]
    assert reslog_figure([*found.values()]).axes


def test_orientations_are_dealt_out_within_half_sets(run):
    data = Particles.read(run / "particles.parquet")
    found, half = at_poses_of_others(data, seed=0), data.column("half")
    for h in (1, 2):
        before, after = (np.sort(d.column("quat_x")[half == h]) for d in (data, found))
        np.testing.assert_array_equal(before, after)
    assert np.mean(found.column("quat_x") == data.column("quat_x")) < 0.01
    np.testing.assert_array_equal(found.ids, data.ids)


def test_the_cache_is_read_where_the_run_keeps_one(run, tmp_path, monkeypatch):
    kept = tmp_path / "run"
    shutil.copytree(run, kept, ignore=shutil.ignore_patterns("images"))
    transforms = kept / "cache" / "transforms.npz"
    cache(kept / "particles.parquet", max_resolution_angstrom=None, backend=CPU, out=transforms)
    images = reslog(run, CPU, number="0", sizes=[400, 800])[0].points

    def unread(*_: object) -> None:
        raise AssertionError("a stack is read")

    monkeypatch.setattr(StackReader, "_images", unread)
    cached = reslog(kept, CPU, number="0", sizes=[400, 800])[0].points
    for one, other in zip(images, cached, strict=True):
        assert other.smooth_resolution_angstrom == pytest.approx(one.smooth_resolution_angstrom, rel=0.01)


def test_nested_subsets_take_evenly_of_both_half_sets():
    rng = np.random.default_rng(0)
    half = rng.integers(1, 3, 1001).astype(np.int8)
    members = rng.random(1001) < 0.7
    rank = _ranks(members, half, (0, 0))
    assert sorted(rank) == list(range(1001))
    assert set(np.flatnonzero(members)) == set(np.flatnonzero(rank < members.sum()))
    share = np.mean(half[members] == 1)
    for size in (50, 200, 400):
        assert np.count_nonzero(half[rank < size] == 1) == pytest.approx(share * size, abs=1.5)
    assert not np.array_equal(rank, _ranks(members, half, (0, 1)))
    assert np.array_equal(rank, _ranks(members, half, (0, 0)))


def test_a_line_with_errors_is_found_within_them():
    rng, n = np.random.default_rng(2), np.geomspace(500, 60_000, 8)
    exact = fit_bfactor(*_law(n, 100.0))
    assert exact.bfactor_angstrom2 == pytest.approx(100.0, rel=1e-3)
    d = _law(n, 100.0)[1]
    found = [fit_bfactor(n, d * np.exp(0.02 * rng.normal(size=8))) for _ in range(100)]
    inside = [abs(f.bfactor_angstrom2 - 100.0) < 2 * f.bfactor_sd_angstrom2 for f in found]
    assert 0.8 < np.mean(inside) <= 1.0


def _law(n: np.ndarray, bfactor: float) -> tuple[np.ndarray, np.ndarray]:
    d = np.linspace(30.0, 1.5, 20_000)
    needed = np.log(50.0 / d) + bfactor / (2 * d**2)
    return n, np.interp(np.log(n), needed, d)


def test_sizes_beyond_the_data_are_refused():
    assert sizes_for(1000, [500, 5000, 200]) == [200, 500]
    with pytest.raises(InputError, match="no size"):
        sizes_for(100, [5000])


def test_the_rounds_particles_have_the_bfactors_of_its_map(run, tmp_path, monkeypatch):
    kept, used = tmp_path / "run", []
    shutil.copytree(run, kept, ignore=shutil.ignore_patterns("images"))
    file = kept / "log" / "round=0" / "log.parquet"
    bfactor = np.linspace(-40.0, 90.0, N).astype(np.float32)
    table = read_table(file).append_column("quality_bfactor_angstrom2", pa.array(bfactor))
    write_table(file, table, symmetry="C1")
    plain = measure.accumulate

    def recorded(data, *given, **named):
        used.append(data.column("ctf_bfactor"))
        return plain(data, *given, **named)

    monkeypatch.setattr(measure, "accumulate", recorded)
    found = reslog(kept, CPU, number="0", sizes=[400])
    assert [s.name for s in found] == ["all particles", "round 0"]
    assert not used[0].any() and np.array_equal(used[1], bfactor)
    smooth = [s.points[0].smooth_resolution_angstrom for s in found]
    assert smooth[0] != smooth[1]
