"""A and Aᵀ for autograd: prediction of images and its adjoint by the kernels, maps and their grids by torch's FFT.

Images are prepared (:func:`cryocore.imaging.prepare.prepare`): centred, so that the shift S is in y and A = C P.
Gradients of complex tensors are torch's: dL/dRe + i dL/dIm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cryocore.backend import Backend, Kernel
from cryocore.imaging.blocked import BlockedVolume
from cryocore.imaging.grid import FourierGrid
from cryocore.imaging.image_geometry import ImageGeometry, slice_basis
from cryocore.imaging.insertion import Insertion
from cryocore.imaging.prepare import Prepared
from cryocore.imaging.slices import project
from cryocore.imaging.volumes import interpolation_factor
from cryocore.score.bands import BandSamples


@dataclass(frozen=True)
class Views:
    """Where images look: poses ``(n, 3, 3)``, half sets 0 or 1 ``(n,)``, CTF float32 ``(n, 2r+1, r+1)``."""

    rotations: NDArray[np.float64]
    half: NDArray[np.int32]
    ctf: Any
    frame: ImageGeometry
    grid: FourierGrid
    backend: Backend


def differentiable_once(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse gradients of gradients, which the kernels do not have, where they are asked for."""

    @wraps(backward)
    def refusing(ctx: Any, *gradients: torch.Tensor) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError("the operators can be differentiated once only: do not ask for create_graph")
        return backward(ctx, *gradients)

    return refusing


def device_of(backend: Backend) -> torch.device:
    """Where torch keeps what the backend's kernels work on."""
    return torch.device(backend.device)


def to_tensor(array: Any) -> torch.Tensor:
    """The tensor of a NumPy or CuPy array, in the same memory."""
    return torch.utils.dlpack.from_dlpack(array)


def to_array(tensor: torch.Tensor, backend: Backend) -> Any:
    """The backend's array of a tensor of its device, in the same memory where that is contiguous."""
    return backend.xp.from_dlpack(tensor.detach().resolve_conj().resolve_neg().contiguous())


def predict(grids: torch.Tensor, views: Views) -> torch.Tensor:
    """A: C P V, ``(n, 2r+1, r+1)`` complex64, of grids ``(2, *grid.shape)``; differentiable once in the grids."""
    return _Predict.apply(grids, views)  # type: ignore[no-untyped-call]


class _Predict(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, grids: torch.Tensor, views: Views) -> torch.Tensor:
        ctx.views = views
        slices = project(to_array(grids, views.backend), views.rotations, views.half, views.frame, views.backend)
        slices *= views.ctf
        return to_tensor(slices)

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        views = ctx.views
        insertion = Insertion(views.grid, views.backend)
        batch = Prepared(to_array(gradient, views.backend), views.ctf, views.frame)
        insertion.add(batch, views.rotations, np.ones(len(batch), dtype=np.float32), views.half)
        insertion.flush()
        return to_tensor(insertion.numerator), None


def data_term(grids: torch.Tensor, sweep: Callable[[Any], tuple[Any, Any]]) -> torch.Tensor:
    """A sum over many images as one node of the graph, ``(2,)``, one value per half set.

    ``sweep`` takes the grids as an array and returns the values and their gradient: one pass over the images gives
    both, so that no prediction is kept and no image is read twice. Differentiable once.
    """
    return _DataTerm.apply(grids, sweep)  # type: ignore[no-untyped-call]


class _DataTerm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, grids: torch.Tensor, sweep: Callable[[torch.Tensor], tuple[Any, Any]]) -> torch.Tensor:
        values, gradient = sweep(grids)
        ctx.save_for_backward(gradient)
        return values

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (saved,) = ctx.saved_tensors
        return saved * gradient[:, None, None, None].to(saved.real.dtype), None


def residual(
    grids: BlockedVolume,
    batch: Prepared,
    rotations: NDArray[np.float64],
    half: NDArray[np.int32],
    precision: Any,
    samples: Any,
    backend: Backend,
) -> NDArray[np.float64]:
    """Sum of p |y - C P V|² of each image under the map of its own half set and of the other, ``(n, 2)``.

    Both Friedel mates count. What is left of the images, p (y - C P V) under their own map, takes their place.

    Parameters
    ----------
    grids : those of both half maps
    precision : (2r+1, r+1) float32, one over the noise power of each coefficient in use, 0 elsewhere
    samples : (m, 2) int16, the coefficients in use as (kx, ky), as ``BandSamples.lanes`` has them
    """
    n, r, loss = len(batch), batch.frame.limit, backend.xp.empty((len(batch), 2), dtype=np.float32)
    views = backend.to_device(slice_basis(rotations, batch.frame)), backend.to_device(half.astype(np.int32))
    inputs = grids.values, *views, batch.image, batch.ctf, samples, len(samples), precision
    backend.launch(Kernel("residual.cu", "residual_slices"), (*inputs, n, r, grids.radius, batch.image, loss), items=n)
    return np.asarray(backend.to_host(loss), dtype=np.float64)


def samples_of(precision: NDArray[np.float32]) -> NDArray[np.int16]:
    """The coefficients ``(m, 2)`` as (kx, ky) with a precision above 0, filled up for the kernels."""
    ky, kx = np.nonzero(precision)
    pairs = np.stack([kx, ky - len(precision) // 2], axis=1).astype(np.int16)
    return BandSamples(pairs, np.array([0, len(pairs)], dtype=np.int32)).lanes[0]


def grids_of(maps: torch.Tensor, grid: FourierGrid) -> torch.Tensor:
    """Half-space transforms ``(m, *grid.shape)`` of maps ``(m, n, n, n)``, ready to be interpolated.

    What :func:`cryocore.imaging.volumes.map_to_grid` computes, with a gradient.
    """
    line = torch.from_numpy(interpolation_factor(grid)).to(maps)
    values = maps / (grid.box * line[:, None, None] * line[:, None] * line)
    return transform(values, grid.size, grid.radius + 1)


def transform(maps: torch.Tensor, size: int, reach: int) -> torch.Tensor:
    """Transforms of maps ``(m, n, n, n)`` padded to ``size``, ``(m, reach + 1, 2 reach + 1, 2 reach + 1)``."""
    n = maps.shape[-1]
    points = torch.arange(-reach, reach + 1, device=maps.device)
    # the origin of a map is at n // 2
    turn = torch.polar(torch.ones_like(points, dtype=maps.dtype), 2 * torch.pi * (points * (n // 2) % size) / size)
    turn = turn.to(torch.complex64 if maps.dtype == torch.float32 else torch.complex128)
    along_z = torch.fft.rfft if reach <= size // 2 else torch.fft.fft
    values = along_z(maps, n=size, dim=1)[:, : reach + 1] * turn[reach:, None, None]
    values = torch.fft.fft(values, n=size, dim=3).index_select(3, points % size) * turn
    return torch.fft.fft(values, n=size, dim=2).index_select(2, points % size) * turn[:, None]
