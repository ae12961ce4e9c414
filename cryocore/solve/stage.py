"""The stage: particles and weights in, maps and their FSC out, by iteration."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from cryocore.backend import Backend
from cryocore.cache.file import image_source
from cryocore.config import Iterative, Reconstruct
from cryocore.data import FourierSums, FscCurves, Grid, Particles, last_shell, read_weights
from cryocore.errors import InputError
from cryocore.files import atomic_path
from cryocore.imaging.slices import used_shells
from cryocore.maps.fsc import fsc_weight, half_map_fsc, resolution_at
from cryocore.maps.mrc import write_map
from cryocore.reconstruct.accumulate import accumulate, symmetrise
from cryocore.reconstruct.solve import Solver, sampling_density
from cryocore.reconstruct.stage import choose_mask, require_both_halves, within
from cryocore.score.bands import band_means
from cryocore.score.noise import estimate_noise
from cryocore.score.reference import make_reference
from cryocore.solve import checkpoint
from cryocore.solve.log import BatchLog, Scalars, merge_batches, write_epochs, write_weights
from cryocore.solve.model import Model
from cryocore.solve.optimise import STOPPED, State, best_epoch, finished, run_epoch
from cryocore.solve.ranks import Ranks
from cryocore.solve.sweep import Judge, Likelihood, Problem
from cryocore.solve.symmetry import Mates

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
N_BANDS = 24


@dataclass(frozen=True)
class Start:
    """What the direct inversion gives before the first epoch; ``density`` of samples as ``sampling_density`` has it."""

    halves: tuple[Floats32, Floats32]
    mask: Floats32
    curves: FscCurves
    density: Floats32


def solve(
    particles: Path,
    subset: Path | None,
    mask: Path | None,
    *,
    settings: Reconstruct,
    symmetry: str,
    seed: int,
    backend: Backend,
    ranks: Ranks,
    out_dir: Path,
    cache: Path | None = None,
) -> None:
    """Write half1.mrc, half2.mrc, map.mrc, mask.mrc, fsc.parquet and sampling.npz, as ``reconstruct`` does.

    Beside them weights.parquet (of the particles in the maps), epochs.parquet and batches.parquet. A run that is
    killed continues after its last whole epoch.
    """
    data = Particles.read(particles)
    weights = read_weights(subset, data)
    require_both_halves(weights, data.column("half"), subset)
    optics, how = data.reference_optics, settings.iterative
    pixel, box = optics.pixel_size_angstrom, optics.box
    last = last_shell(box, pixel, settings.max_resolution_angstrom)
    grid = Grid.of(box, pixel, settings.padding, last)
    source = image_source(cache, data, used_shells(data.optics, grid))

    problem = Problem(data, weights, grid, symmetry, backend, source)
    start = direct(problem, mask or (Path(settings.mask) if settings.mask else None), ranks, particles)
    reference = make_reference(start.halves, start.mask, start.density, grid, data.optics, N_BANDS, backend)
    noise = estimate_noise(data, reference, weights, "optics_group", seed, backend, source)
    likelihood, mates = Likelihood(problem, noise, reference.edges), Mates(problem.group, box, last, backend)
    model = Model.of(start.density, likelihood.shell_noise, prior(start.curves, grid, how), how.ridge, grid, mates)
    signal = band_means(fsc_weight(start.curves.corrected)[: int(reference.edges[-1])], reference.edges)

    first = torch.from_numpy(np.stack(start.halves))
    state = State.start(model, first if how.start == "direct" else torch.zeros_like(first), len(data), how)
    kept = out_dir / "checkpoint.pt"
    parts = out_dir / "batches"
    known = (settings.model_dump(mode="json"), symmetry, seed, data.ids, weights, data.rotations, data.shifts_angstrom)
    name = checkpoint.identity(*known)
    found = checkpoint.load(kept, name)
    if found is not None:
        state.restore(found)
        log.info("continuing after epoch %d", len(state.history))

    scalars = Scalars(out_dir / "tensorboard", active=ranks.first)
    bar = tqdm(total=how.n_epochs, initial=len(state.history), desc="solve", unit="epoch", disable=None)
    with bar:
        while (why := finished(state.history, how)) is None:
            number, before = len(state.history), torch.stack([u.detach() for u in state.unknown])
            judge = None
            if how.loss != "l2" and how.residual == "matched":
                given = start.mask, start.density, grid, data.optics, N_BANDS, backend
                seen = make_reference(half_maps(model, before), *given)
                judge = Judge(seen, noise, signal)
            batches = BatchLog(data, number, ranks.rank)
            run_epoch(likelihood, model, state, how, ranks, judge, seed, batches.add)
            if best_epoch(state.history) == number:
                state.best = before
            batches.write(parts)
            ranks.meet()
            if ranks.first:
                checkpoint.save(kept, {"identity": name, **state.dump()})
            scalars.add(state.history[-1])
            bar.update()
            bar.set_postfix(loss=f"{state.history[-1].loss:.5g}", cross=f"{state.history[-1].cross:.6g}")
    scalars.close()
    log.info("%d epochs: %s", len(state.history), why)
    unknown = state.best if why == STOPPED else torch.stack([u.detach() for u in state.unknown])
    halves = half_maps(model, unknown)
    require_finite(halves, particles)
    used = state.ledger.weight.astype(np.float32)
    density = start.density
    if how.loss != "l2":
        density = sampling_density(symmetrise(all_sums(problem, used, ranks), problem.group, backend))
    if not ranks.first:
        return
    curves = within(half_map_fsc(halves[0], halves[1], start.mask, pixel_size_angstrom=pixel), last)
    final = Model.of(density, likelihood.shell_noise, prior(curves, grid, how), how.ridge, grid, mates)
    write_map(out_dir / "half1.mrc", halves[0], pixel)
    write_map(out_dir / "half2.mrc", halves[1], pixel)
    write_map(out_dir / "map.mrc", final.merged(halves, fsc_weight(curves.corrected)), pixel)
    write_map(out_dir / "mask.mrc", start.mask, pixel)
    curves.write(out_dir / "fsc.parquet")
    with atomic_path(out_dir / "sampling.npz") as temporary:
        np.savez(temporary, density=density, padding=np.float64(settings.padding), last_shell=last)
    write_weights(out_dir / "weights.parquet", data, state.ledger)
    write_epochs(out_dir / "epochs.parquet", state.history)
    merge_batches(parts, len(state.history), ranks.world, out_dir / "batches.parquet")
    shutil.rmtree(parts)
    kept.unlink(missing_ok=True)
    resolution = resolution_at(curves.corrected, curves.resolution_angstrom, 0.143)
    log.info("%d particles, %.2f Å at FSC 0.143", np.count_nonzero(used), resolution)


def direct(problem: Problem, mask: Path | None, ranks: Ranks, file: Path) -> Start:
    """The direct inversion of all processes' particles."""
    grid, group = problem.grid, problem.group
    sums = symmetrise(all_sums(problem, problem.weights, ranks), group, problem.backend)
    solver = Solver(sums, group)
    halves = solver.half(0), solver.half(1)
    require_finite(halves, file)
    pixel = grid.pixel_size_angstrom
    shape = choose_mask(mask, halves, pixel)
    curves = within(half_map_fsc(halves[0], halves[1], shape, pixel_size_angstrom=pixel), grid.last_shell)
    return Start(halves, shape, curves, sampling_density(sums))


