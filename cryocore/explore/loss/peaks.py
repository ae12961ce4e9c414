"""How many peaks a sample has: the dip test, and a mixture of normal densities with the number of them chosen by BIC.

Two components are not two peaks: a skewed density needs several normal ones and has one peak. So peaks are counted in
the fitted density, and the dip test (Hartigan & Hartigan 1985), which knows nothing of normal densities, has to agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.special import ndtr

from cryocore.types import Floats

BINS = 256
"""Of the histogram that mixtures are fitted to."""
REACH_SD = 6.0
MOST_COMPONENTS = 4
NODES = 4096
"""Quantiles that the dip is computed from where there are more particles."""
SURE, DOUBTFUL = 0.01, 0.5
"""P-values of the dip test: peaks of the fitted density are sure below the first, possible below the second."""
VALLEY = 0.9
"""A valley counts where the density is below this share of the lower peak beside it."""
LEAST_SHARE = 0.02
"""A peak counts where at least this share of the particles lies between the valleys about it."""
FEWEST = 200


@dataclass(frozen=True)
class Normals:
    """A mixture of normal densities, in order of their means: ``share``, ``mean``, ``sd`` ``(k,)``, and its BIC."""

    share: Floats
    mean: Floats
    sd: Floats
    bic: float

    def __len__(self) -> int:
        return len(self.share)

    def density(self, x: Floats) -> Floats:
        """Density at ``x`` ``(n,)`` of each component, times its share, ``(k, n)``."""
        sd = self.sd[:, None]
        return np.asarray(
            self.share[:, None] * np.exp(-0.5 * ((x - self.mean[:, None]) / sd) ** 2) / (sd * np.sqrt(2 * np.pi))
        )

    @property
    def ashman_d(self) -> float:
        """Separation of two components in units of their spread, 2 where two equal ones just show two peaks; 0 for one.

        √2 |μ₁ - μ₂| / √(σ₁² + σ₂²) (Ashman, Bird & Zepf 1994).
        """
        if len(self) != 2:
            return 0.0
        return float(np.sqrt(2) * np.ptp(self.mean) / np.hypot(*self.sd))


@dataclass(frozen=True)
class Peaks:
    """What is known of the peaks of a sample.

    ``count`` : 1 or more; 0 where the tests do not agree or there are too few values
    ``dip``, ``p_value`` : the dip, and how often a flat density has one as large
    ``one``, ``two`` : fits of one and two components
    ``best`` : that with the number of components of the lowest BIC
    ``places`` : where the density of ``best`` has peaks
    """

    n: int
    count: int
    dip: float
    p_value: float
    one: Normals
    two: Normals
    best: Normals
    places: tuple[float, ...]

    @property
    def words(self) -> str:
        """In a few words."""
        found = {0: "a number of peaks that is not clear", 1: "one peak", 2: "two peaks"}.get(
            self.count, f"{self.count} peaks"
        )
        normal = f"{len(self.best)} normal component{'s' * (len(self.best) > 1)} by BIC"
        return f"{found} (dip {self.dip:.4f}, p = {self.p_value:.2g}; {normal})"


def find_peaks(values: Floats) -> Peaks:
    """Count the peaks of a sample ``(n,)``, whatever its order."""
    values = np.sort(values)
    edges, counts = histogram(values)
    fits = [fit_normals(edges, counts, k) for k in range(1, MOST_COMPONENTS + 1)]
    best = min(fits, key=lambda f: f.bic)
    places = modes(best)
    distance = dip(values)
    p_value = dip_p_value(distance, len(values))
    count = _count(len(places), p_value, len(values))
    return Peaks(len(values), count, distance, p_value, fits[0], fits[1], best, places)


def _count(modes_fitted: int, p_value: float, n: int) -> int:
    if n < FEWEST:
        return 0
    if modes_fitted >= 2:
        return modes_fitted if p_value <= SURE else 0 if p_value <= DOUBTFUL else 1
    return 1 if p_value > SURE else 0


def histogram(values: Floats) -> tuple[Floats, Floats]:
    """Edges ``(BINS + 1,)`` within six standard deviations of the median, and counts; what is beyond is in the ends."""
    centre, spread = float(np.median(values)), float(np.std(values)) or 1.0
    low = max(float(np.min(values)), centre - REACH_SD * spread)
    high = min(float(np.max(values)), centre + REACH_SD * spread)
    edges = np.linspace(low, high if high > low else low + 1.0, BINS + 1)
    return edges, np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0].astype(np.float64)


def fit_normals(edges: Floats, counts: Floats, k: int) -> Normals:
    """Fit k normal components to a histogram by expectation maximisation, the best of several starts."""
    x = 0.5 * (edges[1:] + edges[:-1])
    floor = 2.0 * (edges[1] - edges[0])
    starts = [_by_quantiles(x, counts, k), *([_by_valley(x, counts)] if k == 2 else [])]
    starts += [_outward(x, counts, k)] if k > 1 else []
    fits = [_maximised(x, counts, label, floor) for label in starts]
    return max(fits, key=lambda f: -f.bic)


def _maximised(x: Floats, counts: Floats, parts: Floats, floor: float, steps: int = 300) -> Normals:
    total, last, k = counts.sum(), -np.inf, len(parts)
    share, mean, sd = np.full(k, 1 / k), np.zeros(k), np.ones(k)
    for _ in range(steps):
        weight = np.maximum(parts @ counts, 1e-9)
        share = weight / weight.sum()
        mean = (parts * counts) @ x / weight
        sd = np.sqrt(np.maximum(((x - mean[:, None]) ** 2 * parts) @ counts / weight, floor**2))
        joint = np.log(share / sd)[:, None] - 0.5 * ((x - mean[:, None]) / sd[:, None]) ** 2
        top = joint.max(axis=0)
        parts = np.exp(joint - top)
        sums = parts.sum(axis=0)
        parts /= sums
        reached = float(counts @ (top + np.log(sums))) - 0.5 * np.log(2 * np.pi) * total
        if abs(reached - last) < 1e-7 * total:
            break
        last = reached
    order = np.argsort(mean)
    bic = -2.0 * last + (3 * k - 1) * np.log(total)
    return Normals(share[order], mean[order], sd[order], float(bic))


def _by_quantiles(x: Floats, counts: Floats, k: int) -> Floats:
    rank = (np.cumsum(counts) - 0.5 * counts) / counts.sum()
    label = np.minimum((rank * k).astype(int), k - 1)
    return np.eye(k)[:, label]


def _by_valley(x: Floats, counts: Floats) -> Floats:
    """Two parts that differ most, beside the spread within them (Otsu 1979)."""
    below = np.cumsum(counts)[:-1]
    above = counts.sum() - below
    sums = np.cumsum(counts * x)[:-1]
    between = below * above * (sums / np.maximum(below, 1) - (counts @ x - sums) / np.maximum(above, 1)) ** 2
    label = (np.arange(len(x)) > int(np.argmax(between))).astype(int)
    return np.eye(2)[:, label]


def _outward(x: Floats, counts: Floats, k: int) -> Floats:
    """Parts of equal width, of what lies within the 1st and the 99th percentile."""
    rank = np.cumsum(counts) / counts.sum()
    low, high = x[np.minimum(np.searchsorted(rank, [0.01, 0.99]), len(x) - 1)]
    label = np.clip(((x - low) / max(high - low, 1e-12) * k).astype(int), 0, k - 1)
    return np.eye(k)[:, label]


def modes(fit: Normals, points: int = 2048) -> tuple[float, ...]:
    """Where the density of a mixture has peaks with a valley between them and enough particles about them."""
    low, high = np.min(fit.mean - 4 * fit.sd), np.max(fit.mean + 4 * fit.sd)
    x = np.linspace(low, high, points)
    density = fit.density(x).sum(axis=0)
    rises = np.diff(density) > 0
    tops = [int(i) for i in np.flatnonzero(rises[:-1] & ~rises[1:]) + 1] or [int(np.argmax(density))]
    while len(tops) > 1:
        valleys = [a + int(np.argmin(density[a : b + 1])) for a, b in pairwise(tops)]
        depth = [density[v] / min(density[a], density[b]) for v, (a, b) in zip(valleys, pairwise(tops), strict=True)]
        borders = [-np.inf, *x[valleys], np.inf]
        held = [
            float(fit.share @ (ndtr((b - fit.mean) / fit.sd) - ndtr((a - fit.mean) / fit.sd)))
            for a, b in pairwise(borders)
        ]
        if max(depth) >= VALLEY:
            i = int(np.argmax(depth))
            tops.remove(min(tops[i : i + 2], key=lambda t: float(density[t])))
        elif min(held) < LEAST_SHARE:
            tops.pop(int(np.argmin(held)))
        else:
            break
    return tuple(float(x[t]) for t in tops)


def smooth_density(edges: Floats, counts: Floats) -> Floats:
    """Density ``(bins,)`` of a histogram with a normal kernel of Silverman's width."""
    x = 0.5 * (edges[1:] + edges[:-1])
    total = max(counts.sum(), 1.0)
    mean = counts @ x / total
    spread = float(np.sqrt(counts @ (x - mean) ** 2 / total))
    step = edges[1] - edges[0]
    return np.asarray(gaussian_filter1d(counts / total / step, 0.7 * spread * total**-0.2 / step, mode="nearest"))


