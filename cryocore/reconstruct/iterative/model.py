"""The unknown: half maps, in coordinates in which the fit is well conditioned.

In the fit of the map x the curvature at a coefficient k of its transform is close to

    H(k) = n p³ D(k) / sigma²(k) + prior(k)

with the box n, the padding p and the density D of samples (sum of w C² on the grid). The unknown is u with
``x = F⁻¹ (H^(-1/2) F u)``: its curvature is close to 1 everywhere, its noise has unit variance, and a gradient step of
length 1 is nearly Newton's. Coefficients outside the ball of shells in use, and the mean, are 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from cryocore.imaging.grid import FourierGrid
from cryocore.imaging.solve import DAMPING, wiener_prior
from cryocore.maps.fsc import shell_index
from cryocore.reconstruct.iterative.symmetry import SymmetryOperators
from cryocore.types import Floats, Floats32


@dataclass(frozen=True)
class Model:
    """Curvature of data and prior, ``(2, n//2+1, n, n)`` over [kz, ky, kx] as torch's FFT has them.

    ``inside`` : of the same shape, where there is anything to know
    """

    data: torch.Tensor
    prior: torch.Tensor
    inside: torch.Tensor
    equivalents: SymmetryOperators

    @classmethod
    def of(
        cls,
        density: Floats32,
        noise_power: Floats,
        prior: Floats,
        ridge: float,
        grid: FourierGrid,
        equivalents: SymmetryOperators,
    ) -> Model:
        """From the density of samples on the unpadded grid, with the symmetry equivalents of all particles added up.

        Parameters
        ----------
        density : (2, r+2, 2r+3, 2r+3) as ``imaging.solve.sampling_density`` gives it
        noise_power : (shells,) from shell 0
        prior : (shells,) curvature of the prior over the mean curvature of the data
        ridge : curvature of |x|², over the mean curvature of the data in the ball
        """
        n, last = grid.box, grid.last_shell
        shell = shell_index(n).T  # the same over [kz, ky, kx]
        inside = (shell <= last) & (shell > 0)
        shell = np.minimum(shell, last)
        along = np.rint(np.fft.fftfreq(n) * n).astype(int)
        row = np.clip(along, -last - 1, last + 1) + last + 1
        sampled = density[:, np.minimum(np.arange(n // 2 + 1), last + 1)][:, :, row][:, :, :, row]
        data = n * grid.padding**3 / len(equivalents.group) * sampled / noise_power[shell]
        penalty = (np.stack([shell_means(d, shell, inside) for d in data]) * prior)[:, shell]
        penalty += ridge * data[:, inside].mean(axis=1)[:, None, None, None]
        first, second = (torch.from_numpy(np.where(inside, v, 0.0).astype(np.float32)) for v in (data, penalty))
        return cls(first, second, torch.from_numpy(inside), equivalents)

    def to(self, device: torch.device) -> Model:
        """The same on a device."""
        return replace(self, **{n: getattr(self, n).to(device) for n in ("data", "prior", "inside")})

    def maps(self, unknown: torch.Tensor) -> torch.Tensor:
        """The half maps of the unknown, both ``(2, n, n, n)``."""
        return self.equivalents.mean(from_spectrum(to_spectrum(unknown) * self._scale, unknown.shape[-1]))

    def unknown(self, maps: torch.Tensor) -> torch.Tensor:
        """The unknown that gives maps; what they have outside the ball is dropped."""
        scale = self._scale
        spectrum = to_spectrum(maps)
        return from_spectrum(torch.where(scale > 0, spectrum / scale.clamp(min=1e-30), 0.0), maps.shape[-1])

    @property
    def _scale(self) -> torch.Tensor:
        return torch.where(self.inside, torch.rsqrt((self.data + self.prior).clamp(min=1e-30)), 0.0)

    def unfiltered(self, maps: torch.Tensor) -> torch.Tensor:
        """Maps ``(2, n, n, n)`` without the shrinkage that the prior puts on them."""
        if not bool(self.prior.any()):
            return maps
        gain = torch.where(self.inside, (self.data + self.prior) / self.data.clamp(min=1e-30), 0.0)
        return from_spectrum(to_spectrum(maps) * gain, maps.shape[-1])

    def smoothed(self, maps: torch.Tensor, weight: Floats) -> torch.Tensor:
        """Maps ``(2, n, n, n)``, each shell of their transforms by a weight ``(shells,)``."""
        inside = self.inside.cpu().numpy()
        gain = torch.from_numpy(np.where(inside, weight[shells_of(inside)], 0.0).astype(np.float32)).to(maps.device)
        return from_spectrum(to_spectrum(maps) * gain, maps.shape[-1])

    def penalty(self, maps: torch.Tensor) -> torch.Tensor:
        """Half the sum of prior |X|² over all coefficients of each map, ``(2,)``."""
        power = self.prior * to_spectrum(maps).abs().square()
        n = maps.shape[-1]
        twice = slice(1, (n + 1) // 2)  # planes whose symmetry equivalents are left out
        return 0.5 * (power.sum(dim=(1, 2, 3)) + power[:, twice].sum(dim=(1, 2, 3)))

    def damped(self, halves: Floats32) -> Floats32:
        """Half maps ``(2, n, n, n)`` of a fit without a prior, with the damping of ``imaging.solve.Solver.half``."""
        n, data, inside = halves.shape[-1], self.data.numpy(), self.inside.numpy()
        shell = shells_of(inside)
        added = DAMPING * np.stack([shell_means(d, shell, inside)[shell] for d in data])
        gain = np.where(inside, (1.0 + DAMPING) * data / np.maximum(data + added, 1e-30), 0.0).astype(np.float32)
        spectrum = to_spectrum(torch.from_numpy(halves)) * torch.from_numpy(gain)
        return np.asarray(from_spectrum(spectrum, n).numpy())

    def merged(self, halves: Floats32, fsc: Floats) -> Floats32:
        """The map ``(n, n, n)`` of half maps ``(2, n, n, n)``, each coefficient weighted by its data.

        It is Wiener-filtered by the FSC ``(shells,)`` between the halves, as ``imaging.solve.Solver.merged`` does.
        """
        n, data, inside = halves.shape[-1], self.data.numpy(), self.inside.numpy()
        shell = shells_of(inside)
        total = data.sum(axis=0)
        prior = wiener_prior(shell_means(total, shell, inside), fsc)
        divisor = np.where(inside, total + prior[shell], np.inf).astype(np.float32)
        spectrum = (to_spectrum(torch.from_numpy(halves)) * self.data).sum(dim=0) / torch.from_numpy(divisor)
        return np.asarray(from_spectrum(spectrum[None], n)[0].numpy())


def shells_of(inside: NDArray[np.bool_]) -> NDArray[np.int32]:
    """The shell of each coefficient ``(n//2+1, n, n)``, 0 for those that are not inside."""
    return np.where(inside, shell_index(inside.shape[-1]).T, 0)


def shell_means(values: NDArray[np.floating], shell: NDArray[np.int32], inside: NDArray[np.bool_]) -> Floats:
    """Mean of values over the coefficients of each shell that are inside, from shell 0 to the last one."""
    at, size = shell[inside], int(shell.max()) + 1
    return np.bincount(at, weights=values[inside], minlength=size) / np.maximum(np.bincount(at, minlength=size), 1)


def to_spectrum(maps: torch.Tensor) -> torch.Tensor:
    """Unitary transforms ``(m, n//2+1, n, n)`` of maps ``(m, n, n, n)``."""
    return torch.fft.rfftn(maps, dim=(3, 2, 1), norm="ortho")


def from_spectrum(spectrum: torch.Tensor, n: int) -> torch.Tensor:
    """The inverse of :func:`to_spectrum`."""
    return torch.fft.irfftn(spectrum, s=(n, n, n), dim=(3, 2, 1), norm="ortho")
