"""What a residual costs: robust losses, and the weights that they give to particles.

Every loss is minimised by majorisation: with the losses of the particles known, the map is fitted by weighted least
squares, and the weight of a particle is the derivative of its loss rho at its squared distance q [1]_. For the plain
residual this is the gradient of the loss itself. A squared distance q is 1 in the mean for a particle that fits.

References
----------
.. [1] Holland & Welsch (1977), Commun. Stat. A 6, 813-827. Weiszfeld (1937), Tohoku Math. J. 43, 355-386.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from cryocore.config.base import per_round
from cryocore.config.solve import Iterative
from cryocore.types import Floats

Rho = Callable[[torch.Tensor], torch.Tensor]
TRIMMED = "trimmed", "trimmed_l1"
"""Losses of the best share alone."""


def rho(settings: Iterative, epoch: int, coefficients: float = 1.0) -> Rho:
    """The loss of particles as a function of their squared distances ``(n,)``; its derivative is their weight.

    Parameters
    ----------
    epoch : from 0; picks the share that trimmed losses keep
    coefficients : number of real numbers that a distance is the mean square of (Student's t)
    """
    nu, m, floor, delta = settings.nu, coefficients, settings.floor, settings.delta
    share = per_round(settings.keep, epoch + 1)

    def l1(q: torch.Tensor) -> torch.Tensor:
        return 2 * floor * (torch.sqrt(q + floor**2) - floor)

    losses: dict[str, Rho] = {
        "l2": lambda q: q,
        "trimmed": lambda q: _smallest(q, share),
        "trimmed_l1": lambda q: l1(_smallest(q, share)),
        "l1": l1,
        "huber": lambda q: torch.where(q <= delta**2, q, 2 * delta * torch.sqrt(q.clamp(min=delta**2)) - delta**2),
        "irls": lambda q: torch.where(q <= floor**2, q, 2 * floor * torch.sqrt(q.clamp(min=floor**2)) - floor**2),
        "student_t": lambda q: (nu + m) / m * torch.log1p(m * q / nu),
    }
    return losses[settings.loss]


def _smallest(q: torch.Tensor, share: float) -> torch.Tensor:
    """The distances of the best share, at least one particle, and 0 for all others; ties go by position."""
    kept = torch.argsort(q.detach(), stable=True)[: max(1, round(share * len(q)))]
    return torch.zeros_like(q).scatter(0, kept, q[kept])


def weigh(
    settings: Iterative, epoch: int, coefficients: float, distance: Floats, half: NDArray[np.int32]
) -> tuple[Floats, Floats]:
    """Loss and weight of particles, ``(n,)`` each, by their squared distances; half sets are weighed apart.

    A distance may be negative, where a particle fits better than it should: that matters to sorting only.
    """
    losses, weights = np.zeros(len(distance)), np.zeros(len(distance))
    loss, signed = rho(settings, epoch, coefficients), settings.loss in ("l2", "trimmed")
    for h in np.unique(half):
        at = half == h
        with torch.enable_grad():  # a sweep runs inside a node of another graph
            q = torch.from_numpy(distance[at] if signed else np.maximum(distance[at], 0.0)).requires_grad_()
            value = loss(q)
            (slope,) = torch.autograd.grad(value.sum(), q)
        losses[at], weights[at] = value.detach().numpy(), slope.numpy()
    return losses, weights


def sorts_the_set(settings: Iterative) -> bool:
    """Whether weights come from the distances of the epoch before, not from those of the same pass."""
    return settings.loss == "irls" or (settings.loss in TRIMMED and settings.scope == "set")
