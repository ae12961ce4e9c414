"""The B-factor from resolutions of growing subsets.

Where the signal of a map falls as exp(-B / (2 d²)) in power over noise that is the same at all resolutions d, N
particles reach the resolution at which N exp(-B / (2 d²)) is a constant [1]_: 1 / d² grows by 2 / B whenever ln N grows by 1.

References
----------
.. [1] Rosenthal & Henderson (2003), J. Mol. Biol. 333, 721-745.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FEWEST = 3
"""Points that a line with a standard error needs."""


@dataclass(frozen=True)
class ResLogFit:
    """A line through 1 / d² against ln N: 1 / d² = ``intercept`` + ``slope`` ln N (1/Å²).

    ``bfactor_angstrom2`` : 2 / slope, with its standard error; None where 1 / d² does not grow with N
    ``n_points`` : through so many points
    """

    slope: float
    intercept: float
    slope_sd: float
    bfactor_angstrom2: float | None
    bfactor_sd_angstrom2: float | None
    n_points: int

    def resolution_at(self, n_particles: float) -> float | None:
        """Resolution (Å) that so many particles reach, by the line; None beyond its reach."""
        inverse = self.intercept + self.slope * np.log(n_particles)
        return float(inverse**-0.5) if inverse > 0 else None

    def particles_for(self, resolution_angstrom: float) -> float | None:
        """Particles that a resolution needs, by the line; None where more particles do not help."""
        if self.slope <= 0:
            return None
        return float(np.exp((resolution_angstrom**-2 - self.intercept) / self.slope))

    def as_dict(self) -> dict[str, Any]:
        """Values for JSON."""
        return asdict(self)


def fit_bfactor(n_particles: Floats, resolution_angstrom: Floats) -> ResLogFit | None:
    """Least squares of 1 / d² on ln N; None with fewer than three points.

    Subsets that are nested share noise, so that the error of the regression is a guide only; repeats tell more.

    >>> n = np.array([1e3, 1e4, 1e5])
    >>> fit = fit_bfactor(n, (2.0 / 100.0 * np.log(n)) ** -0.5)
    >>> round(fit.bfactor_angstrom2, 6), round(fit.resolution_at(1e4), 3), round(fit.particles_for(2.33))
    (100.0, 2.33, 9995)
    """
    if len(n_particles) < FEWEST:
        return None
    x, y = np.log(n_particles), np.asarray(resolution_angstrom, dtype=np.float64) ** -2
    spread = x - x.mean()
    squares = float(spread @ spread)
    if squares <= 0:
        return None
    slope = float(spread @ y) / squares
    intercept = float(y.mean() - slope * x.mean())
    rest = y - intercept - slope * x
    slope_sd = float(np.sqrt(rest @ rest / (len(x) - 2) / squares))
    known = slope > 0
    return ResLogFit(
        slope=slope,
        intercept=intercept,
        slope_sd=slope_sd,
        bfactor_angstrom2=2.0 / slope if known else None,
        bfactor_sd_angstrom2=2.0 * slope_sd / slope**2 if known else None,
        n_points=len(x),
    )