def all_sums(problem: Problem, weights: Floats32, ranks: Ranks) -> FourierSums:
    """The normal equations of all particles, each process summing its own."""
    mine = np.zeros_like(weights)
    rows = ranks.rows(problem.data.ids)
    mine[rows] = weights[rows]
    sums = accumulate(problem.data, mine, problem.grid, problem.backend, source=problem.source)
    ranks.add_arrays(sums.numerator, sums.denominator)
    return sums


def prior(curves: FscCurves, grid: Grid, settings: Iterative) -> Floats:
    """Curvature of the prior over that of the data, ``(shells,)``: noise over signal in a half map."""
    if settings.prior == "none":
        return np.zeros(grid.last_shell + 1)
    share = np.clip(fsc_weight(curves.corrected)[: grid.last_shell + 1], 1e-3, 0.9999)
    return np.asarray((1.0 - share) / share)


def half_maps(model: Model, unknown: torch.Tensor) -> Floats32:
    """Both half maps ``(2, n, n, n)``."""
    return np.asarray(model.maps(unknown).cpu().numpy())


def require_finite(halves: Any, file: Path) -> None:
    """Refuse maps with values that are no numbers."""
    if not all(np.isfinite(half).all() for half in halves):
        raise InputError("the half maps are not finite", file=file, remedy="Check the images: a pixel may be NaN")
