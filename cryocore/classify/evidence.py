"""Where, and at which frequencies, image and prediction agree: products of the channels, by band and by cell.

With Gaussian noise, the log odds of "this projection and noise" against "another projection and noise" are a sum, over
frequency bands and over the image, of weighted products image·projection, image² and projection². :func:`evidence`
forms these products, band by band, and averages them over the cells of a grid.

Products with the Riesz transform of the projection (its gradient, each frequency at the same amplitude [1]_) come
beside them: they have a sign where a detail of the image lies beside its predicted place, as it does after a wrong
shift or a rotation by a few degrees.

.. [1] Felsberg & Sommer (2001). The monogenic signal. IEEE Trans. Signal Process. 49, 3136.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cryocore.errors import InputError

CELLS, BANDS, STEP = 8, 9, 0.1
SCALARS, VECTORS = 4, 2
"""Products per band: of image and projection, image², projection², residual²; with the Riesz pair, along y and x."""
PRODUCTS = SCALARS + VECTORS
CHUNK_VALUES, SAMPLES = 2**16, 2.5
"""Pixels per channel in work at a time; samples per period of the highest frequency, of which 2 would do."""
SMALLEST, LARGEST = 16, 160

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Band:
    """A frequency band, and the coarse grid ``(m, m)`` that is fine enough for it.

    ``rows`` ``(m,)`` of the whole spectrum ``(s, s//2+1)``, ``m//2+1`` columns from 0; ``filters`` ``(3, m, m//2+1)``:
    of the band, and of its Riesz pair along y and x.
    """

    side: int
    rows: torch.Tensor
    filters: torch.Tensor


@lru_cache(maxsize=4)
def frequency_bands(side: int) -> tuple[Band, ...]:
    """Overlapping bands, triangles in the square root of the frequency from the lowest to just below Nyquist.

    The mean and the corners beyond Nyquist are in none. Samples of a coarse grid lie about the same centre as the
    pixels do, so that it turns with the image.
    """
    return tuple(_band(side, number) for number in range(1, BANDS + 1))


def _band(side: int, number: int) -> Band:
    highest = 0.5 * (STEP * (number + 1)) ** 2
    inner = min(max(CELLS * math.ceil(SAMPLES * highest * side / CELLS), SMALLEST), side)
    y = torch.fft.fftfreq(inner, d=side / inner, dtype=torch.float64)[:, None]
    x = torch.fft.rfftfreq(inner, d=side / inner, dtype=torch.float64)[None]
    radius = torch.hypot(y, x)
    weight = (1.0 - (torch.sqrt(2.0 * radius) / STEP - number).abs()).clamp(min=0.0)
    weight[0, 0] = 0.0
    to_centre = torch.exp(1j * math.pi * (side / inner - 1.0) * (y + x)) * (inner / side) ** 2
    shapes = [torch.ones_like(radius), *(1j * axis / radius.clamp(min=1e-9) for axis in (y, x))]
    rows = torch.cat([torch.arange((inner + 1) // 2), torch.arange(side - inner // 2, side)])
    return Band(inner, rows, torch.stack([weight * to_centre * shape for shape in shapes]).to(torch.complex64))


def evidence(images: torch.Tensor) -> torch.Tensor:
    """Products of the channels in each band, averaged over the cells of a grid.

    Parameters
    ----------
    images : (n, 3, s, s)  residual, projection, image

    Returns
    -------
    (n, PRODUCTS, BANDS, CELLS, CELLS)
    """
    spectra = torch.fft.rfft2(images)
    found = []
    for band in frequency_bands(images.shape[-1]):
        part = spectra[:, :, band.rows.to(images.device), : band.side // 2 + 1]
        plain, *pair = band.filters.to(images.device)
        views = torch.cat([part * plain, *(part[:, 1:2] * axis for axis in pair)], dim=1)
        residual, projection, image, *riesz = torch.fft.irfft2(views, s=(band.side, band.side)).unbind(1)
        products = [image * projection, image**2, projection**2, residual**2, *(image * r for r in riesz)]
        found.append(torch.nn.functional.adaptive_avg_pool2d(torch.stack(products, dim=1), CELLS))
    return torch.stack(found, dim=2)


def evidence_by_chunk(images: Any, device: str) -> Iterator[tuple[Rows, torch.Tensor]]:
    """The rows and :func:`evidence` of all images, some at a time."""
    shape = tuple(images.shape)
    if len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3] or not SMALLEST <= shape[2] <= LARGEST:
        raise InputError(
            f"images must be (n, 3, s, s) with s from {SMALLEST} to {LARGEST}, not {shape}",
            fix="Write residual images in this size",
        )
    step = max(CHUNK_VALUES // shape[2] ** 2, 1)
    for start in range(0, shape[0], step):
        rows = np.arange(start, min(start + step, shape[0]))
        part = torch.from_numpy(np.ascontiguousarray(images[rows], dtype=np.float32)).to(device)
        cells = evidence(part)
        if not torch.isfinite(cells).all():
            bad = int(torch.isfinite(cells).flatten(1).all(1).logical_not().nonzero()[0])
            raise InputError(
                "the residual image has values that are not finite", row=int(rows[bad]) + 1, fix="Write it again"
            )
        yield rows, cells


def turned(cells: torch.Tensor, element: int) -> torch.Tensor:
    """The cells of images turned by ``element % 4`` right angles, from 4 on mirrored first."""
    if element >= 4:
        cells = cells.flip(-1)
        cells = torch.cat([cells[:, : PRODUCTS - 1], -cells[:, PRODUCTS - 1 :]], dim=1)
    for _ in range(element % 4):
        cells = cells.rot90(1, (-2, -1))
        y, x = cells[:, SCALARS : SCALARS + 1], cells[:, SCALARS + 1 :]
        cells = torch.cat([cells[:, :SCALARS], -x, y], dim=1)
    return cells
