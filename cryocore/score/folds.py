"""Half maps that lack one fold of their particles each, so that every particle has a reference without its noise."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryocore.errors import InputError
from cryocore.imaging.accumulate import accumulate, symmetrise
from cryocore.imaging.grid import FourierSums
from cryocore.imaging.solve import Solver
from cryocore.maps.mrc import read_map
from cryocore.score.comparison import Comparison, Folds, fold_of
from cryocore.score.reference import read_sampling, sampling_grid
from cryocore.tables.particles import Particles
from cryocore.types import Floats32

log = logging.getLogger(__name__)


def make_folds(data: Particles, weights: Floats32, round_dir: Path, comparison: Comparison) -> Folds:
    """The half maps of a round without each fold of its particles, solved and masked as the round's own.

    The sums of all folds but the first are changed from fold to fold: one comes, one leaves. So there is one pair of
    sums at a time, and (3 - 3 / k) times the particles are read.

    Raises
    ------
    InputError  if a fold has no particle that is part of its half map.
    """
    k, backend = comparison.settings.n_folds, comparison.backend
    fold = fold_of(data.images, k, comparison.seed)
    require_particles_in_folds(fold[weights > 0], data.column("half")[weights > 0], k)
    mask, _ = read_map(round_dir / "mask.mrc")
    grid = sampling_grid(data, read_sampling(round_dir / "sampling.npz"))
    maps = np.empty((k, 2, *mask.shape), dtype=np.float32)
    sums: FourierSums | None = None
    inside = np.zeros_like(weights)
    for f in range(k):
        others = np.where(fold == f, np.float32(0), weights)
        name = f"fold {f + 1} of {k}"
        sums = accumulate(data, others - inside, grid, backend, sums, source=comparison.source, progress=name)
        inside = others
        solver = Solver(symmetrise(sums, comparison.group), comparison.group)
        for h in range(2):
            maps[f, h] = solver.half(h) * mask
    log.info("made half maps without each of %d folds", k)
    return Folds(maps, comparison.seed)


def require_particles_in_folds(fold: NDArray[np.intp], half: NDArray[np.int8], n_folds: int) -> None:
    """Refuse folds of which one has no particle of a half map."""
    for h in (1, 2):
        count = np.bincount(fold[half == h], minlength=n_folds)
        if not count.all():
            raise InputError(
                f"the {count.sum()} particles in the map of half set {h} are too few for {n_folds} folds",
                setting="score.n_folds",
                fix="Lower it, keep more particles, or set score.leave_one_out: closed_form",
            )


def signal_without(signal: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """The share of a half map that is signal, ``(bands,)``, where a share of its particles is left out of it.

    >>> signal_without(np.array([0.0, 0.5, 1.0]), 0.5).round(3).tolist()
    [0.0, 0.333, 1.0]
    """
    return (1.0 - share) * signal / (1.0 - share * signal)
