"""Epochs: passes over the images, each followed by steps of an optimiser of torch."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cryocore.config.base import per_round
from cryocore.config.solve import Iterative
from cryocore.hashing import hashed_uniform
from cryocore.reconstruct.iterative.losses import TRIMMED, sorts_the_set, weigh
from cryocore.reconstruct.iterative.model import Model
from cryocore.reconstruct.iterative.operators import data_term, grids_of, to_array, to_tensor
from cryocore.reconstruct.iterative.ranks import Ranks
from cryocore.reconstruct.iterative.sweep import Ledger, Likelihood, MatchedResidual, Problem, Weigh, sweep
from cryocore.statistics import effective_number

log = logging.getLogger(__name__)

RATES = {"LBFGS": 1.0, "SGD": 0.3}
"""Learning rates: where samples are few, curvature exceeds its estimate. Adam steps in standard deviations of noise."""

Rows = NDArray[np.int64]
Record = Callable[[Rows, NDArray[np.float64], NDArray[np.float64]], None]


@dataclass(frozen=True)
class Epoch:
    """What an epoch is reported by.

    ``loss`` the robust loss per particle, ``plain`` the mean squared residual in units of the noise, ``cross`` the same
    under the map of the other half set, ``relative_residual`` of the normal equations, ``effective`` number of
    particles of each half set. All are of the maps at the start of the epoch (or of its steps).
    """

    epoch: int
    loss: float
    plain: float
    cross: float
    relative_residual: float
    learning_rate: float
    effective_1: float
    effective_2: float


@dataclass
class State:
    """What changes from epoch to epoch."""

    unknown: list[torch.Tensor]
    optimisers: list[torch.optim.Optimizer]
    schedules: list[torch.optim.lr_scheduler.LRScheduler]
    ledger: Ledger
    history: list[Epoch]
    best: torch.Tensor

    @classmethod
    def start(cls, model: Model, maps: torch.Tensor, n: int, settings: Iterative) -> State:
        """Before the first epoch, at given half maps ``(2, n, n, n)``."""
        unknown = [u.clone(memory_format=torch.contiguous_format).requires_grad_() for u in model.unknown(maps)]
        optimisers = [make_optimiser(u, settings) for u in unknown]
        history: list[Epoch] = []
        schedules = [make_schedule(o, settings, history) for o in optimisers]
        return cls(unknown, optimisers, schedules, Ledger.empty(n), history, torch.stack([u.detach() for u in unknown]))

    @property
    def both(self) -> torch.Tensor:
        """The unknown of both half sets, ``(2, n, n, n)``, a copy without its graph."""
        return torch.stack([u.detach() for u in self.unknown])

    def dump(self) -> dict[str, Any]:
        """As tensors and plain values."""
        return {
            "unknown": [u.detach() for u in self.unknown],
            "optimisers": [o.state_dict() for o in self.optimisers],
            "schedules": [s.state_dict() for s in self.schedules],
            "ledger": {name: torch.from_numpy(value) for name, value in vars(self.ledger).items()},
            "history": [asdict(e) for e in self.history],
            "best": self.best,
        }

    def restore(self, values: dict[str, Any]) -> None:
        """Continue from what :meth:`dump` gave."""
        with torch.no_grad():
            for u, kept in zip(self.unknown, values["unknown"], strict=True):
                u.copy_(kept)
        for optimiser, kept in zip(self.optimisers, values["optimisers"], strict=True):
            optimiser.load_state_dict(kept)
        for schedule, kept in zip(self.schedules, values["schedules"], strict=True):
            schedule.load_state_dict(kept)
        self.ledger = Ledger(**{name: value.numpy() for name, value in values["ledger"].items()})
        self.history[:] = [Epoch(**e) for e in values["history"]]  # schedules look at it
        self.best = values["best"].to(self.best)


def make_optimiser(unknown: torch.Tensor, settings: Iterative) -> torch.optim.Optimizer:
    """The optimiser of one half set. LBFGS makes one step of unit length per pass, without a line search."""
    name = settings.optimiser
    rate = settings.learning_rate or RATES.get(name, 0.1)
    options: dict[str, Any] = {"lr": rate}
    if name == "SGD":
        options["momentum"] = settings.momentum
    if name == "LBFGS":
        options |= {"max_iter": 1, "history_size": 8, "tolerance_grad": 0.0, "tolerance_change": 0.0}
    optimiser: torch.optim.Optimizer = getattr(torch.optim, name)([unknown], **options)
    return optimiser


def make_schedule(
    optimiser: torch.optim.Optimizer, settings: Iterative, history: list[Epoch]
) -> torch.optim.lr_scheduler.LRScheduler:
    """The learning rate over the epochs, those of ``history`` being done."""
    every = settings.every
    factors: dict[str, Callable[[int], float]] = {
        "constant": lambda epoch: 1.0,
        "cosine": lambda epoch: _cosine(epoch / settings.n_epochs),
        "exponential": lambda epoch: settings.decay**epoch,
        "step": lambda epoch: settings.decay ** (epoch // every),
        "warm_restarts": lambda epoch: _cosine(epoch % every / every),
        "plateau": lambda epoch: settings.decay ** plateaus([e.cross for e in history], every),
        "listed": lambda epoch: float(per_round(settings.rates, epoch + 1)),
    }
    return torch.optim.lr_scheduler.LambdaLR(optimiser, factors[settings.schedule])


def _cosine(part: float) -> float:
    """From 1 to 0."""
    return 0.5 * (1.0 + math.cos(math.pi * part))


def plateaus(losses: Sequence[float], every: int) -> int:
    """How often so many epochs in a row brought no loss below the lowest.

    >>> plateaus([3.0, 2.0, 2.5, 2.1, 2.2, 1.0], 2), plateaus([3.0, 2.0, 2.5, 2.1, 2.2, 2.1, 2.0], 2)
    (1, 2)
    """
    lowest, waited, found = math.inf, 0, 0
    for loss in losses:
        lowest, waited = (loss, 0) if loss < lowest else (lowest, waited + 1)
        if waited == every:
            waited, found = 0, found + 1
    return found


def run_epoch(
    likelihood: Likelihood,
    model: Model,
    state: State,
    settings: Iterative,
    ranks: Ranks,
    matched: MatchedResidual | None,
    seed: int,
    record: Record,
) -> None:
    """One pass over all particles, in one step or in batches; ``state`` is moved on.

    ``record`` is called with the rows, distances and weights of every batch of images, as they come.
    """
    problem, number = likelihood.problem, len(state.history)
    half = problem.half
    frozen: NDArray[np.float64] | None = None
    if sorts_the_set(settings):
        known = state.ledger.distance
        seen = np.isfinite(known).all()
        frozen = weigh(settings, number, 1.0, known, half)[1] if seen else np.ones(len(half))
    robust = np.zeros(1)

    def weigher(rows: Rows, distance: NDArray[np.float64], n_real: float) -> NDArray[np.float64]:
        losses, weights = weigh(settings, number, n_real, distance, half[rows])
        robust[0] += losses @ problem.weights[rows]
        chosen = weights if frozen is None else frozen[rows]
        record(rows, distance, chosen * problem.weights[rows])
        return chosen

    rate = float(state.optimisers[0].param_groups[0]["lr"])
    slope = length = 0.0
    ledger = Ledger(**{name: value.copy() for name, value in vars(state.ledger).items()})
    mine = ranks.rows(problem.data.ids)
    for rows, scale in steps(problem, settings, number, seed):
        given = np.intersect1d(rows, mine, assume_unique=True), scale, ledger, weigher, matched
        found = step(likelihood, model, state, ranks, *given, f"epoch {number + 1}")
        slope, length = slope + found[0], length + found[1]
    for column in vars(ledger).values():
        elsewhere = np.ones(len(column), dtype=bool)
        elsewhere[mine] = False
        column[elsewhere] = 0.0
        ranks.add_arrays(column)
    ranks.add_arrays(robust)
    state.ledger = ledger
    state.history.append(
        Epoch(
            epoch=number,
            loss=float(robust[0] / problem.weights.sum(dtype=np.float64)),
            plain=float(np.average(ledger.plain, weights=problem.weights)),
            cross=float(np.average(ledger.cross, weights=problem.weights)),
            relative_residual=math.sqrt(slope / max(length, 1e-30)),
            learning_rate=rate,
            effective_1=effective_number(ledger.weight[half == 0]),
            effective_2=effective_number(ledger.weight[half == 1]),
        )
    )
    for schedule in state.schedules:
        schedule.step()


def steps(problem: Problem, settings: Iterative, number: int, seed: int) -> Iterator[tuple[Rows, NDArray[np.float64]]]:
    """The rows of each step of an epoch, and what its sums are multiplied by to stand for each whole half set, (2,).

    Batches are drawn anew in every epoch, by the particles' ids alone: neither their size nor the number of processes
    changes the mean gradient.
    """
    n = len(problem.data)
    if settings.batch_size is None:
        yield np.arange(n), np.ones(2)
        return
    order = np.argsort(hashed_uniform(problem.data.ids, 1, seed=seed, stream=1000 + number)[:, 0], kind="stable")
    total = np.bincount(problem.half, weights=problem.weights, minlength=2)
    for start in range(0, n, settings.batch_size):
        rows = np.sort(order[start : start + settings.batch_size])
        found = np.bincount(problem.half[rows], weights=problem.weights[rows], minlength=2)
        yield rows, np.divide(total, found, out=np.zeros(2), where=found > 0)


def step(
    likelihood: Likelihood,
    model: Model,
    state: State,
    ranks: Ranks,
    rows: Rows,
    scale: NDArray[np.float64],
    ledger: Ledger,
    weigher: Weigh,
    matched: MatchedResidual | None,
    progress: str,
) -> tuple[float, float]:
    """One step of both optimisers; squared lengths of the gradient and of the unknown before it."""
    problem = likelihood.problem
    maps = model.maps(torch.stack(state.unknown))

    def evaluate(grids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        array = to_array(grids, problem.backend)
        values, gradient = sweep(likelihood, rows, array, ledger, weigher, matched, progress)
        return torch.from_numpy(values).to(grids.device), to_tensor(gradient)

    values = data_term(grids_of(maps, problem.grid), evaluate)
    objective = values * torch.from_numpy(scale).to(values) + model.penalty(maps) / ranks.world
    gradients = torch.autograd.grad(objective.sum(), state.unknown)
    slope = length = 0.0
    for h, (unknown, optimiser) in enumerate(zip(state.unknown, state.optimisers, strict=True)):
        unknown.grad = gradient = ranks.add(gradients[h].contiguous())
        slope += float(gradient.square().sum(dtype=torch.float64))
        length += float(unknown.detach().square().sum(dtype=torch.float64))
        value = float(objective[h].detach())
        with first_step_at_full_length(optimiser, gradient):
            optimiser.step(lambda value=value: value)  # type: ignore[misc]
    return slope, length


@contextmanager
def first_step_at_full_length(optimiser: torch.optim.Optimizer, gradient: torch.Tensor) -> Iterator[None]:
    """Undo that LBFGS divides its first step by the sum of |gradient|: here a step of length 1 is nearly Newton's."""
    group = optimiser.param_groups[0]
    rate = group["lr"]
    if isinstance(optimiser, torch.optim.LBFGS) and not optimiser.state:
        group["lr"] = rate * max(1.0, float(gradient.abs().sum()))
    yield
    group["lr"] = rate


def finished(history: list[Epoch], settings: Iterative) -> str | None:
    """Why no further epoch is needed, or None."""
    if not history:
        return None
    still_changing = len(settings.keep) if settings.loss in TRIMMED else 1 if sorts_the_set(settings) else 0
    if len(history) > still_changing and history[-1].relative_residual <= settings.tolerance:
        return "the normal equations hold"
    if settings.patience is not None and len(history) - 1 - best_epoch(history) >= settings.patience:
        return STOPPED
    return "all epochs are done" if len(history) >= settings.n_epochs else None


STOPPED = "the cross-validation loss falls no more"


def best_epoch(history: list[Epoch]) -> int:
    """The epoch that started from the maps with the lowest cross-validation loss."""
    return int(np.argmin([e.cross for e in history]))
