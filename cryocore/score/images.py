"""Residual images: what a particle's image y and the prediction x = C P V look like, and their difference y - x."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from cryocore.formats.stacks import batch_size, batches
from cryocore.imaging.image_geometry import ImageGeometry
from cryocore.imaging.prepare import prepare
from cryocore.imaging.slices import project
from cryocore.score.bands import BandSamples
from cryocore.score.comparison import Comparison
from cryocore.score.sums import Batch, of_region, predictions
from cryocore.tables.particles import Particles
from cryocore.types import Floats32, Ints

Complex = NDArray[np.complex64]


@dataclass(frozen=True)
class Pairs:
    """Images and predictions of some particles, centred, ``(m, d, d)`` float32 each, the origin at ``d // 2``."""

    image: Floats32
    prediction: Floats32

    @property
    def residual(self) -> Floats32:
        """y - x."""
        return self.image - self.prediction


def image_pairs(
    part: Particles,
    rows: Ints,
    weights: NDArray[np.float32],
    comparison: Comparison,
    *,
    size: int | None = None,
    sigma2: NDArray[np.float64] | None = None,
    progress: str | None = None,
) -> Iterator[tuple[Ints, Pairs]]:
    """Images and predictions of rows of ``part``, batch by batch, in reading order.

    Both hold the shells that are scored. The prediction is that of the particle's own half map at its pose, without
    its self-contribution. In the sums of the log that share spreads evenly over the image; in fact it lies where the
    mask does, in proportion to the mask's thickness along the line of sight, and so it is taken out here.

    Parameters
    ----------
    weights : (n,), of all of ``part`` in that map
    size : side of the images in pixels, no larger than the box; higher frequencies are cut off. Default: the box
    sigma2 : (optics groups, bands), noise power; images and predictions are divided by its root. Default: as they are
    """
    group, half = part.column("optics_group"), part.column("half").astype(np.int32) - 1
    rotations, all_ids, reference = part.rotations, part.ids, comparison.reference
    self_contribution = (weights * reference.self_contribution).astype(np.float32)
    folds, backend = comparison.folds, comparison.backend
    parts = [(comparison, rows)]
    if folds is not None:
        fold, self_contribution = folds.of(all_ids[rows]), np.zeros_like(self_contribution)
        parts = [(comparison.with_maps(folds.maps[f]), rows[fold == f]) for f in np.unique(fold)]
    for compared, members in parts:
        step = batch_size(max(o.box for o in part.optics))
        for at, images in batches(
            part, members, step, progress=progress, source=comparison.source, memory=backend.memory
        ):
            g = int(group[at[0]])
            frame, samples = reference.frames[g], reference.samples[g]
            prepared = prepare(images, part.take(at), frame, backend)
            given = prepared, rotations[at], half[at]
            batch = of_region(Batch(*given, self_contribution[at], compared.reference, samples, backend))
            side = part.optics[g].box if size is None else min(size, part.optics[g].box)
            gain = None if sigma2 is None else sigma2[g]

            def picture(values: Any, samples: BandSamples = samples, side: int = side, gain: Any = gain) -> Floats32:
                return real_space(backend.to_host(values), samples, side, gain)

            image, prediction = picture(prepared.image), picture(predictions(batch))
            if batch.self_contribution.any():
                whole = picture(predictions(replace(batch, self_contribution=np.zeros_like(batch.self_contribution))))
                prediction = whole + (prediction - whole) * thickness(batch, side)
            yield at, Pairs(image, prediction)


def thickness(batch: Batch, side: int) -> Floats32:
    """How thick the mask is along each line of sight, ``(n, side, side)``, relative to the mean over the box."""
    grids, grid = batch.reference.mask
    frame, backend = ImageGeometry.of(batch.images.frame.optics, grid), batch.backend
    slices = backend.to_host(project(grids, batch.rotations, np.zeros_like(batch.half), frame, backend))
    r = frame.limit
    ky, kx = np.mgrid[-r : r + 1, 0 : r + 1].reshape(2, -1)
    mean = float(backend.to_host(grids[0, 0, grid.radius + 1, grid.radius + 1]).real)
    values = slices[:, ky + r, kx] / mean
    values[:, (kx == 0) & (ky == 0)] = 1.0  # slices leave the mean out
    return side * inverse(values.astype(np.complex64), kx, ky, side)


def real_space(values: Complex, samples: BandSamples, side: int, sigma2: NDArray[np.float64] | None = None) -> Floats32:
    """Images ``(n, side, side)`` of half transforms ``(n, 2r+1, r+1)``, the samples alone; orthonormal.

    Where ``side`` is less than the box, frequencies from its Nyquist on are cut off, and a pixel's noise stays what
    it is.
    """
    kx, ky = samples.pairs.T.astype(np.intp)
    values = values[:, ky + values.shape[2] - 1, kx]
    if sigma2 is not None:
        values = values * np.repeat(1.0 / np.sqrt(sigma2), np.diff(samples.start)).astype(np.float32)
    return inverse(values, kx, ky, side)


def inverse(values: Complex, kx: NDArray[np.intp], ky: NDArray[np.intp], side: int) -> Floats32:
    """Images ``(n, side, side)`` of coefficients ``(n, m)`` at kx >= 0 and ky, one of each Friedel pair suffices."""
    inside = np.maximum(np.abs(kx), np.abs(ky)) < (side + 1) // 2
    kx, ky, values = kx[inside], ky[inside], values[:, inside]
    transform = np.zeros((len(values), side, side // 2 + 1), dtype=np.complex64)
    transform[:, ky, kx] = values
    axis = (kx == 0) & (ky > 0)
    transform[:, -ky[axis], 0] = values[:, axis].conj()
    image = scipy.fft.irfft2(transform, s=(side, side), norm="ortho", workers=-1)
    return scipy.fft.fftshift(image, axes=(1, 2))
