"""What images are compared with: the masked half maps on their grids, and how much each particle shaped them."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.backend import Backend, Kernel
from cryocore.config.score import Score
from cryocore.errors import InputError
from cryocore.geometry.rotations import random_rotations, rotations_by_angle
from cryocore.imaging.grid import FourierGrid
from cryocore.imaging.image_geometry import ImageGeometry, slice_basis
from cryocore.imaging.volumes import map_to_grid, shell_means
from cryocore.imaging.voxels import Voxels, pack_voxels
from cryocore.maps.masks import automatic_mask
from cryocore.maps.mrc import read_map
from cryocore.score.bands import BandSamples, band_edges, band_means, band_samples
from cryocore.tables.io import AGAIN, open_arrays
from cryocore.tables.particles import Optics, Particles
from cryocore.types import Floats32

log = logging.getLogger(__name__)

MAX_PADDING = 8.0
OVERLAP_STEPS, OVERLAP_SHELLS = 4, 6
MASK_SHELLS = 12
NEIGHBOUR_PAIRS, NEIGHBOUR_DEG = 200, 10.0
PADDING = 1.75
"""Of the grid on which images are compared with maps, whatever that of the sums: the molecule is in the middle of its
box, where interpolation is good, and a map takes 0.67 times the memory of padding 2. At 1.5 ``local`` of molecules that
fill much of their box begins to suffer."""
LEAST_OUTSIDE = 0.02
"""Of the volume of a region, below which there is nothing of the molecule beside it."""
LARGE_SHARE = 0.1
"""Share of its own map from which a particle's score is not trusted any more."""


@dataclass(frozen=True)
class Reference:
    """What images are compared with: the grids of both halves, and how much each particle shaped them.

    ``voxels`` are empty where folds score; ``mask`` is the transform of the mask, coarse, and its grid; ``power``
    ``(2, bands)`` that of centred slices of the half maps. ``outside`` is the rest of the molecule, which is subtracted
    from the images where the mask holds a region of it.
    """

    voxels: Voxels
    self_contribution: float
    overlap: Any
    mask: tuple[Any, FourierGrid]
    mean_inverse_density: list[float]
    rotational_average: NDArray[np.float64]
    view_correlation: NDArray[np.float64]
    power: NDArray[np.float64]
    edges: NDArray[np.int32]
    frames: tuple[ImageGeometry, ...]
    samples: tuple[BandSamples, ...]
    outside: Reference | None = None

    @property
    def n_bands(self) -> int:
        """Number of resolution bands."""
        return len(self.edges) - 1


def load_reference(data: Particles, round_dir: Path, settings: Score, backend: Backend) -> Reference:
    """The reference of a round's half maps, mask and sampling density."""
    box = data.reference_optics.box
    mask = _read_of_box(round_dir / "mask.mrc", box)
    sampling = read_sampling(round_dir / "sampling.npz")
    grid = sampling_grid(data, sampling)
    coarse = FourierGrid(box, grid.pixel_size_angstrom, box, grid.last_shell)
    if sampling[0].shape != (2, *coarse.shape):
        problem = f"the sampling density cannot be read (density is {sampling[0].shape}, not {(2, *coarse.shape)})"
        raise InputError(problem, file=round_dir / "sampling.npz", fix=AGAIN)
    halves = [round_dir / f"half{h}.mrc" for h in (1, 2)]
    given = sampling[0], grid, data.optics, settings.n_bands, backend

    def masked_by(shape: Floats32) -> Reference:
        maps = (_read_of_box(path, box) for path in halves)
        return make_reference(maps, shape, *given, with_maps=settings.leave_one_out == "closed_form")

    reference = masked_by(mask)
    if settings.region is None:
        return reference
    mean = 0.5 * sum(_read_of_box(path, box) for path in halves)
    whole = automatic_mask(mean, grid.pixel_size_angstrom)
    if np.count_nonzero((whole > 0.5) & (mask < 0.5)) < LEAST_OUTSIDE * np.count_nonzero(mask > 0.5):
        problem, fix = "it holds the whole molecule: nothing is beside it", "Give a mask of a part of it, or none"
        raise InputError(problem, file=settings.region, setting="score.region", fix=fix)
    return replace(reference, outside=masked_by(whole * (np.float32(1.0) - mask)))


