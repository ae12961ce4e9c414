"""Shaded pictures of a map's surface, by casting parallel rays; nothing random, no graphics driver."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from threadpoolctl import threadpool_limits

from cryocore.types import Floats32

View = Literal["front", "side", "top"]

VIEWS: tuple[View, ...] = ("front", "side", "top")
MAP_PIXELS = 320
LIGHT = np.array([-0.75, 0.5, -0.43]) / np.linalg.norm([-0.75, 0.5, -0.43])
"""Direction to the light as (depth, up, right): mostly from the viewer, from above, from the left."""
SHADOW, TONE, GLOSS = (0.06, 0.12, 0.20), (0.52, 0.71, 0.86), (1.0, 1.0, 1.0)
FILLED_SHARE = 0.22
"""Share of the mask's inside that the surface encloses."""
NOISE_DEVIATIONS = 4.0


@dataclass(frozen=True)
class MapPictures:
    """What the report shows of one map: surfaces ``(n, n, 3)`` by view, central slices (x, z) and (x, y)."""

    round: int
    surfaces: tuple[Floats32, ...]
    slices: tuple[Floats32, Floats32]


def map_pictures(number: int, volume: Floats32, mask: Floats32, level: float) -> MapPictures:
    """Surfaces at ``level`` inside the mask, and slices of the whole map, cropped to the molecule."""
    inside = np.where(mask > 0.5, volume, np.float32(0))
    large = enlarge(inside[crop_to(mask)], MAP_PIXELS)
    part = volume[crop_to(mask, margin=8)]
    middle = len(part) // 2
    return MapPictures(
        number,
        tuple(shaded_surface(large, level, view) for view in VIEWS),
        (part[:, middle, :].copy(), part[middle].copy()),
    )


def surface_level(volume: Floats32, mask: Floats32) -> float:
    """Density at which the surface encloses a fixed share of the mask, or more if the noise outside reaches it."""
    share = float(np.quantile(volume[mask > 0.5], 1.0 - FILLED_SHARE))
    outside = volume[mask == 0]
    return max(share, NOISE_DEVIATIONS * float(outside.std())) if outside.size else share


def crop_to(mask: Floats32, margin: int = 3) -> tuple[slice, slice, slice]:
    """The smallest cube about the origin that holds the mask's inside."""
    n = mask.shape[0]
    support = np.argwhere(mask > 0.5)
    reach = int(np.abs(support - n // 2).max()) + margin if len(support) else n // 2
    cut = slice(max(n // 2 - reach, 0), min(n // 2 + reach + 1, n))
    return cut, cut, cut


def enlarge(volume: Floats32, size: int) -> Floats32:
    """The cube resampled to ``size`` voxels along each side by padding its transform; never made smaller.

    That is a product along each axis with the matrix that does so for one line.
    """
    n = volume.shape[0]
    if size <= n:
        return volume
    spectrum = np.fft.rfft(np.eye(n), axis=0)
    if n % 2 == 0:
        spectrum[-1] *= 0.5
    line = (np.fft.irfft(spectrum, n=size, axis=0) * (size / n)).astype(np.float32)
    with threadpool_limits(1):  # the same sums for any number of cores
        planes = line @ (volume @ line.T)
        return (line @ planes.reshape(n, -1)).reshape(size, size, size)


def turned(volume: Floats32, view: View) -> Floats32:
    """The volume as (depth from the viewer, up, right).

    front: along y, z up. side: along -x, z up. top: along -z, y up.
    """
    if view == "front":
        return volume.transpose(1, 0, 2)
    if view == "side":
        return volume.transpose(2, 0, 1)[::-1]
    return volume[::-1]


def shaded_surface(volume: Floats32, level: float, view: View) -> Floats32:
    """Picture ``(n, n, 3)`` in [0, 1], row 0 at the bottom, of the surface at ``level`` on white."""
    rays = turned(volume, view)
    inside = np.asarray(rays > level)
    up, right = (np.asarray(i) for i in np.indices(inside.shape[1:]))
    first = inside.argmax(axis=0)
    hit = inside[first, up, right]
    if not hit.any():
        return np.ones((*hit.shape, 3), dtype=np.float32)
    first = np.maximum(first, 1)
    before, after = rays[first - 1, up, right], rays[first, up, right]
    share = np.clip((level - before) / np.where(after != before, after - before, 1.0), 0.0, 1.0)
    depth = first - 1 + share
    normal = _normals(rays, first, up, right, share)
    picture = _colours(normal, depth, hit)
    cover = np.clip(gaussian_filter(hit.astype(np.float32), 0.7), 0.0, 1.0)[..., None]
    return np.where(hit[..., None], picture * cover + (1 - cover), 1.0).astype(np.float32)


def _normals(
    rays: Floats32, first: NDArray[np.intp], up: NDArray[np.intp], right: NDArray[np.intp], share: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Unit outward normals ``(3, n, n)``, from density differences where the rays hit."""
    last = np.array(rays.shape) - 2
    d, u, r = (
        np.clip(i, 1, m) for i, m in zip((np.where(share > 0.5, first, first - 1), up, right), last, strict=True)
    )
    slope = np.stack(
        [
            rays[d - 1, u, r] - rays[d + 1, u, r],
            rays[d, u - 1, r] - rays[d, u + 1, r],
            rays[d, u, r - 1] - rays[d, u, r + 1],
        ]
    )
    return slope / np.maximum(np.linalg.norm(slope, axis=0), 1e-12)


def _colours(normal: NDArray[np.floating], depth: NDArray[np.floating], hit: NDArray[np.bool_]) -> NDArray[np.floating]:
    """Lit from one side, darker in the back and in pits."""
    diffuse = np.clip(np.tensordot(LIGHT, normal, axes=1), 0.0, 1.0)
    half_way = LIGHT + np.array([-1.0, 0.0, 0.0])
    gloss = np.clip(np.tensordot(half_way / np.linalg.norm(half_way), normal, axes=1), 0.0, 1.0) ** 40
    near, far = depth[hit].min(), depth[hit].max()
    filled = np.where(hit, depth, far)
    pits = np.clip((filled - gaussian_filter(filled, 4.0)) / (0.02 * len(depth)), -0.5, 1.0)
    light = (0.22 + 0.9 * diffuse) * (1.0 - 0.5 * (filled - near) / max(far - near, 1.0)) * (1.0 - 0.3 * pits)
    light = np.clip(light, 0.0, 1.0)[..., None]
    colour = np.array(SHADOW) * (1.0 - light) + np.array(TONE) * light
    return np.clip(colour + 0.18 * gloss[..., None] * np.array(GLOSS), 0.0, 1.0)
