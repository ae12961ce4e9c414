"""Two half maps: read, and compared as what they claim to be."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryocore.errors import InputError
from cryocore.maps.mrc import read_map, read_placement
from cryocore.maps.placement import SAME_VOXEL, Placement, states_voxel, warn_of_other_place
from cryocore.types import Floats32

log = logging.getLogger(__name__)

SAME_MAP = 4e-6
"""Share of a map's variance that another is allowed to lack, to be the same but for its scale: rounding to float16."""
SHARED_NOISE = 0.5
"""Correlation of the noise from which on images are shared: that of a map with one of its halves is 0.71."""
SOLVENT_SHARE = 0.42
"""Share of the box's side beyond which there is hardly any molecule."""


@dataclass(frozen=True)
class Halves:
    """Where two half maps and their mask come from.

    ``mask`` : None makes one from the mean of the half maps
    ``pixel_size_angstrom`` : None takes the files'
    ``last_shell`` : beyond it there are no data; None: all shells to Nyquist
    """

    half1: Path
    half2: Path
    mask: Path | None = None
    pixel_size_angstrom: float | None = None
    last_shell: int | None = None


@dataclass(frozen=True)
class Pair:
    """Two half maps ``(n, n, n)``, their pixel size and place.

    ``noise_correlation`` : of neighbouring voxels' differences outside the molecule; None where both maps are even
    there
    """

    first: Floats32
    second: Floats32
    pixel_size_angstrom: float
    placement: Placement
    noise_correlation: float | None


def read_pair(halves: Halves) -> Pair:
    """Read both half maps.

    Raises
    ------
    InputError  if one cannot be read, their boxes or voxel sizes differ, they state none, or are the same map.
    """
    places = [read_placement(path) for path in (halves.half1, halves.half2)]
    pixel = halves.pixel_size_angstrom or _voxel(halves, places)
    first, second = (read_map(path, pixel_size_angstrom=pixel)[0] for path in (halves.half1, halves.half2))
    fix = "Give the two half maps of one reconstruction"
    if first.shape != second.shape:
        problem = f"both half maps are maps of different boxes, not like {halves.half1}"
        raise InputError(problem, file=halves.half2, fix=fix)
    everywhere, outside = correlations(first, second)
    if np.array_equal(first, second) or (everywhere is not None and everywhere > math.sqrt(1 - SAME_MAP)):
        raise InputError("both half maps are the same map", file=halves.half2, fix=fix)
    warn_of_other_place(places[1], places[0], pixel, halves.half2)
    return Pair(first, second, pixel, places[0], outside)


def correlations(first: Floats32, second: Floats32) -> tuple[float | None, float | None]:
    """Correlation of two maps, and of their noise; None where one of them is even.

    The noise is that of the differences of neighbours along x, between the sphere of 0.42 sides and the one in the box.
    """
    n = first.shape[0]
    axis = np.square(np.arange(n, dtype=np.float32) - n // 2)
    means = first.mean(dtype=np.float64), second.mean(dtype=np.float64)
    total, noise = np.zeros((2, 2)), np.zeros((2, 2))
    for z in range(n):
        sections = np.stack([v[z] - mean for v, mean in zip((first, second), means, strict=True)])
        squares = axis[z] + axis[:, None] + axis[1:]
        solvent = (squares > (SOLVENT_SHARE * n) ** 2) & (squares <= (n // 2) ** 2)
        steps = np.diff(sections, axis=2)[:, solvent]
        total += np.tensordot(sections, sections, axes=((1, 2), (1, 2)))
        noise += steps @ steps.T
    return _correlation(total), _correlation(noise)


def _correlation(products: np.ndarray) -> float | None:
    spread = math.sqrt(products[0, 0] * products[1, 1])
    return float(products[0, 1] / spread) if spread > 0 else None


def _voxel(halves: Halves, places: list[Placement]) -> float:
    """The voxel size of both files."""
    sizes = [place.voxel_angstrom for place in places]
    fix = "State it with --pixel-size"
    for path, size in zip((halves.half1, halves.half2), sizes, strict=True):
        if size is None:
            raise InputError("the header gives no voxel size that is the same along x, y and z", file=path, fix=fix)
    one, two = (size or math.nan for size in sizes)
    if abs(two / one - 1) > SAME_VOXEL:
        raise InputError(
            f"its voxels are {two:.5g} Å wide, those of {halves.half1} {one:.5g} Å",
            file=halves.half2,
            fix="Give the two half maps of one reconstruction, or state the voxel size with --pixel-size",
        )
    if not states_voxel(one):
        message = "%s: its header says that voxels are 1 Å wide, as programs write that do not know; %s"
        log.warning(message, halves.half1, "state the voxel size with --pixel-size")
    return one