def make_reference(
    halves: Iterable[Any],
    mask: Floats32,
    density: Any,
    grid: FourierGrid,
    groups: tuple[Optics, ...],
    n_bands: int,
    backend: Backend,
    *,
    with_maps: bool = True,
) -> Reference:
    """Mask half maps ``(n, n, n)`` and put them beside the densities of their samples, which are those on the sums'
    ``grid``; both may be on the device already.

    Without ``with_maps`` the voxels are left out: folds take their place.
    """
    # the outermost shell is cut by the ball of the grid, and its density with it
    edges = band_edges(n_bands, grid.last_shell - 1)
    compared = FourierGrid.of(grid.box, grid.pixel_size_angstrom, PADDING, grid.last_shell)
    frames = tuple(ImageGeometry.of(o, compared) for o in groups)
    samples = tuple(band_samples(f, edges) for f in frames)
    self_contribution = float(mask.mean()) / grid.padding**3
    rotational_average = np.empty((2, len(edges) - 1))

    on_device, inverse_density = backend.to_device(mask), np.float32(1.0) / backend.to_device(density)

    def grid_of(h: int, half: Any) -> Any:
        values = map_to_grid(backend.to_device(half) * on_device, compared, backend)
        # the mean over directions is real: the projection that all poses have in common
        rotational_average[h] = band_means(shell_means(values.real, compared, backend), edges)
        return values

    grids = (grid_of(h, half) for h, half in enumerate(halves))
    voxels = pack_voxels(grids, 2, compared, backend, inverse_density, self_contribution)
    view_correlation, power = neighbour_correlation(voxels, rotational_average, frames[0], samples[0], backend)
    return Reference(
        voxels=voxels if with_maps else replace(voxels, values=None, unit=None),
        self_contribution=self_contribution,
        overlap=backend.to_device(mask_overlap(mask)),
        mask=coarse_mask(mask, grid, backend),
        mean_inverse_density=[slice_mean(inverse_density[h], grid, backend) for h in range(2)],
        rotational_average=rotational_average,
        view_correlation=view_correlation,
        power=power,
        edges=edges,
        frames=frames,
        samples=samples,
    )


def _read_of_box(path: Path, box: int) -> Floats32:
    """A map of the round, of the particles' box."""
    volume, _ = read_map(path)
    if len(volume) != box:
        raise InputError(f"its box is {len(volume)}, that of the particles is {box}", file=path, fix=AGAIN)
    return volume


Sampling = tuple[Floats32, float, int]


def read_sampling(path: Path) -> Sampling:
    """Density of samples of both halves on the unpadded grid, padding and last shell of the maps' own grid."""
    with open_arrays(path, "sampling density") as file:
        density, padding, last = file["density"], float(file["padding"]), int(file["last_shell"])
        if density.ndim != 4 or not density.min() > 0 or not np.isfinite(density.sum(dtype=np.float64)):
            raise ValueError("density is not positive and finite")
        if not 1 <= padding <= MAX_PADDING or last < 1:
            raise ValueError(f"padding is {padding:g}, last_shell {last}")
        return density, padding, last


def sampling_grid(data: Particles, sampling: Sampling) -> FourierGrid:
    """The grid of the maps."""
    _, padding, last_shell = sampling
    return FourierGrid.of(data.reference_optics.box, data.reference_optics.pixel_size_angstrom, padding, last_shell)


