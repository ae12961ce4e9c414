"""Maps by iteration: against the normal equations, against the truth, and after interruptions."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

torch = pytest.importorskip("torch")

from cryocore.backend import get_backend  # noqa: E402
from cryocore.config.plant import PlantedErrors  # noqa: E402
from cryocore.config.reconstruct import Reconstruct  # noqa: E402
from cryocore.config.simulate import Simulate  # noqa: E402
from cryocore.config.solve import Iterative, Solve  # noqa: E402
from cryocore.cores import available_cores  # noqa: E402
from cryocore.errors import InputError  # noqa: E402
from cryocore.formats.stacks import StackReader  # noqa: E402
from cryocore.geometry.symmetry import point_group  # noqa: E402
from cryocore.imaging.grid import FourierGrid  # noqa: E402
from cryocore.ingest.particles import read_particles  # noqa: E402
from cryocore.maps.fsc import fsc  # noqa: E402
from cryocore.maps.mrc import read_map  # noqa: E402
from cryocore.reconstruct import reconstruct  # noqa: E402
from cryocore.reconstruct.iterative import Ranks, solve, stage, started_ranks  # noqa: E402
from cryocore.reconstruct.iterative.operators import grids_of  # noqa: E402
from cryocore.reconstruct.iterative.optimise import (  # noqa: E402
    Epoch,
    State,
    finished,
    make_optimiser,
    make_schedule,
    run_epoch,
    steps,
)
from cryocore.reconstruct.iterative.sweep import Ledger, Problem, sweep  # noqa: E402
from cryocore.reconstruct.iterative.symmetry import SymmetryOperators  # noqa: E402
from cryocore.simulate.stage import simulate  # noqa: E402
from cryocore.tables.io import write_table  # noqa: E402
from cryocore.tables.particles import QUALITY, Particles, read_quality, read_reasons  # noqa: E402
from cryocore.training import checkpoint  # noqa: E402
from tests.boards import recorded  # noqa: E402
from tests.phantoms import BACKENDS, Blobs  # noqa: E402
from tests.reconstruct.test_reconstruct import data_set  # noqa: E402

BOX, N = 24, 240
SIMULATION = {
    "molecule": "small",
    "n_particles": 300,
    "box": 32,
    "pixel_size_angstrom": 6.0,
    "snr": 0.3,
    "orientations": "uniform",
    "bfactor_angstrom2": 100.0,
}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with 30 % wrong poses."""
    folder = tmp_path_factory.mktemp("simulated")
    how = {"symmetry": "C1", "seed": 3, "out_dir": folder, "backend": get_backend("cpu")}
    simulate(Simulate.model_validate(SIMULATION), PlantedErrors(wrong_pose=0.3), **how)
    data = read_particles(folder / "particles.star", root=None, pixel_size_angstrom=None, seed=0)
    data.write(folder / "particles.parquet")
    return folder


def solved(
    folder: Path,
    out: Path,
    *,
    symmetry: str = "C1",
    ranks: Ranks | None = None,
    subset: Path | None = None,
    backend: str = "cpu",
    **settings: Any,
) -> Path:
    """Half maps of a data set in ``out``."""
    how = Solve(method="iterative", iterative=Iterative.model_validate(settings))
    ranks = ranks or Ranks()
    given = {"settings": how, "symmetry": symmetry, "seed": 0, "backend": get_backend(backend), "ranks": ranks}
    solve(folder / "particles.parquet", subset, None, **given, out_dir=out)
    return out


def half_maps(folder: Path) -> np.ndarray:
    return np.stack([read_map(folder / f"half{h}.mrc")[0] for h in (1, 2)])


def fit_of(data: Particles, symmetry: str = "C1", **settings: Any) -> stage.Fit:
    """What is minimised, in memory."""
    optics, weights = data.reference_optics, np.ones(len(data), dtype=np.float32)
    grid = FourierGrid.of(optics.box, optics.pixel_size_angstrom, 2.0)
    problem = Problem(data, weights, grid, symmetry, get_backend("cpu"), StackReader)
    return stage.set_up(problem, stage.direct(problem, None, Ranks(), Path()), Iterative.model_validate(settings), 0)


