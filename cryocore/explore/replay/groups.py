"""Which micrographs, optics groups and ranges of defocus are bad: shares with intervals, and which stand out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import betainc, betaincinv

from cryocore.errors import InputError
from cryocore.log.rounds import LogRound
from cryocore.select.groups import defocus_bins
from cryocore.types import Floats

Ints = NDArray[np.integer[Any]]

KINDS = ("micrograph", "optics_group", "defocus")
TAILS = (0.025, 0.975)
GRID = 64
"""Variances between groups that are averaged over."""
LEVEL = 0.05
"""Share of the groups called worse that may be so by chance."""


@dataclass(frozen=True)
class Ranking:
    """Groups of one kind, the worst first, each with its particles.

    ``overall`` : share of all particles
    ``name``, ``n``, ``share`` : of each group
    ``shrunk``, ``low``, ``high`` : the share drawn to the mean, and its 95 % interval
    ``p_value`` : chance that as many particles drawn at random have as large a share
    ``q_value`` : the same with their number allowed for (Benjamini and Hochberg 1995); ``worse`` where below 5 %
    """

    overall: float
    name: tuple[str, ...]
    n: Ints
    share: Floats
    shrunk: Floats
    low: Floats
    high: Floats
    p_value: Floats
    q_value: Floats
    worse: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.name)

    def table(self) -> pa.Table:
        """One row per group."""
        return pa.table(self._columns())

    def rows(self, most: int | None = None) -> list[dict[str, Any]]:
        """The first groups, or all, as values for JSON."""
        columns = {k: list(v[:most]) if k == "name" else v[:most].tolist() for k, v in self._columns().items()}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def _columns(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "overall"}


@dataclass(frozen=True)
class Wrongness:
    """How incorrect each particle is ``(n,)``, 0 to 1, and what that was taken from: posterior or flags."""

    values: Floats
    source: str


def rank_groups(incorrect: NDArray[Any], codes: Ints, names: Sequence[str]) -> Ranking:
    """Rank groups by the share of incorrect particles.

    Parameters
    ----------
    incorrect : (n,) flags, or probabilities of being incorrect, 0 to 1; particles with NaN are left out
    codes : (n,) group of each particle, an index into ``names``; groups without a particle are left out

    Notes
    -----
    Sampling variances are the pooled variance within groups over n; see :func:`drawn_to_mean`. Probabilities are taken
    as they are: that they may be wrong themselves is not in the interval. The p-value is a tail of
    the binomial distribution about the share of all, continued to sums of probabilities; where a group is much of the
    whole it is on the safe side.
    """
    known = np.isfinite(incorrect)
    codes, incorrect = codes[known], incorrect[known].astype(np.float64)
    n = np.bincount(codes, minlength=len(names))
    groups = np.flatnonzero(n)
    if not len(groups):
        raise InputError("no particle has a share of being incorrect", fix="Use a log with flags or scores")
    count = n[groups]
    total = np.bincount(codes, weights=incorrect, minlength=len(names))[groups]
    share, overall = total / count, float(incorrect.mean())
    within = max(float(np.sum(incorrect**2) - count @ share**2), 0.0) / max(len(incorrect) - len(groups), 1)
    shrunk, variance = drawn_to_mean(share, within / count)
    low, high = _beta_interval(shrunk, variance * shrunk * (1.0 - shrunk) / max(overall * (1.0 - overall), 1e-12))
    p_value = np.where(total > 0, betainc(np.maximum(total, 1e-12), count - total + 1.0, overall), 1.0)
    q_value = false_discovery_rate(p_value)
    order = np.lexsort((groups, -count, -shrunk))
    return Ranking(
        overall=overall,
        name=tuple(names[groups[i]] for i in order),
        n=count[order],
        share=share[order],
        shrunk=shrunk[order],
        low=low[order],
        high=high[order],
        p_value=p_value[order],
        q_value=q_value[order],
        worse=((q_value < LEVEL) & (share > overall))[order],
    )


def false_discovery_rate(p_value: Floats) -> Floats:
    """Q-values ``(m,)`` of p-values: the false discovery rate where each is the last to be called (Benjamini &
    Hochberg 1995).

    >>> false_discovery_rate(np.array([0.04, 0.01, 0.03])).round(4).tolist()
    [0.04, 0.03, 0.04]
    """
    order = np.argsort(p_value)[::-1]
    scaled = p_value[order] * len(p_value) / np.arange(len(p_value), 0, -1)
    q_value = np.empty(len(p_value))
    q_value[order] = np.minimum.accumulate(np.minimum(scaled, 1.0))
    return q_value


def drawn_to_mean(share: Floats, variance: Floats) -> tuple[Floats, Floats]:
    """Shares ``(groups,)`` of known sampling variance drawn to their mean: posterior means and variances.

    The variance between groups has the uniform shrinkage prior (Daniels 1999) and is averaged over, so that intervals
    hold their level also where groups hardly differ, and few groups are not drawn to a mean that is not known.
    """
    if len(share) < 2 or not variance.any():
        return share, variance
    typical = 1.0 / np.mean(1.0 / variance)
    drawn = (np.arange(GRID) + 0.5) / GRID
    between = (typical * (1.0 - drawn) / drawn)[:, None]
    precision = 1.0 / (variance + between)
    total = precision.sum(axis=1, keepdims=True)
    mean = (precision * share).sum(axis=1, keepdims=True) / total
    fit = 0.5 * np.sum(np.log(precision) - precision * (share - mean) ** 2, axis=1) - 0.5 * np.log(total[:, 0])
    weight = np.exp(fit - fit.max())[:, None] / np.exp(fit - fit.max()).sum()
    pull = variance * precision
    each = (1.0 - pull) * share + pull * mean
    shrunk = (weight * each).sum(axis=0)
    spread = (1.0 - pull) * variance + pull**2 / total + (each - shrunk) ** 2
    return shrunk, (weight * spread).sum(axis=0)


def _beta_interval(mean: Floats, variance: Floats) -> tuple[Floats, Floats]:
    """2.5 and 97.5 % of beta distributions of these moments; the mean itself where there is no variance."""
    size = np.divide(mean * (1.0 - mean), variance, out=np.full_like(mean, np.inf), where=variance > 0) - 1.0
    size = np.maximum(size, 1e-3)
    sure = ~np.isfinite(size) | (mean <= 0.0) | (mean >= 1.0)
    size[sure] = 1.0
    first, second = (np.where(sure, 1.0, part * size) for part in (mean, 1.0 - mean))
    ends = (betaincinv(first, second, q) for q in TAILS)
    low, high = (np.where(sure, mean, end) for end in ends)
    return low, high


def incorrectness(log_round: LogRound, by: str = "auto") -> Wrongness:
    """How incorrect the particles of a round are: by ``posterior``, by ``flags``, or by the first that is known."""
    if by not in ("auto", "posterior", "flags"):
        raise InputError(f"groups are not ranked by {by!r}", fix="Choose auto, posterior or flags")
    likely = log_round.posterior() if by in ("auto", "posterior") else None
    if likely is not None:
        return Wrongness(1.0 - likely.astype(np.float64), "posterior")
    flags = log_round.flags()
    if by != "posterior" and (flags >= 0).any():
        return Wrongness(np.where(flags < 0, np.nan, 1.0 - flags), "flags")
    raise InputError(
        f"the log holds no {'posterior or flags' if by == 'auto' else by}",
        file=log_round.path,
        fix="Score the particles, or give the truth",
    )


def group_codes(log_round: LogRound, kind: str) -> tuple[Ints, list[str]] | None:
    """The group of each particle ``(n,)`` and the groups' names; None where the log does not know them."""
    if kind != "defocus":
        return log_round.labels(kind)
    sides = [log_round.column(f"defocus_{s}_angstrom") for s in "uv"]
    if sides[0] is None or sides[1] is None or not np.isfinite(sides[0] + sides[1]).all():
        return None
    mean = 0.5 * (sides[0].astype(np.float64) + sides[1])
    codes = defocus_bins(mean)
    found = [mean[codes == c] for c in range(int(codes.max()) + 1)]
    return codes, [f"{part.min():.0f} to {part.max():.0f} Å" if len(part) else "none" for part in found]


def rank_all(log_round: LogRound, kinds: Sequence[str] = KINDS, *, by: str = "auto") -> dict[str, Ranking]:
    """The rankings of a round's groups, of the kinds that the log knows."""
    unknown = next((kind for kind in kinds if kind not in KINDS), None)
    if unknown is not None:
        raise InputError(f"there are no groups by {unknown!r}", fix=f"Choose of {', '.join(KINDS)}")
    incorrect = incorrectness(log_round, by).values
    found = {kind: group_codes(log_round, kind) for kind in kinds}
    return {kind: rank_groups(incorrect, *groups) for kind, groups in found.items() if groups is not None}


def combined_table(rankings: dict[str, Ranking]) -> pa.Table:
    """Rankings one below the other, their kind in the first column."""
    tables = [r.table().add_column(0, "kind", pa.array([kind] * len(r))) for kind, r in rankings.items()]
    return pa.concat_tables(tables)
