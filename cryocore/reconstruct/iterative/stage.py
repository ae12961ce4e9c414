"""The stage: particles and weights in, maps and their FSC out, by iteration."""

from __future__ import annotations

import logging
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from cryocore.backend import Backend
from cryocore.config.reconstruct import ITERATIVE_BYTES, ITERATIVE_PADDED_BYTES
from cryocore.config.score import Score
from cryocore.config.solve import Iterative, Solve
from cryocore.errors import InputError
from cryocore.imaging.accumulate import accumulate, symmetrise
from cryocore.imaging.cache import image_source
from cryocore.imaging.grid import FourierGrid, FourierSums, last_shell
from cryocore.imaging.image_geometry import used_shells
from cryocore.imaging.solve import Solver, own_divisor, sampling_density
from cryocore.maps.curves import FscCurves
from cryocore.maps.fsc import fsc_weight, half_map_fsc, resolution_at
from cryocore.maps.mrc import write_map
from cryocore.reconstruct.iterative.log import BatchLog, merge_batches, write_epochs, write_weights
from cryocore.reconstruct.iterative.model import Model
from cryocore.reconstruct.iterative.operators import device_of, to_array
from cryocore.reconstruct.iterative.optimise import STOPPED, State, best_epoch, finished, run_epoch
from cryocore.reconstruct.iterative.ranks import Ranks
from cryocore.reconstruct.iterative.sweep import Likelihood, MatchedResidual, Problem
from cryocore.reconstruct.iterative.symmetry import SymmetryOperators
from cryocore.reconstruct.stage import (
    WRITTEN,
    choose_mask,
    copy_round,
    read_mask,
    require_both_halves,
    stays,
    within,
    write_sampling,
)
from cryocore.score.bands import band_means
from cryocore.score.comparison import Comparison
from cryocore.score.noise import estimate_noise
from cryocore.score.reference import Reference, make_reference
from cryocore.tables.io import read_table, write_table
from cryocore.tables.particles import ENVELOPE, UNCHANGED_SINCE, Particles, read_subset, unchanged_since
from cryocore.training import checkpoint
from cryocore.training.board import Board
from cryocore.types import Floats, Floats32

log = logging.getLogger(__name__)

N_BANDS = 24
LEAST_SHARE = 0.02
"""Of signal in a half map, that its prior knows: the unknown stays well conditioned."""
SLICE_SIDE = 256
"""Pixels of a slice that TensorBoard shows, at most."""
CHECKPOINT, PARTS = "checkpoint.pt", "batches"


@dataclass(frozen=True)
class Sampling:
    """How densely the slices of both half sets fill Fourier space: ``density`` as ``sampling_density`` has it,
    ``own`` and ``own_damped`` as ``own_divisor`` does."""

    density: Floats32
    own: Floats32
    own_damped: Floats32

    @classmethod
    def of(cls, sums: FourierSums) -> Sampling:
        """That of symmetrised sums."""
        return cls(sampling_density(sums), own_divisor(sums, damped=False), own_divisor(sums))


@dataclass(frozen=True)
class Start:
    """What the direct inversion gives before the first epoch."""

    halves: tuple[Floats32, Floats32]
    mask: Floats32
    curves: FscCurves
    sampling: Sampling


@dataclass(frozen=True)
class Fit:
    """What is minimised: residuals in units of the noise, over the unknown, from a start.

    ``signal`` share of the map that is signal, per band of the likelihood
    """

    problem: Problem
    likelihood: Likelihood
    model: Model
    start: Start
    signal: Floats
    settings: Iterative

    def matched_residual(self, unknown: torch.Tensor) -> MatchedResidual | None:
        """What robust losses weigh by at half maps; None: the plain residual."""
        if self.settings.loss == "l2" or self.settings.residual == "plain":
            return None
        maps = to_array(self.model.unfiltered(self.model.maps(unknown)), self.problem.backend)
        seen = reference_of(self.problem, self.start, maps)
        return MatchedResidual(seen, self.likelihood.noise, self.signal)


