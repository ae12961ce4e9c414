"""Voxel size and place of maps that are used together, compared as their headers say them."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path

from cryocore.errors import InputError
from cryocore.formats.mrc_header import MrcHeader

SAME_VOXEL = 2e-3
"""Relative difference of two voxel sizes that are one, rounded."""
OTHER_VOXEL = 0.02
"""From which on a map cannot be of the same grid, its calibration included."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Placement:
    """What a map's header says of its grid.

    ``voxel_angstrom`` : None where it states none, or several
    ``start`` : number of the first voxel (x, y, z)
    ``origin_angstrom`` : (x, y, z)
    """

    voxel_angstrom: float | None = None
    start: tuple[int, int, int] = (0, 0, 0)
    origin_angstrom: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @classmethod
    def of(cls, header: MrcHeader) -> Placement:
        """That of a header, whatever its axis order."""
        x, y, z = header.voxel_angstrom
        is_stated = min(x, y, z) > 0 and max(x, y, z) < 1.01 * min(x, y, z) and math.isfinite(x)
        axes = header.axes if sorted(header.axes) == [1, 2, 3] else (1, 2, 3)
        start = dict(zip(axes, header.start, strict=True))
        is_place = all(map(math.isfinite, header.origin_angstrom))
        origin = header.origin_angstrom if is_place else (0.0, 0.0, 0.0)
        return cls(x if is_stated else None, (start[1], start[2], start[3]), origin)

    def first_voxel(self, voxel_angstrom: float) -> tuple[float, float, float]:
        """Where the first voxel lies, in voxels (x, y, z): by the origin, or where that is 0 by the start."""
        x, y, z = (o / voxel_angstrom for o in self.origin_angstrom)
        return (x, y, z) if any((x, y, z)) else self.start


AT_ZERO = Placement()
"""Where the maps of a run lie."""


def states_voxel(size: float | None) -> bool:
    """Whether a header's voxel size was meant: programs that know none write 0 or 1.

    >>> states_voxel(1.34), states_voxel(1.0), states_voxel(None)
    (True, False, False)
    """
    return size is not None and 0.1 < size < 50 and size != 1.0


def require_same_voxel(placement: Placement, voxel_angstrom: float, path: str | Path, *, what: str, fix: str) -> None:
    """Refuse a map whose header states another voxel size than what it is used with.

    Parameters
    ----------
    voxel_angstrom : of ``what``, as "the half maps have"
    fix : what to do
    """
    own = placement.voxel_angstrom
    if own is None or not states_voxel(own):
        return
    difference = abs(own / voxel_angstrom - 1)
    if difference > OTHER_VOXEL:
        raise InputError(f"its voxels are {own:.4g} Å wide, {what} {voxel_angstrom:.4g} Å", file=path, fix=fix)
    if difference > SAME_VOXEL:
        log.warning("%s: its voxels are %.5g Å wide, %s %.5g Å; the latter counts", path, own, what, voxel_angstrom)


def warn_of_other_place(placement: Placement, other: Placement, voxel_angstrom: float, path: str | Path) -> None:
    """Say that two maps that are laid over each other voxel by voxel lie apart by their headers."""
    first, second = placement.first_voxel(voxel_angstrom), other.first_voxel(voxel_angstrom)
    if max(abs(a - b) for a, b in zip(first, second, strict=True)) >= 0.5:
        places = [", ".join(f"{v:g}" for v in (round(c, 2) for c in place)) for place in (first, second)]
        log.warning(
            "%s: by origin or start in its header its first voxel is (%s), that of the map it is used with (%s); "
            "voxels are taken as they lie in the files",
            path,
            *places,
        )
