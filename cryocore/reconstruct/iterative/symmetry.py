"""Point groups: maps in the mean over their symmetry equivalents.

The mean is taken in Fourier space with a Kaiser-Bessel window on a grid of twice the box [1]_, within the sphere that
rotations leave in the box. Trilinear interpolation would keep some percent of what is not symmetric, and iteration
would add that up. The mean is its own adjoint: a gradient that goes through it is symmetric, and so is what grows from
a map of zeros.

References
----------
.. [1] Jackson et al. (1991), IEEE Trans. Med. Imaging 10, 473-478.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cryocore.backend import Backend, Kernel, constant
from cryocore.reconstruct.iterative.operators import differentiable_once, to_array, to_tensor, transform

TAPS, STEPS = constant("average.cu", "TAPS"), constant("average.cu", "STEPS")
PADDING = 2
SHAPE = 2.34 * TAPS
"""Of the window, for this padding."""


@dataclass(frozen=True)
class SymmetryOperators:
    """The symmetry equivalents of maps ``(n, n, n)``: rotations ``(m, 3, 3)`` of a point group, up to a shell of the
    transform."""

    group: NDArray[np.float64]
    box: int
    last_shell: int
    backend: Backend

    def mean(self, maps: torch.Tensor) -> torch.Tensor:
        """Maps ``(m, n, n, n)`` in the mean over their symmetry equivalents, differentiable once."""
        if len(self.group) == 1:
            return maps
        return _Mean.apply(maps, self)  # type: ignore[no-untyped-call]

    @cached_property
    def sphere(self) -> torch.Tensor:
        """1 inside the sphere, 0 outside, ``(n, n, n)``."""
        along = np.arange(self.box) - self.box // 2
        distance = np.sqrt(along[:, None, None] ** 2 + along[:, None] ** 2 + along**2)
        return torch.from_numpy((distance <= self.box / 2 - 1).astype(np.float32))

    @cached_property
    def window(self) -> tuple[Any, torch.Tensor]:
        """The table of the window ``(TAPS, STEPS + 1)``, and what it multiplies a map by, along one axis ``(n,)``."""
        share = np.linspace(0.0, 1.0, STEPS + 1)
        distance = share - (np.arange(TAPS) - (TAPS // 2 - 1))[:, None]
        table = np.i0(SHAPE * np.sqrt(np.maximum(1.0 - (2.0 * distance / TAPS) ** 2, 0.0))) / np.i0(SHAPE)
        weight = np.full(STEPS + 1, 1.0 / STEPS)
        weight[[0, -1]] /= 2
        position = (np.arange(self.box) - self.box // 2) / (PADDING * self.box)
        waves = np.cos(2.0 * np.pi * position[:, None, None] * distance)
        factor = np.einsum("nts,ts,s->n", waves, table, weight)
        return self.backend.to_device(table.astype(np.float32)), torch.from_numpy(factor.astype(np.float32))


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: torch.Tensor, equivalents: SymmetryOperators) -> torch.Tensor:
        ctx.equivalents = equivalents
        return _mean(maps, equivalents)

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return _mean(gradient, ctx.equivalents), None


def _mean(maps: torch.Tensor, equivalents: SymmetryOperators) -> torch.Tensor:
    n, last, backend = equivalents.box, equivalents.last_shell, equivalents.backend
    sphere, (table, factor) = equivalents.sphere.to(maps), equivalents.window
    factor = factor.to(maps)
    size, reach = PADDING * n, PADDING * (last + 1) + TAPS // 2 + 1
    spectra = transform(maps * sphere / (factor[:, None, None] * factor[:, None] * factor), size, reach)
    operators = backend.to_device(equivalents.group.astype(np.float32).reshape(-1, 9))
    out = []
    for spectrum in spectra:
        width = 2 * last + 3
        mean = backend.xp.empty((last + 2, width, width), dtype=np.complex64)
        args = (
            to_array(spectrum, backend),
            operators,
            table,
            len(equivalents.group),
            reach - 1,
            float(PADDING),
            last,
            mean,
        )
        backend.launch(Kernel("average.cu", "average_mates"), args, items=(last + 2) * width)
        out.append(back(to_tensor(mean)[: n // 2 + 1], n))
    return torch.stack(out) * sphere


def back(spectrum: torch.Tensor, n: int) -> torch.Tensor:
    """The map ``(n, n, n)`` of a transform ``(k, 2 r + 3, 2 r + 3)`` [kz, ky, kx] up to shells below Nyquist."""
    reach = spectrum.shape[-1] // 2
    points = torch.arange(-reach, reach + 1, device=spectrum.device)
    turn = torch.polar(torch.ones(len(points), device=spectrum.device), -2 * torch.pi * (points * (n // 2) % n) / n)
    turned = spectrum * turn[reach : reach + len(spectrum), None, None] * turn[:, None] * turn
    wrapped = turned.new_zeros((n // 2 + 1, n, n))
    at = points % n
    wrapped[: len(turned), at[:, None], at] = turned
    return torch.fft.irfftn(wrapped, s=(n, n, n), dim=(2, 1, 0))