def solve(
    particles: Path,
    subset: Path | None,
    mask: Path | None,
    *,
    settings: Solve,
    symmetry: str,
    seed: int,
    backend: Backend,
    ranks: Ranks,
    out_dir: Path,
    cache: Path | None = None,
    previous_map: Path | None = None,
) -> None:
    """Write half1.mrc, half2.mrc, map.mrc, mask.mrc, fsc.parquet and sampling.npz, as ``reconstruct`` does.

    Beside them weights.parquet (of the particles in the maps), epochs.parquet and batches.parquet. A run that is
    killed continues after its last whole epoch. ``previous_map`` is that of the round before, whose files are copied
    where the subset says that it has not changed.
    """
    names = [*WRITTEN, "epochs.parquet", "batches.parquet"]
    if previous_map is not None and stays(subset, previous_map.parent, [*names, "weights.parquet"]):
        if ranks.first:
            copy_round(previous_map.parent, out_dir, names)
            fitted = read_table(previous_map.parent / "weights.parquet")
            write_table(out_dir / "weights.parquet", fitted, **{UNCHANGED_SINCE: unchanged_since(subset)})
        return
    data = Particles.read(particles)
    weights, selected = read_subset(subset, data)
    data = data.with_quality(subset)
    require_both_halves(weights, data.column("half"), subset)
    optics = data.reference_optics
    pixel, box = optics.pixel_size_angstrom, optics.box
    last = last_shell(box, pixel, settings.max_resolution_angstrom)
    grid = FourierGrid.of(box, pixel, settings.padding, last)
    source = image_source(cache, data, used_shells(data.optics, grid))
    mask = mask or (Path(settings.mask) if settings.mask else None)
    if mask is not None:
        read_mask(mask, box, pixel)  # refused before the epochs, not after them
    require_room(grid, backend)
    problem = Problem(data, weights, grid, symmetry, backend, source)

    start = direct(problem, mask, ranks, particles)
    fit = set_up(problem, start, settings.iterative, seed)
    known = settings.model_dump(mode="json"), symmetry, seed, ranks.world
    envelopes = (data.column(name) for name in ENVELOPE)
    columns = data.ids, weights, data.quaternions, data.shifts_angstrom, *envelopes
    state, unknown = minimise(fit, ranks, seed, out_dir, checkpoint.identity(*known, *columns))
    halves = half_maps(fit.model, unknown)
    require_finite(halves, particles)
    sampling, used = start.sampling, state.ledger.weight.astype(np.float32)
    if settings.iterative.loss != "l2":
        sampling = Sampling.of(symmetrise(all_sums(problem, used, ranks), problem.group))
    if ranks.first:
        write_maps(fit, halves, sampling, settings.padding, out_dir)
        write_weights(out_dir / "weights.parquet", data, state.ledger, selected, subset)
        write_epochs(out_dir / "epochs.parquet", state.history)
        merge_batches(out_dir / PARTS, len(state.history), ranks.world, out_dir / "batches.parquet")
        shutil.rmtree(out_dir / PARTS)
        (out_dir / CHECKPOINT).unlink(missing_ok=True)


def require_room(grid: FourierGrid, backend: Backend) -> None:
    """Refuse a grid that the device has no room for, before images are read."""
    n_bytes = 2 * ITERATIVE_PADDED_BYTES * math.prod(grid.shape) + ITERATIVE_BYTES * grid.box**3
    what = f"maps, gradients and steps of the iterative method at box {grid.box} and padding {grid.padding:.3g}"
    backend.require_room(n_bytes, what, "Lower reconstruct.padding, set reconstruct.max_resolution_angstrom")


def set_up(problem: Problem, start: Start, settings: Iterative, seed: int) -> Fit:
    """Noise, curvature and prior from the direct inversion."""
    data, backend = problem.data, problem.backend
    reference = reference_of(problem, start, start.halves)
    sources = backend, problem.source, data.quaternions, problem.group
    noise = estimate_noise(data, problem.weights, Comparison(reference, Score(), seed, *sources))
    likelihood = Likelihood(problem, noise, reference.edges)
    signal = band_means(fsc_weight(start.curves.corrected)[: int(reference.edges[-1])], reference.edges)
    model = make_model(likelihood, start.sampling.density, start.curves, settings).to(device_of(backend))
    return Fit(problem, likelihood, model, start, signal, settings)


def minimise(fit: Fit, ranks: Ranks, seed: int, out_dir: Path, identity: str) -> tuple[State, torch.Tensor]:
    """All epochs, from the last checkpoint if it is of the same problem; the state, and the unknown of both halves."""
    settings, data = fit.settings, fit.problem.data
    first = torch.from_numpy(np.stack(fit.start.halves)).to(fit.model.data.device)
    if settings.start == "zero":
        first = torch.zeros_like(first)
    state = State.start(fit.model, first, len(data), settings)
    found = checkpoint.load(out_dir / CHECKPOINT, identity)
    if found is not None:
        state.restore(found)
        log.info("continuing after epoch %d", len(state.history))
    board = Board(out_dir / "tensorboard", active=ranks.first)
    hidden = None if ranks.first else True
    bar = tqdm(total=settings.n_epochs, initial=len(state.history), desc="solve", unit="epoch", disable=hidden)
    with bar:
        while (why := finished(state.history, settings)) is None:
            number, before = len(state.history), state.both
            batches = BatchLog(data, number, ranks.rank)
            run_epoch(
                fit.likelihood, fit.model, state, settings, ranks, fit.matched_residual(before), seed, batches.add
            )
            if best_epoch(state.history) == number:
                state.best = before
            batches.write(out_dir / PARTS)
            ranks.meet()
            if ranks.first:
                checkpoint.save(out_dir / CHECKPOINT, {"identity": identity, **state.dump()})
            epoch = state.history[-1]
            board.add(epoch)
            if board.shows(number, last=finished(state.history, settings) is not None):
                board.add_pictures(number, {"half_maps": central_slices(seen_maps(fit, state.both))})
            bar.update()
            bar.set_postfix(loss=f"{epoch.loss:.5g}", cross=f"{epoch.cross:.6g}")
    board.close()
    log.info("%d epochs: %s", len(state.history), why)
    return state, state.best if why == STOPPED else state.both