def dip(ordered: Floats) -> float:
    """Largest distance of a distribution function from the nearest one with a single peak.

    ``ordered`` ``(n,)`` rises; of more than 4,096 values their quantiles are taken, which changes the dip by 1/8192 at
    most. The distribution function is that of straight lines through the middles of the steps, as of
    values that do not repeat.
    """
    n = len(ordered)
    ranks = np.arange(n) if n <= NODES else np.round(np.linspace(0, n - 1, NODES)).astype(int)
    x, first = np.unique(ordered[ranks], return_index=True)
    last = np.append(first[1:], len(ranks)) - 1
    height = (0.5 * (ranks[first] + ranks[last]) + 0.5) / n
    low, high, found = 0, len(x) - 1, 0.0
    while high > low:
        convex, concave = _hull(x, height, low, high, 1.0), _hull(x, height, low, high, -1.0)
        lower = np.interp(x[low : high + 1], x[convex], height[convex])
        upper = np.interp(x[low : high + 1], x[concave], height[concave])
        gap = upper - lower
        widest = float(gap.max())
        if widest <= 2 * found:
            break
        at = low + int(np.argmax(gap))
        if at in convex:
            new_low, new_high = at, int(concave[np.searchsorted(concave, at)])
        else:
            new_low, new_high = int(convex[np.searchsorted(convex, at, side="right") - 1]), at
        left = float(np.max(height[low : new_low + 1] - lower[: new_low - low + 1]))
        right = float(np.max(upper[new_high - low :] - height[new_high : high + 1]))
        found = max(found, 0.5 * left, 0.5 * right)
        if widest <= 2 * found or (new_low == low and new_high == high):
            break
        low, high = new_low, new_high
    return found + 0.5 / n