def gradient(fit: stage.Fit, maps: torch.Tensor) -> np.ndarray:
    """Aᵀ (A x - y) of half maps, with all weights 1, in units of the noise."""
    rows = np.arange(len(fit.problem.data))

    def ones(at: np.ndarray, distance: np.ndarray, n_real: float) -> np.ndarray:
        return np.ones(len(at))

    unknown = maps.clone().requires_grad_()
    grids = grids_of(unknown, fit.problem.grid)
    ledger = Ledger.empty(len(rows))
    _, slope = sweep(fit.likelihood, rows, grids.detach().numpy(), ledger, ones, None, "test")
    (found,) = torch.autograd.grad(grids, unknown, torch.from_numpy(slope))
    return found.numpy()


def run(fit: stage.Fit, maps: torch.Tensor, n_epochs: int) -> State:
    state = State.start(fit.model, maps, len(fit.problem.data), fit.settings)
    for _ in range(n_epochs):
        run_epoch(
            fit.likelihood,
            fit.model,
            state,
            fit.settings,
            Ranks(),
            fit.matched_residual(state.both),
            0,
            lambda *_: None,
        )
    return state


@pytest.mark.parametrize("start", ["direct", "zero"])
def test_least_squares_solves_the_normal_equations(tmp_path: Path, start: str) -> None:
    blobs = Blobs.random(15, spread=2.5, width=1.3)
    data = data_set(tmp_path, blobs, N, BOX, noise=1.0)
    fit = fit_of(data, loss="l2", start=start)
    first = torch.from_numpy(np.stack(fit.start.halves))
    if start == "zero":
        first = torch.zeros_like(first)
    state = run(fit, first, 20 if start == "zero" else 12)
    maps = fit.model.maps(state.both)
    ball = fit.model.inside.numpy()

    def in_ball(values: np.ndarray) -> np.ndarray:
        return np.fft.rfftn(values, axes=(3, 2, 1)) * ball

    left, right = (in_ball(gradient(fit, m)) for m in (maps, torch.zeros_like(maps)))
    assert np.linalg.norm(left) < 1e-3 * np.linalg.norm(right)
    assert state.history[-1].relative_residual < 2e-3
    assert state.history[-1].plain < state.history[0].plain
    assert min(fsc(m, blobs.map(BOX))[1:5].min() for m in maps.numpy()) > 0.95


def test_gradient_is_that_of_the_value_and_half_sets_do_not_mix(tmp_path: Path) -> None:
    data = data_set(tmp_path, Blobs.random(9, spread=2.0, width=1.4), 40, 16, noise=1.0)
    fit = fit_of(data, loss="l2")
    rng = np.random.default_rng(0)
    maps, step = (torch.from_numpy(rng.normal(size=(2, 16, 16, 16)).astype(np.float32)) for _ in range(2))

    def value(at: torch.Tensor, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, Ledger]:
        grids, ledger = grids_of(at, fit.problem.grid).numpy(), Ledger.empty(len(data))
        found = sweep(fit.likelihood, rows, grids, ledger, lambda at, *_: np.ones(len(at)), None, "test")
        return *found, ledger

    everything = np.arange(len(data))
    up, down = (value(maps + s * step, everything)[0] for s in (0.5, -0.5))
    slope = (gradient(fit, maps) * step.numpy()).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(up - down, slope, rtol=1e-4)  # the value is a parabola
    first = everything[fit.problem.half == 0]
    values, gradients, ledger = value(maps, first)
    assert values[1] == 0 and not gradients[1].any()
    whole = value(maps, everything)
    assert values[0] == pytest.approx(whole[0][0], rel=1e-6)
    np.testing.assert_allclose(gradients[0], whole[1][0], atol=1e-4 * np.abs(gradients[0]).max())
    # the other half set's map is what cross-validation scores by
    swapped = value(maps.flip(0), everything)[2]
    np.testing.assert_allclose(whole[2].cross, swapped.plain, rtol=1e-6)
    assert np.isnan(ledger.plain[fit.problem.half == 1]).all()