def seen_maps(fit: Fit, unknown: torch.Tensor) -> Floats32:
    """Half maps ``(2, n, n, n)`` without most of their noise: each shell by its FSC after the direct inversion."""
    weight = fsc_weight(fit.start.curves.corrected)
    return np.asarray(fit.model.smoothed(fit.model.maps(unknown), weight).cpu().numpy())


def central_slices(halves: Floats32) -> Floats32:
    """Central slices of half maps ``(2, n, n, n)``, a half set in each row, across x, y and z: grey, 0 to 1.

    The grey scale of a row is five standard deviations about 0.
    """
    n = halves.shape[-1]
    middle, every = n // 2, slice(None, None, -(-n // SLICE_SIDE))
    rows = []
    for half in halves:
        row = np.concatenate([s[every, every] for s in (half[..., middle], half[:, middle], half[middle])], axis=1)
        rows.append(row / (10.0 * max(float(row.std()), 1e-30)) + 0.5)
    return np.clip(np.concatenate(rows), 0.0, 1.0)


def write_maps(fit: Fit, halves: Floats32, sampling: Sampling, padding: float, out_dir: Path) -> None:
    """Write half maps, their FSC, the merged map, the mask and the density of samples."""
    grid, mask = fit.problem.grid, fit.start.mask
    pixel, last = grid.pixel_size_angstrom, grid.last_shell
    model = make_model(fit.likelihood, sampling.density, fit.start.curves, fit.settings)
    whole, own = halves, sampling.own
    if fit.settings.prior == "none":
        halves, own = model.damped(halves), sampling.own_damped
    curves = within(half_map_fsc(halves[0], halves[1], mask, pixel_size_angstrom=pixel), last)
    merged = model.merged(whole, fsc_weight(curves.corrected))
    write_map(out_dir / "half1.mrc", halves[0], pixel)
    write_map(out_dir / "half2.mrc", halves[1], pixel)
    write_map(out_dir / "map.mrc", merged, pixel)
    write_map(out_dir / "mask.mrc", mask, pixel)
    curves.write(out_dir / "fsc.parquet")
    write_sampling(out_dir / "sampling.npz", own, padding, last)
    log.info("%.2f Å at FSC 0.143", resolution_at(curves.corrected, curves.resolution_angstrom))


def make_model(likelihood: Likelihood, density: Floats32, curves: FscCurves, settings: Iterative) -> Model:
    """The coordinates of the unknown and its prior, at a density of samples."""
    problem = likelihood.problem
    grid = problem.grid
    equivalents = SymmetryOperators(problem.group, grid.box, grid.last_shell, problem.backend)
    relative = prior(curves, grid, settings)
    return Model.of(density, likelihood.shell_noise, relative, settings.ridge, grid, equivalents)


def reference_of(problem: Problem, start: Start, halves: Any) -> Reference:
    """Half maps ``(2, n, n, n)`` as images are scored by them: masked, with the density of samples."""
    given = start.mask, start.sampling.own, problem.grid, problem.data.optics, N_BANDS
    return make_reference(halves, *given, problem.backend)


def direct(problem: Problem, mask: Path | None, ranks: Ranks, file: Path) -> Start:
    """The direct inversion of all processes' particles."""
    grid, group = problem.grid, problem.group
    sums = symmetrise(all_sums(problem, problem.weights, ranks), group)
    solver = Solver(sums, group)
    halves = solver.half(0, damped=False), solver.half(1, damped=False)
    require_finite(halves, file)
    pixel = grid.pixel_size_angstrom
    shape = choose_mask(mask, halves, pixel)
    curves = within(half_map_fsc(halves[0], halves[1], shape, pixel_size_angstrom=pixel), grid.last_shell)
    return Start(halves, shape, curves, Sampling.of(sums))


def all_sums(problem: Problem, weights: Floats32, ranks: Ranks) -> FourierSums:
    """The normal equations of all particles, each process summing its own."""
    mine = np.zeros_like(weights)
    rows = ranks.rows(problem.data.ids)
    mine[rows] = weights[rows]
    sums = accumulate(problem.data, mine, problem.grid, problem.backend, source=problem.source)
    ranks.add_arrays(sums.numerator, sums.denominator)
    return sums


def prior(curves: FscCurves, grid: FourierGrid, settings: Iterative) -> Floats:
    """Curvature of the prior over that of the data, ``(shells,)``: noise over signal in a half map."""
    if settings.prior == "none":
        return np.zeros(grid.last_shell + 1)
    share = np.clip(fsc_weight(curves.corrected)[: grid.last_shell + 1], LEAST_SHARE, 0.9999)
    return np.asarray((1.0 - share) / share)


def half_maps(model: Model, unknown: torch.Tensor) -> Floats32:
    """Both half maps ``(2, n, n, n)``."""
    return np.asarray(model.maps(unknown).cpu().numpy())


def require_finite(halves: Any, file: Path) -> None:
    """Refuse maps with values that are no numbers."""
    if not all(np.isfinite(half).all() for half in halves):
        raise InputError("the half maps are not finite", file=file, fix="Check the images: a pixel may be NaN")