def _hull(x: Floats, height: Floats, low: int, high: int, sign: float) -> NDArray[np.intp]:
    """Nodes of the greatest convex minorant (sign 1), or of the least concave majorant (-1)."""
    kept: list[int] = []
    xs, ys = x.tolist(), (sign * height).tolist()
    for i in range(low, high + 1):
        while len(kept) > 1:
            a, b = kept[-2], kept[-1]
            if (ys[b] - ys[a]) * (xs[i] - xs[b]) >= (ys[i] - ys[b]) * (xs[b] - xs[a]):
                kept.pop()
            else:
                break
        kept.append(i)
    return np.array(kept)


def dip_p_value(distance: float, n: int) -> float:
    """How often n values of a flat density have a dip as large; not below 1e-4."""
    levels, quantiles = _dip_table()
    return float(np.clip(10.0 ** np.interp(np.sqrt(n) * distance, quantiles, np.log10(levels)), 1e-4, 1.0))


@cache
def _dip_table() -> tuple[Floats, Floats]:
    """P-values, and the dip of a flat density times √n that is reached so often."""
    table = np.array(DIP_QUANTILES)
    return table[:, 0], table[:, 1]


DIP_QUANTILES = (
    (1.0, 0.16), (0.999, 0.2131), (0.99, 0.2405), (0.95, 0.2693), (0.9, 0.2874), (0.8, 0.3125), (0.7, 0.3334),
    (0.6, 0.3525), (0.5, 0.3715), (0.4, 0.3923), (0.3, 0.4167), (0.2, 0.4479), (0.1, 0.4943), (0.05, 0.534),
    (0.02, 0.5838), (0.01, 0.6199), (0.005, 0.6535), (0.002, 0.6988), (0.001, 0.7259), (0.0005, 0.7568),
    (0.0001, 0.81),
)  # fmt: skip
"""P-values, and √n times the dip of n = 1,000 values of a flat density (60,000 samples); it hardly depends on n."""