@pytest.mark.parametrize("symmetry", ["C4", "D3"])
def test_a_start_from_zero_stays_symmetric(tmp_path: Path, symmetry: str) -> None:
    group = point_group(symmetry)
    blobs = Blobs.random(8, spread=2.5, width=1.3).symmetrised(group)
    data = data_set(tmp_path, blobs, N, BOX, noise=0.5)
    fit = fit_of(data, symmetry, loss="l2", start="zero")
    state = run(fit, torch.zeros(2, BOX, BOX, BOX), 5)
    maps = fit.model.maps(state.both)
    again = SymmetryOperators(group, BOX, (BOX - 1) // 2, get_backend("cpu")).mean(maps)
    along = np.arange(BOX) - BOX // 2
    core = np.linalg.norm(np.stack(np.meshgrid(along, along, along)), axis=0) < BOX // 2 - 4
    difference = (again - maps).numpy()[:, core]
    assert np.linalg.norm(difference) < 0.02 * np.linalg.norm(maps.numpy()[:, core])
    assert min(fsc(m, blobs.map(BOX))[1:5].min() for m in maps.numpy()) > 0.97


def test_prior_and_ridge_shrink_the_map(tmp_path: Path) -> None:
    data = data_set(tmp_path, Blobs.random(9, spread=2.0, width=1.4), N, 16, noise=3.0)
    power = {}
    for name, settings in {"none": {}, "ridge": {"ridge": 1.0}, "wiener": {"prior": "wiener"}}.items():
        fit = fit_of(data, loss="l2", **settings)
        state = run(fit, torch.from_numpy(np.stack(fit.start.halves)), 8)
        power[name] = float(fit.model.maps(state.both).square().sum())
    assert power["ridge"] < 0.9 * power["none"]
    assert power["wiener"] < 0.98 * power["none"]


@pytest.mark.parametrize(
    "settings",
    [
        {"optimiser": "SGD"},
        {"optimiser": "SGD", "momentum": 0.5, "batch_size": 80, "learning_rate": 0.2, "schedule": "exponential"},
        {"optimiser": "Adam", "batch_size": 80, "schedule": "cosine"},
    ],
)
def test_other_optimisers_get_there_too(tmp_path: Path, settings: dict[str, Any]) -> None:
    data = data_set(tmp_path, Blobs.random(9, spread=2.0, width=1.4), 320, 16, noise=4.0)
    fit = fit_of(data, loss="l2", start="zero", n_epochs=8, **settings)
    history = run(fit, torch.zeros(2, 16, 16, 16), 8).history
    best = run(fit_of(data, loss="l2"), torch.from_numpy(np.stack(fit.start.halves)), 6).history[-1].plain
    assert history[-1].plain - best < 0.35 * (history[0].plain - best)
    if settings.get("schedule"):
        assert history[-1].learning_rate < 0.6 * history[0].learning_rate


EPOCH = Epoch(0, 1.0, 1.0, 1.0, 1e-4, 1.0, 10.0, 10.0)


def rates(history: list[Epoch], **settings: Any) -> list[float]:
    """The learning rate of each epoch, whatever the gradients, over the first one."""
    chosen = Iterative(optimiser="SGD", n_epochs=8, **settings)
    done: list[Epoch] = []
    optimiser = make_optimiser(torch.zeros(1, requires_grad=True), chosen)
    schedule, found = make_schedule(optimiser, chosen, done), []
    for epoch in history:
        found.append(optimiser.param_groups[0]["lr"] / 0.3)
        optimiser.step()
        done.append(epoch)
        schedule.step()
    return found


def test_schedules_of_the_learning_rate() -> None:
    values = [4.0, 3.0, 3.5, 3.2, 3.1, 2.0, 2.5, 2.4]
    history = [replace(EPOCH, epoch=i, cross=value) for i, value in enumerate(values)]
    cosine = [0.5 * (1 + np.cos(np.pi * i / 3)) for i in range(3)]
    expected = {
        "step": [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25],
        "warm_restarts": [*cosine, *cosine, *cosine[:2]],
        "plateau": [1, 1, 1, 1, 1, 0.5, 0.5, 0.5],
        "listed": [1, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1],
    }
    for name, wanted in expected.items():
        assert rates(history, schedule=name, decay=0.5, every=3, rates=[1, 0.2, 0.1]) == pytest.approx(wanted)


def test_batches_cover_all_particles_once_and_stand_for_all(tmp_path: Path) -> None:
    data = data_set(tmp_path, Blobs.random(5, spread=2.0, width=1.4), 50, 16)
    fit = fit_of(data, optimiser="SGD", batch_size=16)
    found = [list(steps(fit.problem, fit.settings, epoch, 0)) for epoch in (0, 1)]
    for epoch in found:
        assert sorted(np.concatenate([rows for rows, _ in epoch]).tolist()) == list(range(50))
        for rows, scale in epoch:
            counts = np.bincount(fit.problem.half[rows], minlength=2)
            np.testing.assert_allclose(counts * scale, [25, 25])
    assert not np.array_equal(found[0][0][0], found[1][0][0])


@pytest.mark.parametrize("settings", [{}, {"loss": "trimmed", "keep": [1.0, 0.7]}, {"loss": "irls"}])
def test_robust_losses_weigh_wrong_particles_down(simulated: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    out = solved(simulated, tmp_path, n_epochs=4, **settings)
    truth = pq.read_table(simulated / "truth.parquet").column("is_correct").to_numpy()
    weight = pq.read_table(out / "weights.parquet").column("weight").to_numpy()
    assert weight[truth].mean() > 1.8 * weight[~truth].mean()
    epochs = pq.read_table(out / "epochs.parquet").to_pydict()
    assert epochs["effective_1"][-1] < 150
    batches = pq.read_table(out / "batches.parquet").to_pandas()
    assert len(batches) == 300 * len(epochs["epoch"])
    last = batches[batches["epoch"] == batches["epoch"].max()]
    np.testing.assert_allclose(last["weight"], weight)
    assert (last["particle_id"].to_numpy() == Particles.read(simulated / "particles.parquet").ids).all()
    for _, batch in last.groupby(["batch", "half"]):
        assert (np.diff(batch.sort_values("order")["loss"]) >= 0).all()
    for name in ("half1.mrc", "half2.mrc", "map.mrc", "mask.mrc", "fsc.parquet", "sampling.npz"):
        assert (out / name).is_file()
    assert not (out / "checkpoint.pt").exists() and not (out / "batches").exists()


def test_weights_say_what_the_subset_says_of_particles(simulated: Path, tmp_path: Path) -> None:
    """Reasons and envelopes reach the log, which knows the weights of the fit alone."""
    data = Particles.read(simulated / "particles.parquet")
    reason = pa.array(["orientation", None, "quality"] * (len(data) // 3)).dictionary_encode()
    bfactor = np.linspace(-30.0, 60.0, len(data)).astype(np.float32)
    envelopes = dict(zip(QUALITY, (bfactor, bfactor + 40.0, bfactor / 100.0 + 1.0, bfactor + 1.0), strict=True))
    said = {"reason": reason, **envelopes}
    weight = np.ones(len(data), dtype=np.float32)
    write_table(tmp_path / "subset.parquet", pa.table({"particle_id": data.ids, "weight": weight, **said}))
    out = solved(simulated, tmp_path / "out", subset=tmp_path / "subset.parquet", n_epochs=1)
    found = out / "weights.parquet"
    assert read_reasons(found, len(data)).to_pylist() == reason.to_pylist()
    again = read_quality(found, data)
    assert all(np.array_equal(again[name], values) for name, values in envelopes.items())


def test_robust_map_is_nearer_to_the_truth(simulated: Path, tmp_path: Path) -> None:
    reconstruct(
        simulated / "particles.parquet",
        None,
        None,
        settings=Reconstruct(),
        symmetry="C1",
        backend=get_backend("cpu"),
        out_dir=tmp_path / "direct",
    )
    solved(simulated, tmp_path / "robust", n_epochs=6)
    truth, mask = read_map(simulated / "true_map.mrc")[0], read_map(tmp_path / "direct" / "mask.mrc")[0]
    direct, robust = (fsc(mask * half_maps(tmp_path / n).sum(axis=0), truth)[1:15].mean() for n in ("direct", "robust"))
    assert robust > direct + 0.005


@dataclass
class Interrupted(Exception):
    """Stands for the end of a process."""


def interrupted(folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch, epochs: int, **how: Any) -> None:
    """A run that ends after so many epochs."""
    calls, save = [], checkpoint.save

    def saved(path: Path, state: dict[str, Any]) -> None:
        if len(calls) == epochs:
            raise Interrupted
        calls.append(save(path, state))

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "save", saved)
        with pytest.raises(Interrupted):
            solved(folder, out, **how)


def test_an_interrupted_run_ends_with_the_same_bytes(
    simulated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"loss": "trimmed", "keep": [1.0, 0.8], "n_epochs": 5, "optimiser": "LBFGS", "schedule": "exponential"}
    whole, broken = solved(simulated, tmp_path / "whole", **settings), tmp_path / "broken"
    interrupted(simulated, broken, monkeypatch, 2, **settings)
    # of another problem it is not taken
    assert checkpoint.load(broken / "checkpoint.pt", "another") is None
    solved(simulated, broken, **settings)
    for name in ("half1.mrc", "half2.mrc", "map.mrc"):
        assert (whole / name).read_bytes() == (broken / name).read_bytes()
    assert pq.read_table(whole / "epochs.parquet").equals(pq.read_table(broken / "epochs.parquet"))
    assert pq.read_table(whole / "batches.parquet").equals(pq.read_table(broken / "batches.parquet"))


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_interrupted_run_may_end_at_the_maps_it_had_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    """The best epoch is one from before the interruption; with a point group, and the residual of the unmatched map."""
    group = point_group("C2")
    data_set(tmp_path, Blobs.random(5, 2.0, 1.4).symmetrised(group), 60, 16, noise=3.0)
    how: dict[str, Any] = {"symmetry": "C2", "loss": "irls", "residual": "plain", "patience": 2, "tolerance": 0.0}
    how |= {"optimiser": "SGD", "learning_rate": 1.9, "n_epochs": 9}
    whole, broken = solved(tmp_path, tmp_path / "whole", **how), tmp_path / "broken"
    cross = pq.read_table(whole / "epochs.parquet").column("cross").to_pylist()
    assert np.argmin(cross) == len(cross) - 3
    interrupted(tmp_path, broken, monkeypatch, len(cross) - 1, backend=backend, **how)
    solved(tmp_path, broken, backend=backend, **how)
    np.testing.assert_allclose(pq.read_table(broken / "epochs.parquet").column("cross").to_pylist(), cross, rtol=1e-4)
    expected = half_maps(whole)
    np.testing.assert_allclose(half_maps(broken), expected, atol=1e-3 * np.abs(expected).max())


def test_tensorboard_shows_the_half_maps_as_they_become(
    simulated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = recorded(monkeypatch)
    out = solved(simulated, tmp_path / "out", n_epochs=4, tolerance=0.0, patience=None, ridge=0.0)
    assert written.values("scalar", "loss") == pq.read_table(out / "epochs.parquet").column("loss").to_pylist()
    assert written.epochs("image", "half_maps") == [0, 1, 2, 3]
    shown, halves, truth = written.values("image", "half_maps"), half_maps(out), read_map(simulated / "true_map.mrc")[0]
    assert not np.allclose(shown[0], shown[-1], atol=1e-3)
    n = len(truth)

    def like(grey: np.ndarray, volume: np.ndarray) -> float:
        slices = np.concatenate([volume[..., n // 2], volume[:, n // 2], volume[n // 2]], axis=1)
        return float(np.corrcoef(grey.ravel(), slices.ravel())[0, 1])

    raw = stage.central_slices(halves)
    for rows, half in zip((slice(n), slice(n, None)), halves, strict=True):
        assert like(raw[rows], half) > 0.99
        assert like(shown[-1][rows], half) > 0.7
        assert like(shown[-1][rows], truth) > like(raw[rows], truth) + 0.1


def test_slices_of_large_maps_are_bounded() -> None:
    large = np.random.default_rng(0).normal(size=(2, 258, 258, 258)).astype(np.float32)
    large[0, 0, 0, 129] = 100.0
    shown = stage.central_slices(large)
    assert shown.shape == (258, 387) and shown[0, 0] == 1.0 and shown.min() > 0.0
    assert stage.central_slices(np.zeros((2, 8, 8, 8), dtype=np.float32)).tolist() == np.full((16, 24), 0.5).tolist()


def work(folder: Path, out: Path, killed: bool) -> None:
    """One of the processes that ``torchrun`` starts; killed after the second epoch, or not."""
    add = stage.Board.add

    def last_words(board: stage.Board, epoch: Epoch) -> None:
        if killed and epoch.epoch == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        add(board, epoch)

    stage.Board.add = last_words  # type: ignore[method-assign]
    with started_ranks(1) as ranks:
        solved(folder, out, ranks=ranks, n_epochs=4)


def start(
    n: int, folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch, *, killed: bool = False
) -> list[int | None]:
    """Run ``n`` processes as ``torchrun`` does; their exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    jobs = []
    for rank in range(n):
        about = {"WORLD_SIZE": str(n), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": str(rank)}
        for name, value in about.items():
            monkeypatch.setenv(name, value)
        # torch is imported already, and has no threads
        jobs.append(multiprocessing.get_context("fork").Process(target=work, args=(folder, out, killed)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            jobs[-1].start()
    for job in jobs:
        job.join(timeout=200)
    monkeypatch.delenv("WORLD_SIZE")
    return [job.exitcode for job in jobs]


@pytest.mark.parametrize("n", [2, 4])
def test_several_processes_killed_and_started_again_give_the_map_of_one(
    n: int, simulated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "several"
    if n == 2:
        assert start(n, simulated, out, monkeypatch, killed=True) == [-signal.SIGKILL] * n
        assert (out / "checkpoint.pt").exists()
    assert start(n, simulated, out, monkeypatch) == [0] * n
    one, several = half_maps(solved(simulated, tmp_path / "one", n_epochs=4)), half_maps(out)
    assert np.linalg.norm(one - several) < 1e-4 * np.linalg.norm(one)
    logged = pq.read_table(out / "batches.parquet").to_pandas()
    assert logged.groupby("epoch")["particle_id"].nunique().tolist() == [300] * 4
    assert logged.groupby("rank").size().tolist() == [4 * 300 // n] * n
    ids = Particles.read(simulated / "particles.parquet").ids
    assert (logged["particle_id"].to_numpy().reshape(4, 300) == ids).all()


@pytest.mark.parametrize("gpus", [None, ["0000:01:00.0", "0000:02:00.0"], ["0000:01:00.0"] * 2])
def test_processes_need_a_gpu_each(monkeypatch: pytest.MonkeyPatch, gpus: list[str] | None) -> None:
    shared = gpus is not None and gpus[0] == gpus[1]

    def begin(folder: Path, out: Path, killed: bool) -> None:
        with started_ranks(2) as ranks:
            assert available_cores() == torch.get_num_threads() == 1
            gpu = gpus and gpus[ranks.rank]
            if not shared:
                return ranks.require_a_gpu_each(gpu)
            with pytest.raises(
                InputError, match=r"iterative\.processes: 2 processes have 1 GPU between them\. Set it to 1"
            ):
                ranks.require_a_gpu_each(gpu)
            os._exit(3)

    monkeypatch.setitem(globals(), "work", begin)
    assert start(2, Path(), Path(), monkeypatch) == [3 if shared else 0] * 2


def test_processes_share_the_particles_without_overlap() -> None:
    ids = np.arange(1, 1001, dtype=np.uint64) * np.uint64(7919)
    parts = [Ranks(r, 3).rows(ids) for r in range(3)]
    assert sorted(np.concatenate(parts).tolist()) == list(range(1000))
    assert [len(p) for p in parts] == [334, 333, 333]


def test_when_epochs_end(simulated: Path, tmp_path: Path) -> None:
    out = solved(simulated, tmp_path, loss="l2", n_epochs=9, patience=1, tolerance=0)
    cross = pq.read_table(out / "epochs.parquet").column("cross").to_pylist()
    assert len(cross) < 9
    assert cross[-1] >= min(cross)
    data = Particles.read(simulated / "particles.parquet")
    fit = fit_of(data, loss="l2")
    best = int(np.argmin(cross))
    state = run(fit, torch.from_numpy(np.stack(fit.start.halves)), best)
    expected = fit.model.damped(fit.model.maps(state.both).numpy())  # what the best epoch started from
    np.testing.assert_allclose(half_maps(out), expected, atol=1e-4 * np.abs(expected).max())


def test_when_no_further_epoch_is_needed() -> None:
    epoch = EPOCH
    assert finished([epoch], Iterative(loss="l2")) == "the normal equations hold"
    assert finished([epoch], Iterative(loss="irls")) is None  # all weights were 1
    assert finished([epoch] * 2, Iterative(loss="trimmed", keep=[1.0, 0.9])) is None
    assert finished([epoch] * 3, Iterative(loss="trimmed", keep=[1.0, 0.9])) is not None
    assert finished([replace(epoch, relative_residual=0.1)] * 5, Iterative(n_epochs=5)) == "all epochs are done"
