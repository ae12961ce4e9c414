"""What is left of images at low resolution when the map's prediction is taken out, and what templates have of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from cryocore.backend import Backend
from cryocore.explore.gallery import Seen
from cryocore.formats.stacks import batch_size, batches
from cryocore.geometry.rotations import rotations_by_angle
from cryocore.imaging.ctf import ctf
from cryocore.imaging.grid import FourierGrid
from cryocore.imaging.image_geometry import ImageGeometry
from cryocore.imaging.prepare import prepare
from cryocore.imaging.slices import project
from cryocore.imaging.volumes import interpolation_factor
from cryocore.maps.fsc import fsc, fsc_weight, shell_index
from cryocore.score.bands import disc
from cryocore.score.sums import Batch, predictions
from cryocore.types import Floats, Floats32, Ints

FINEST_ANGSTROM = 8.0
MOST_SHELLS = 16
"""Finer detail is left out: a part that is elsewhere shows well before."""
PADDING = 1.5
PROFILE_KNOTS = 5
"""Of the piecewise linear profile that a particle's signal may have over the shells."""
TURNED_DEG = 3.0
DEFOCUS_ANGSTROM = 100.0
"""Steps of the derivatives by pose and defocus."""
BATCH_BYTES = 1 << 26
"""Of the slices of templates that are held at a time."""
TEMPLATES = 56
"""Whose slices are taken at a time."""


@dataclass(frozen=True)
class Residuals:
    """Residuals of n particles up to a shell, in units of their noise; what is not a sample is 0.

    ``values`` : complex64 ``(n, 2r+1, r+1)``, image less the prediction of the own half map without the own share
    ``ctf`` : float32, same shape, over the noise's standard deviation
    ``quadrature`` : float32, same shape: how the CTF changes with the defocus
    ``rotations`` : ``(n, 3, 3)``; ``half`` ``(n,)`` 0 or 1; ``rows`` ``(n,)`` of the data set
    """

    values: NDArray[np.complex64]
    ctf: Floats32
    quadrature: Floats32
    rotations: Floats
    half: NDArray[np.int32]
    rows: Ints
    frame: ImageGeometry
    grid: FourierGrid

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, at: Ints) -> Residuals:
        """Those of some particles."""
        of_each = ("values", "ctf", "quadrature", "rotations", "half", "rows")
        return replace(self, **{name: getattr(self, name)[at] for name in of_each})


def coarse_grid(seen: Seen) -> FourierGrid:
    """The grid of the maps' low resolution: that of a small box of the same field of view."""
    optics, edges = seen.data.reference_optics, seen.comparison.reference.edges
    field = optics.box * optics.pixel_size_angstrom
    last = min(int(field / FINEST_ANGSTROM), MOST_SHELLS, int(edges[-1]) - 1)
    last = int(edges[np.searchsorted(edges, last + 1)]) - 1  # the end of a band
    return FourierGrid.of(2 * last + 2, field / (2 * last + 2), PADDING, last)


