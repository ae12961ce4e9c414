"""Why has the loss the peaks that it has? A verdict as text, and the numbers behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from cryocore.explore.loss.columns import LossColumns
from cryocore.explore.loss.conditional import Geometry, without_geometry
from cryocore.explore.loss.peaks import Normals, Peaks, find_peaks
from cryocore.explore.loss.variance import Decomposition, decompose
from cryocore.hashing import hashed_order
from cryocore.log.rates import auc
from cryocore.types import Floats

ONE = "one peak"
KINDS = "two peaks: correct and incorrect particles"
VIEWS = "two peaks: geometry (preferred views)"
IMAGING = "two peaks: geometry (defocus, micrographs)"
BOTH = "two peaks or more: correct and incorrect particles, and geometry"
UNCLEAR = "cannot tell"
VERDICTS = (ONE, KINDS, VIEWS, IMAGING, BOTH, UNCLEAR)

FEWEST = 500
"""Particles without which geometry and errors are not distinguished."""
MOST = 200_000
"""Particles whose geometry is taken out at most, chosen by their ids."""
GROUPED = 0.5
"""Where micrograph or defocus explain so much of who is of which kind, the kinds need not be correct and incorrect."""


@dataclass(frozen=True)
class Distribution:
    """The distribution of a loss, and what makes it.

    ``verdict`` : one of ``VERDICTS``; ``reasons`` say what it rests on, one clause each
    ``peaks`` : of the loss (with the sign at which higher is better)
    ``geometry`` : the loss with the geometry taken out, None where the log knows no geometry
    ``variance`` : of the loss, by source
    ``worse_share`` : share of the worse kind among the particles of one geometry, None where there is one kind
    ``agreement`` : AUC of the better kind's probability beside the flags, None where there are none
    """

    loss: str
    n_particles: int
    verdict: str
    reasons: tuple[str, ...]
    peaks: Peaks
    geometry: Geometry | None
    variance: Decomposition
    worse_share: float | None
    agreement: float | None

    @property
    def text(self) -> str:
        """The verdict and its reasons as text, and the shares of variance."""
        lines = [f"{self.loss} of {self.n_particles:,} particles. Verdict: {self.verdict}."]
        lines += [f"  - {reason}" for reason in self.reasons]
        lines.append("Share of its variance, alone and as part of all (adjusted R²):")
        for name, value in self.variance.alone.items():
            lines.append(f"  {name:<13} {max(value, 0.0):7.1%} {max(self.variance.share[name], 0.0):7.1%}")
        lines.append(f"  {'the rest':<13} {'':7} {min(self.variance.rest, 1.0):7.1%}")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """Values for JSON."""
        taken_out = None
        if self.geometry is not None:
            g = self.geometry
            taken_out = {
                "same_geometry": _plain_peaks(g.kinds),
                "same_kind": _plain_peaks(g.views),
                "two_kinds": g.are_two_kinds,
                "separation": round(g.two.separation, 3),
                "bic_one_less_two": round(g.one.bic - g.two.bic, 1),
            }
        return {
            "loss": self.loss,
            "n_particles": self.n_particles,
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            "peaks": _plain_peaks(self.peaks),
            "geometry": taken_out,
            "variance_alone": {k: round(v, 4) for k, v in self.variance.alone.items()},
            "variance_share": {k: round(v, 4) for k, v in self.variance.share.items()},
            "variance_rest": round(self.variance.rest, 4),
            "worse_share": _rounded(self.worse_share),
            "agreement": _rounded(self.agreement),
        }


def distribution(columns: LossColumns, *, seed: int = 0) -> Distribution:
    """Describe the distribution of the loss and explain its peaks.

    The same seed gives the same result, whatever the order of rows.
    """
    with threadpool_limits(1):
        return _explained(columns.take(hashed_order(columns.ids, seed=seed, stream=16)), seed)


def _explained(columns: LossColumns, seed: int) -> Distribution:
    peaks, variance = find_peaks(columns.score), decompose(columns)
    knows_geometry = columns.expected is not None or columns.views is not None
    if len(columns) < FEWEST or not knows_geometry:
        why = "the log has neither views nor expected scores" if not knows_geometry else "too few particles"
        one = peaks.count == 1 and knows_geometry
        reasons = (f"the loss has {peaks.words}", *(() if one else (f"{why} to tell geometry from errors",)))
        return Distribution(
            columns.name, len(columns), ONE if one else UNCLEAR, reasons, peaks, None, variance, None, None
        )
    part = columns.take(np.arange(min(len(columns), MOST)))
    geometry = without_geometry(part, seed)
    verdict, reasons = verdict_of(part, peaks, geometry)
    two = geometry.are_two_kinds
    agreement = None
    if two and part.flags is not None:
        known = part.flags >= 0
        agreement = auc(geometry.two.part[0][known], part.flags[known] == 1)
    worse = float(geometry.two.part[1].mean()) if two else None
    return Distribution(columns.name, len(columns), verdict, reasons, peaks, geometry, variance, worse, agreement)


def verdict_of(columns: LossColumns, peaks: Peaks, geometry: Geometry) -> tuple[str, tuple[str, ...]]:
    """The verdict, from the peaks of the loss, of the loss at one geometry, and of the geometry for one kind."""
    kinds, views = geometry.are_two_kinds, _several(geometry.views)
    reasons = [f"the loss has {peaks.words}"]
    two = geometry.two
    reasons.append(
        {
            True: f"among particles of the same view and projection energy there are two kinds, Ashman's D "
            f"{two.separation:.1f}, {100 * two.part[1].mean():.1f} % of the worse",
            False: "particles of the same view and projection energy are of one kind as far as the loss shows",
            None: "whether particles of the same view and projection energy are of two kinds is open",
        }[kinds]
    )
    reasons.append(f"particles of one kind, seen as the data are, would show {geometry.views.words}")
    several = _several(peaks)
    if several is False:
        return ONE, (*reasons, *(["the peaks of the two kinds run into each other"] if kinds else []))
    if several is None or kinds is None or views is None or not (kinds or views):
        return UNCLEAR, (*reasons, *_open(several, kinds, views))
    if kinds and (grouped := _grouping(columns, two.part[0])):
        return UNCLEAR, (*reasons, grouped)
    if not views:
        return KINDS, tuple(reasons)
    by_view, source = _behind(columns, geometry)
    reasons.append(source)
    if kinds:
        return BOTH, tuple(reasons)
    return VIEWS if by_view else IMAGING, tuple(reasons)


def _open(several: bool | None, kinds: bool | None, views: bool | None) -> list[str]:
    if several is None:
        return ["the number of peaks itself is not clear"]
    if kinds is False and views is False:
        return ["neither geometry nor a second kind of particles explains the peaks"]
    return ["what explains the peaks is not clear"]


def _several(peaks: Peaks) -> bool | None:
    return None if peaks.count == 0 else peaks.count > 1


def _grouping(columns: LossColumns, part: Floats) -> str | None:
    """A reason to doubt that two kinds are correct and incorrect: they go with micrographs or with defocus."""
    alone = decompose(columns, part).alone
    for name in ("micrograph", "defocus"):
        if alone.get(name, 0.0) > GROUPED:
            return f"the two kinds go with {name} (R² {alone[name]:.2f}): they may be two kinds of images"
    return None


def _behind(columns: LossColumns, geometry: Geometry) -> tuple[bool, str]:
    """Whether views are what makes the peaks of the geometry, and the same as text."""
    source = geometry.two if geometry.are_two_kinds else geometry.one
    expected = source.mean[int(np.argmax(source.share)) if geometry.are_two_kinds else 0]
    alone = decompose(columns, expected).alone
    named = {k: v for k, v in alone.items() if k in ("view", "defocus", "micrograph")}
    words = ", ".join(f"{name} {100 * max(value, 0.0):.0f} %" for name, value in named.items())
    by_view = "view" in named and named["view"] >= max(named.values()) - 0.05
    return by_view, f"of what the geometry makes of the loss is explained by: {words}"


def _plain_peaks(peaks: Peaks) -> dict[str, Any]:
    return {
        "n": peaks.n,
        "count": peaks.count,
        "dip": round(peaks.dip, 6),
        "p_value": round(peaks.p_value, 5),
        "places": [round(v, 4) for v in peaks.places],
        "components": len(peaks.best),
        "bic_one_less_two": round(peaks.one.bic - peaks.two.bic, 1),
        "ashman_d": round(peaks.two.ashman_d, 3),
        "two": _plain_normals(peaks.two),
        "best": _plain_normals(peaks.best),
    }


def _plain_normals(fit: Normals) -> dict[str, list[float]]:
    return {name: [round(float(v), 4) for v in getattr(fit, name)] for name in ("share", "mean", "sd")}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