def mask_overlap(mask: Floats32) -> Floats32:
    """The transform of a mask in the mean over directions, 1 at the origin, in steps of 1 / OVERLAP_STEPS shells.

    It is how far in Fourier space one coefficient of an image reaches in a masked map.
    """
    n = mask.shape[0]
    along = (np.arange(n) - n // 2) ** 2
    squared = along[:, None, None] + along[:, None] + along
    of_square = np.bincount(squared.ravel(), weights=mask.ravel())
    weight = np.bincount(np.rint(np.sqrt(np.arange(len(of_square)))).astype(np.intp), weights=of_square)
    shells = np.arange(OVERLAP_STEPS * OVERLAP_SHELLS) / OVERLAP_STEPS
    waves = np.sinc(2.0 * shells[:, None] * np.arange(len(weight)) / n)
    return np.ascontiguousarray(waves @ weight / weight.sum(), dtype=np.float32)


def coarse_mask(mask: Floats32, grid: FourierGrid, backend: Backend) -> tuple[Any, FourierGrid]:
    """The transform of a mask up to MASK_SHELLS, which is all of a soft mask, as ``project`` takes grids."""
    coarse = FourierGrid.of(grid.box, grid.pixel_size_angstrom, grid.padding, min(MASK_SHELLS, grid.last_shell))
    return backend.to_device(map_to_grid(mask, coarse)[None]), coarse


def neighbour_correlation(
    voxels: Voxels,
    rotational_average: NDArray[np.float64],
    frame: ImageGeometry,
    samples: BandSamples,
    backend: Backend,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Correlation per half map and band of centred slices NEIGHBOUR_DEG apart, and their power, ``(2, bands)``.

    The power is the sum over a band's coefficients, in the mean over slices.
    """
    rng = np.random.default_rng(0)
    poses = random_rotations(NEIGHBOUR_PAIRS, rng)
    turned = rotations_by_angle(rng.normal(size=(NEIGHBOUR_PAIRS, 3)), np.full(NEIGHBOUR_PAIRS, NEIGHBOUR_DEG)) @ poses
    on_device, n, n_bands = backend.to_device, NEIGHBOUR_PAIRS, samples.n_bands
    inputs = [on_device(a) for a in (*samples.lanes, slice_basis(np.stack([poses, turned], axis=1), frame))]
    sums = np.empty((2, 3, n_bands))
    for h in range(2):
        found, half = backend.xp.empty((n, n_bands, 3), dtype=np.float32), voxels.map(h)
        mean = on_device(rotational_average[h].astype(np.float32))
        args = (*inputs, mean, half.values, half.grid.radius, half.unit, n, n_bands, found)
        backend.launch(Kernel("neighbours.cu", "slice_products"), args, items=n)
        sums[h] = backend.to_host(found).sum(axis=0, dtype=np.float64).T
    power = np.sqrt(sums[:, 1] * sums[:, 2])
    ratio = np.divide(sums[:, 0], power, out=np.zeros_like(power), where=power > 0)
    return np.clip(ratio, 0.0, 1.0), 0.5 * (sums[:, 1] + sums[:, 2]) / NEIGHBOUR_PAIRS


def slice_mean(values: Any, grid: FourierGrid, backend: Backend) -> float:
    """Mean over central slices of values on the unpadded grid: of shell means, weighted by the shells' radii."""
    coarse = FourierGrid(grid.box, grid.pixel_size_angstrom, grid.box, grid.last_shell)
    means = shell_means(values, coarse, backend)[1 : grid.last_shell]
    return float(np.average(means, weights=np.arange(1, grid.last_shell)))


def warn_of_self_contribution(reference: Reference, weights: NDArray[np.float32], half: NDArray[np.int8]) -> None:
    """Say so where the particles are so few that each makes up much of the map it is compared with."""
    density = np.asarray(reference.mean_inverse_density)
    for h in (1, 2):
        inside = weights[(half == h) & (weights > 0)]
        share = 0.5 * reference.self_contribution * density[h - 1] * (inside.mean() if len(inside) else 0.0)
        if share > LARGE_SHARE:
            log.warning(
                "a particle of half set %d makes up some %.0f %% of the map it is compared with: there are too few "
                "for scores to be trusted",
                h,
                100 * min(share, 1.0),
            )


def first_band(edges: NDArray[np.int32], data: Particles, resolution_angstrom: float) -> int:
    """The first band that lies wholly above a resolution."""
    optics = data.reference_optics
    shell = optics.box * optics.pixel_size_angstrom / resolution_angstrom
    band, finest = int(np.searchsorted(edges, shell)), len(edges) - 2
    if band > finest:
        log.warning(
            "no band lies beyond %.4g Å, the cut-off of CryoSieve's score; the last band, from %.3g Å on, is taken",
            resolution_angstrom,
            optics.box * optics.pixel_size_angstrom / edges[finest],
        )
    return min(band, finest)
