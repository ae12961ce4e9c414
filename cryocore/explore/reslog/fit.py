"""The B-factor from resolutions of growing subsets.

The signal of a map falls as exp(-B / (2 d²)) in power with the resolution d, noise is the same in all shells of images,
and each samples a shell of the map in proportion to d. N particles reach the resolution at which

    N d exp(-B / (2 d²))

is a constant [1]_: 1 / d² grows by 2 / B whenever ln(N d) grows by 1. Plots of 1 / d² against ln N leave d out, which
adds about d² to B (Å²): that number is given as well, since other programs give it.

References
----------
.. [1] Rosenthal & Henderson (2003), J. Mol. Biol. 333, 721-745.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cryocore.types import Floats

FEWEST = 3
"""Points that a line with a standard error needs."""


@dataclass(frozen=True)
class ResLogFit:
    """A line through 1 / d² against ln(N d): 1 / d² = ``intercept`` + ``slope`` ln(N d), in 1/Å² and Å.

    ``bfactor_angstrom2`` : 2 / slope, with its standard error; None where 1 / d² does not grow with N
    ``plain_bfactor_angstrom2`` : 2 / slope of 1 / d² against ln N; likewise
    ``n_points`` : through so many points
    """

    slope: float
    intercept: float
    slope_sd: float
    bfactor_angstrom2: float | None
    bfactor_sd_angstrom2: float | None
    plain_bfactor_angstrom2: float | None
    n_points: int

    def particles_for(self, resolution_angstrom: Floats | float) -> Floats:
        """Particles that resolutions (Å) need, by the line."""
        d = np.asarray(resolution_angstrom, dtype=np.float64)
        return np.asarray(np.exp((d**-2 - self.intercept) / self.slope) / d)

    def resolution_at(self, n_particles: float) -> float:
        """Resolution (Å) that so many particles reach, by the line, between 1 and 30 Å."""
        d = np.geomspace(30.0, 1.0, 3000)
        return float(np.exp(np.interp(np.log(n_particles), np.log(self.particles_for(d)), np.log(d))))

    def as_dict(self) -> dict[str, Any]:
        """Values for JSON."""
        return asdict(self)


def fit_bfactor(n_particles: Floats, resolution_angstrom: Floats) -> ResLogFit | None:
    """Least squares of 1 / d² on ln(N d); None with fewer than three points.

    Subsets that are nested share noise, so that the error of the regression is a guide only; repeats tell more.

    >>> d = np.array([6.0, 4.0, 3.0])
    >>> fit = fit_bfactor(1e3 / d * np.exp(100.0 / (2 * d**2)), d)
    >>> round(fit.bfactor_angstrom2, 3), round(float(fit.particles_for(4.0))), round(fit.resolution_at(5690), 2)
    (100.0, 5690, 4.0)
    """
    if len(n_particles) < FEWEST:
        return None
    n, d = (np.asarray(v, dtype=np.float64) for v in (n_particles, resolution_angstrom))
    x, y = np.log(n * d), d**-2
    spread = x - x.mean()
    squares, plain = float(spread @ spread), _slope(np.log(n), y)
    if squares <= 0 or plain is None:
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
        plain_bfactor_angstrom2=2.0 / plain if plain > 0 else None,
        n_points=len(x),
    )


def _slope(x: Floats, y: Floats) -> float | None:
    spread = x - x.mean()
    squares = float(spread @ spread)
    return float(spread @ y) / squares if squares > 0 else None
