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

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cryocore.errors import InputError

CELLS, BANDS, STEP = 8, 9, 0.1
SCALARS, VECTORS = 4, 2
"""Products per band: of image and projection, image², projection², residual²; with the Riesz pair, along y and x."""
PRODUCTS = SCALARS + VECTORS
CHUNK_VALUES = 2**22
SMALLEST, LARGEST = 16, 160

Rows = NDArray[np.int64]


def radial_bands(side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Overlapping frequency bands ``(BANDS, s, s//2+1)``, and the unit vectors ``(2, s, s//2+1)`` of the frequencies.

    The bands are triangles in the square root of the frequency, from the lowest to just below Nyquist; the mean and the
    corners beyond Nyquist are in none.
    """
    y, x = torch.fft.fftfreq(side, dtype=torch.float64), torch.fft.rfftfreq(side, dtype=torch.float64)
    radius = torch.hypot(y[:, None], x[None])
    root = torch.sqrt(2.0 * radius)
    centres = STEP * torch.arange(1, BANDS + 1, dtype=torch.float64)
    bands = (1.0 - (root - centres[:, None, None]).abs() / STEP).clamp(min=0.0)
    bands[:, 0, 0] = 0.0
    pair = torch.stack(torch.meshgrid(y, x, indexing="ij")) / radius.clamp(min=1e-9)
    return bands, pair


def evidence(images: torch.Tensor) -> torch.Tensor:
    """Products of the channels in each band, averaged over the cells of a grid.

    Parameters
    ----------
    images : (n, 3, s, s)  residual, projection, image

    Returns
    -------
    (n, PRODUCTS, BANDS, CELLS, CELLS)
    """
    side = images.shape[-1]
    bands, pair = (t.to(images) for t in radial_bands(side))
    spectra = torch.fft.rfft2(images)
    views = torch.cat([spectra, 1j * pair * spectra[:, 1:2]], dim=1)
    residual, projection, image, *riesz = torch.fft.irfft2(views[:, :, None] * bands, s=(side, side)).unbind(1)
    products = [image * projection, image**2, projection**2, residual**2, *(image * r for r in riesz)]
    pooled = [torch.nn.functional.adaptive_avg_pool2d(p, CELLS) for p in products]
    return torch.stack(pooled, dim=1)


def evidence_by_chunk(images: Any, device: str) -> Iterator[tuple[Rows, torch.Tensor]]:
    """The rows and :func:`evidence` of all images, some at a time."""
    shape = tuple(images.shape)
    if len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3] or not SMALLEST <= shape[2] <= LARGEST:
        raise InputError(
            f"images must be (n, 3, s, s) with s from {SMALLEST} to {LARGEST}, not {shape}",
            remedy="Write residual images in this size",
        )
    step = max(CHUNK_VALUES // ((PRODUCTS - 1) * BANDS * shape[2] ** 2), 1)
    for start in range(0, shape[0], step):
        rows = np.arange(start, min(start + step, shape[0]))
        part = torch.from_numpy(np.ascontiguousarray(images[rows], dtype=np.float32)).to(device)
        cells = evidence(part)
        if not torch.isfinite(cells).all():
            bad = int(torch.isfinite(cells).flatten(1).all(1).logical_not().nonzero()[0])
            raise InputError(
                "the residual image has values that are not finite", row=int(rows[bad]) + 1, remedy="Write it again"
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
