"""The grids that maps have in Fourier space, and the sums on them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Self

from scipy.fft import next_fast_len

from cryocore.backend import Backend, host


@dataclass(frozen=True)
class FourierGrid:
    """The padded half-space Fourier grid of a map.

    It covers the ball of the map's shells up to ``last_shell`` of the transform of the map padded from ``box`` to
    ``size`` voxels, as an array ``(R+2, 2R+3, 2R+3)`` indexed [kz, ky+R+1, kx+R+1]: kz >= 0 only, one voxel of margin.

    >>> grid = FourierGrid.of(box=96, pixel_size_angstrom=2.2, padding=2.0)
    >>> grid.size, grid.last_shell, grid.shape
    (192, 47, (97, 193, 193))
    """

    box: int
    pixel_size_angstrom: float
    size: int
    last_shell: int

    @classmethod
    def of(cls, box: int, pixel_size_angstrom: float, padding: float, last_shell: int | None = None) -> Self:
        """The grid for a padding, rounded up to a size with fast transforms; default: all shells below Nyquist."""
        size = next_fast_len(math.ceil(padding * box), real=True)
        nyquist = (box - 1) // 2
        return cls(box, pixel_size_angstrom, size, nyquist if last_shell is None else min(last_shell, nyquist))

    @property
    def padding(self) -> float:
        """Grid points per shell."""
        return self.size / self.box

    @property
    def radius(self) -> int:
        """R, the radius of the ball in grid points."""
        return min(math.ceil((self.last_shell + 0.5) * self.padding), self.size // 2 - 1)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of an array on the grid."""
        return self.radius + 2, 2 * self.radius + 3, 2 * self.radius + 3


def last_shell(box: int, pixel_size_angstrom: float, max_resolution_angstrom: float | None) -> int:
    """The last shell in use: below Nyquist, and not beyond the asked-for resolution.

    >>> last_shell(96, 2.2, None), last_shell(96, 2.2, 8.0)
    (47, 26)
    """
    nyquist = (box - 1) // 2
    if max_resolution_angstrom is None:
        return nyquist
    return max(4, min(nyquist, round(box * pixel_size_angstrom / max_resolution_angstrom)))


def require_room(grid: FourierGrid, n_sets: int, backend: Backend, *, more_bytes: int = 0, more: str = "") -> None:
    """Refuse sums that the device has no room for, or for so many bytes ``more``."""
    what, fix = f"the sums of box {grid.box} at padding {grid.padding:.3g}{more}", "Lower reconstruct.padding"
    n_bytes = 12 * n_sets * math.prod(grid.shape) + more_bytes
    backend.require_room(n_bytes, what, f"{fix}, set reconstruct.max_resolution_angstrom")


@dataclass(frozen=True)
class FourierSums:
    """The normal equations of both half sets, or of one set, on the device of a backend.

    ``numerator``   complex64 ``(2, *grid.shape)``, or ``(1, ...)``: sum of w c y
    ``denominator`` float32, same shape: sum of w c²
    """

    numerator: Any
    denominator: Any
    grid: FourierGrid
    backend: Backend = field(default_factory=host)

    def on(self, backend: Backend) -> Self:
        """The same on the device of another backend."""
        if backend is self.backend:
            return self
        require_room(self.grid, len(self.numerator), backend)
        arrays = (self.backend.to_host(a) for a in (self.numerator, self.denominator))
        numerator, denominator = (backend.to_device(a) for a in arrays)
        return replace(self, numerator=numerator, denominator=denominator, backend=backend)