def coarse_map(volume: Floats32, box: int) -> Floats32:
    """A map ``(n, n, n)`` in a smaller even box of the same field of view, its values those of the low-passed map."""
    n = len(volume)
    spectrum = np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(volume)))
    part = spectrum[(slice(n // 2 - box // 2, n // 2 + box // 2),) * 3].copy()
    part[0], part[:, 0], part[:, :, 0] = 0.0, 0.0, 0.0
    return np.asarray(np.fft.fftshift(np.fft.ifftn(np.fft.ifftshift(part)).real) * (box / n) ** 3, dtype=np.float32)


def signal_of(maps: Floats32) -> Floats32:
    """Half maps ``(2, n, n, n)`` with as much of each shell as is signal, and the less noise."""
    n = maps.shape[-1]
    weight = fsc_weight(fsc(*maps)).astype(np.float32)[np.minimum(shell_index(n), n // 2)]
    axes = (1, 2, 3)
    return np.asarray(scipy.fft.irfftn(weight * scipy.fft.rfftn(maps, axes=axes), maps.shape[1:], axes))


def grids_of(volumes: Floats32, grid: FourierGrid) -> NDArray[np.complex64]:
    """What :func:`cryocore.imaging.volumes.map_to_grid` makes of each of many small maps ``(k, n, n, n)``."""
    n, size, reach = grid.box, grid.size, grid.radius + 1
    line = np.float32(n) ** (1 / 3) * interpolation_factor(grid)
    corrected = volumes / (line[:, None, None] * line[:, None] * line)
    padded = np.zeros((len(volumes), size, size, size), dtype=np.float32)
    padded[:, :n, :n, :n] = corrected
    padded = np.roll(padded, (-(n // 2),) * 3, axis=(1, 2, 3))
    spectrum = scipy.fft.rfftn(padded, axes=(2, 3, 1))
    across = np.arange(-reach, reach + 1)
    return np.ascontiguousarray(spectrum[:, : reach + 1][:, :, across][:, :, :, across])


def residuals(seen: Seen, rows: Ints, grid: FourierGrid, noise_factor: Floats, noise: Floats) -> Residuals:
    """Read the images of some rows once, and keep what they have at low resolution beside the map.

    Parameters
    ----------
    noise_factor : (n,) of the data set, a particle's noise power over that of its optics group
    noise : (optics groups, bands), that of the groups
    """
    reference, data, backend = seen.comparison.reference, seen.data, seen.comparison.backend
    part = data.take(rows)
    n_bands = int(np.searchsorted(reference.edges, grid.last_shell + 1))
    half, group = part.column("half").astype(np.int32) - 1, part.column("optics_group").astype(np.intp)
    share = (seen.weights[rows] * reference.self_contribution).astype(np.float32)
    frame = ImageGeometry.of(part.optics[0], grid)
    shape = (len(rows), 2 * frame.limit + 1, frame.limit + 1)
    values, contrast = np.zeros(shape, dtype=np.complex64), np.zeros(shape, dtype=np.float32)
    quadrature = np.zeros(shape, dtype=np.float32)
    rotations = part.rotations
    size = batch_size(max(o.box for o in part.optics))
    for at, images in batches(
        part, np.arange(len(rows)), size, source=seen.comparison.source, progress="states", memory=backend.memory
    ):
        g = int(group[at[0]])
        own = reference.frames[g]
        prepared = prepare(images, part.take(at), own, backend)
        given = prepared, rotations[at], half[at], share[at], reference, reference.samples[g].first(n_bands), backend
        predicted = predictions(Batch(*given))
        r, middle = frame.limit, own.limit
        window = np.s_[:, middle - r : middle + r + 1, : r + 1]
        weight = _weights(ImageGeometry.of(part.optics[g], grid), reference.edges, noise[g])
        weight = weight / np.sqrt(noise_factor[rows[at], None, None])
        image, x, c = (backend.to_host(a[window]) for a in (prepared.image, predicted, prepared.ctf))
        values[at], contrast[at] = (image - x) * weight, c * weight
        quadrature[at] = _defocus_change(part, at, own, r) * weight
    return Residuals(values, contrast, quadrature, rotations, half, rows, frame, grid)


def _weights(frame: ImageGeometry, edges: NDArray[np.int32], noise: Floats) -> Floats:
    """One over the noise's standard deviation at each coefficient ``(2r+1, r+1)``, 0 where it is not a sample."""
    _, used, shell = disc(frame)
    band = np.clip(np.searchsorted(edges, shell, side="right") - 1, 0, len(noise) - 1)
    inside = used & (shell >= edges[0]) & (shell < edges[-1]) & (noise[band] > 0)
    return np.where(inside, 1.0 / np.sqrt(np.where(inside, noise[band], 1.0)), 0.0)


def _defocus_change(part: Any, at: Ints, frame: ImageGeometry, r: int) -> Floats:
    """The CTF of particles further from focus less that of those nearer, ``(m, 2r+1, r+1)``."""
    optics = frame.optics
    step = 1.0 / (optics.box * optics.pixel_size_angstrom)
    ky, kx = np.mgrid[-r : r + 1, 0 : r + 1]
    names = *(f"defocus_{name}" for name in ("u_angstrom", "v_angstrom", "angle_deg")), "phase_shift_deg"
    u, v, angle, phase = (part.column(name)[at].astype(np.float64)[:, None, None] for name in names)
    more, less = (
        ctf(step * kx, step * ky, optics, u + d, v + d, angle, phase) for d in (DEFOCUS_ANGSTROM, -DEFOCUS_ANGSTROM)
    )
    return more - less


def as_real(values: NDArray[np.complex64]) -> Floats32:
    """Complex coefficients ``(..., m)``, one of each Friedel pair, as real ones ``(..., 2m)`` of the same products."""
    flat = np.ascontiguousarray(values, dtype=np.complex64).view(np.float32)
    return flat * np.float32(np.sqrt(2.0))


def own_changes(left: Residuals, at: Ints, grids: Any, backend: Backend) -> Floats32:
    """What a particle's own scale, fall-off, pose, shift and defocus change in its image, to first order.

    Orthonormal columns ``(m, 2 (2r+1)(r+1), k)``, of the maps ``grids`` ``(2, ...)`` by the particles' half sets.
    """
    half, poses, frame, r = left.half[at], left.rotations[at], left.frame, left.frame.limit
    m = len(at)

    def slices(rotations: Floats) -> NDArray[np.complex64]:
        return np.asarray(backend.to_host(project(grids, rotations, half, frame, backend)))

    c, own = left.ctf[at], slices(poses)
    seen = own * c
    ky, kx = np.mgrid[-r : r + 1, 0 : r + 1]
    radius, knots = np.hypot(kx, ky), np.linspace(0.0, r, PROFILE_KNOTS)
    profile = np.clip(1.0 - np.abs(radius[None] - knots[:, None, None]) / knots[1], 0.0, None)
    columns = [seen * hat for hat in profile] + [1j * seen * k / r for k in (kx, ky)]
    for axis in np.eye(3):
        turn = rotations_by_angle(np.tile(axis, (m, 1)), np.full(m, TURNED_DEG))
        columns.append((slices(turn @ poses) - slices(np.swapaxes(turn, 1, 2) @ poses)) * c)
    columns.append(own * left.quadrature[at])
    flat = np.stack([as_real(a.reshape(m, -1)) for a in columns], axis=2)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-20)
    return np.asarray(np.linalg.qr(flat)[0], dtype=np.float32)


def products(
    left: Residuals, templates: Callable[[int], NDArray[np.complex64]], maps: Floats32, backend: Backend
) -> tuple[Floats32, Floats32]:
    """Products of the residuals with templates ``y``, and the power of these ``g``, ``(n, k)`` each.

    What the own changes of a particle explain is taken out of both. Without another state, y has mean 0 and variance g.

    Parameters
    ----------
    templates : grids ``(k, ...)`` of the templates for the particles of half set 0 or 1, as :func:`grids_of` makes them
    maps : (2, n, n, n), of which the own changes are those, for each half set
    """
    own = backend.to_device(grids_of(maps, left.grid))
    halves = [_products(left, np.flatnonzero(left.half == h), templates(h), own, backend) for h in (0, 1)]
    y, g = np.zeros((2, len(left), halves[0][0].shape[1]), dtype=np.float32)
    for h, found in enumerate(halves):
        y[left.half == h], g[left.half == h] = found
    return y, np.maximum(g, 0.0)


def _products(
    left: Residuals, rows: Ints, grids: NDArray[np.complex64], own: Any, backend: Backend
) -> tuple[Floats32, Floats32]:
    """:func:`products` of the particles ``rows`` of one half set, ``(m, k)`` each."""
    y, g = np.zeros((2, len(rows), len(grids)), dtype=np.float32)
    some = [slice(start, start + TEMPLATES) for start in range(0, len(grids), TEMPLATES)]
    on_device = [backend.to_device(grids[part]) for part in some]
    for rows_at in _batches(np.arange(len(rows)), left, min(len(grids), TEMPLATES)):
        at = rows[rows_at]
        columns = own_changes(left, at, own, backend)
        residual = as_real(left.values[at].reshape(len(at), -1))
        beside = np.concatenate([(residual - within(columns, residual))[:, :, None], columns], axis=2)
        for part, templates in zip(some, on_device, strict=True):
            flat, contrast = template_slices(left, at, templates, backend)
            found = flat @ (beside * contrast[:, :, None])
            y[rows_at, part] = found[:, :, 0]
            power = (np.square(flat, out=flat) @ np.square(contrast)[:, :, None])[:, :, 0]
            g[rows_at, part] = power - np.sum(found[:, :, 1:] ** 2, axis=2)
    return y, g


def template_slices(left: Residuals, at: Ints, grids: Any, backend: Backend) -> tuple[Floats32, Floats32]:
    """Slices of k templates at the poses of m particles, real ``(m, k, d)``, and the CTFs ``(m, d)`` they are to be
    multiplied with."""
    m, k = len(at), len(grids)
    which = np.tile(np.arange(k, dtype=np.int32), m)
    slices = backend.to_host(project(grids, np.repeat(left.rotations[at], k, axis=0), which, left.frame, backend))
    flat = np.ascontiguousarray(slices.reshape(m, k, -1)).view(np.float32)
    return flat, np.repeat(left.ctf[at].reshape(m, -1), 2, axis=1) * np.float32(np.sqrt(2.0))


def residual_parts(
    left: Residuals, change: tuple[Floats32, Floats32], maps: Floats32, value: Floats, slope: Floats, backend: Backend
) -> NDArray[np.complex64]:
    """Residuals times a function of their products with a template, less what noise alone gives, as ``left.values``.

    Product and residual share the noise along the template, so that a mean weighted by the function would show the
    template in noise alone. Its mean over normal noise is the function's mean slope times the template (Stein's lemma).

    Parameters
    ----------
    change : the template ``(n, n, n)`` for the particles of half set 1, and for those of 2
    maps : (2, n, n, n), as for :func:`products`
    value, slope : (n,) the function, and its derivative by the product
    """
    out = np.zeros_like(left.values)
    own = backend.to_device(grids_of(maps, left.grid))
    for h in (0, 1):
        grids = backend.to_device(grids_of(change[h][None], left.grid))
        for at in _batches(np.flatnonzero(left.half == h), left, 1):
            flat, contrast = template_slices(left, at, grids, backend)
            seen = flat[:, 0] * contrast
            seen = seen - within(own_changes(left, at, own, backend), seen)
            shared = np.ascontiguousarray(seen / np.float32(np.sqrt(2.0))).view(np.complex64).reshape(out[at].shape)
            out[at] = value[at, None, None] * left.values[at] - slope[at, None, None] * shared
    return out


def within(columns: Floats32, values: Floats32) -> Floats32:
    """The part of values ``(m, d)`` that lies in the space of orthonormal columns ``(m, d, k)``."""
    return np.asarray((columns @ (np.swapaxes(columns, 1, 2) @ values[:, :, None]))[:, :, 0])


def _batches(rows: Ints, left: Residuals, k: int) -> Iterator[Ints]:
    size = max(1, BATCH_BYTES // (8 * k * left.values[0].size))
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
