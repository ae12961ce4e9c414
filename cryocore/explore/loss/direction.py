"""Does the loss depend on the pose? Tests with p-values by permutation, and how large the effect is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from cryocore.errors import InputError
from cryocore.explore.loss.columns import LossColumns
from cryocore.explore.loss.dependence import (
    TESTS,
    Permutations,
    PoseFunctions,
    clipped,
    permutation_tests,
    pose_functions,
    ranks_within,
    whitening,
    within,
)
from cryocore.hashing import hashed_order
from cryocore.types import Floats, Ints

MOST = 200_000
"""Particles that are tested at most, chosen by their ids."""
FEWEST = 50
LEVEL = 0.05
PERMUTATIONS = 999
BOOTSTRAP, RESAMPLED = 200, 4_000
"""Resampled data sets, and the particles in them at most; deviations shrink by the root of the ratio to all."""
PER_STRATUM, PER_STRATUM_IN_MICROGRAPH = 100, 20
"""Particles of like projection energy whose losses are exchanged."""
KNOTS = 8
WORDS = {
    "mean": "the mean loss changes smoothly with the viewing direction",
    "narrow": "the mean loss of some viewing directions, which may be narrow, differs",
    "in_plane": "the mean loss changes with the rotation in the image plane",
    "shape": "the spread or the shape of the loss changes with the viewing direction",
}


@dataclass(frozen=True)
class Effect:
    """Share of the variance that the pose explains: adjusted R², 0 in the mean for noise, with its 95 % interval."""

    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Dependence:
    """The answer to one question: all tests, the p-values adjusted for their number (Holm 1979), the effects.

    ``given`` : what the loss was made comparable for: nothing, energy, micrograph, or energy and micrograph
    ``p_value``, ``p_adjusted``, ``effect`` : by test
    ``statistic``, ``null`` : by test, and of the permuted losses ``(permutations,)``
    """

    given: str
    p_value: Mapping[str, float]
    p_adjusted: Mapping[str, float]
    effect: Mapping[str, Effect]
    statistic: Mapping[str, float]
    null: Mapping[str, Floats]

    @property
    def found(self) -> tuple[str, ...]:
        """Tests whose adjusted p-value is at most 5 %."""
        return tuple(name for name in TESTS if self.p_adjusted[name] <= LEVEL)


@dataclass(frozen=True)
class Direction:
    """Whether the loss depends on the pose, by itself and beyond what the projection energy explains.

    ``questions`` : the loss as it is, then what is left given energy, micrograph, or both, as far as the log knows them
    """

    loss: str
    symmetry: str
    n_particles: int
    n_tested: int
    view_degree: int
    in_plane_degree: int
    permutations: int
    questions: tuple[Dependence, ...]

    @property
    def text(self) -> str:
        """The answers as text."""
        tested = "" if self.n_tested == self.n_particles else f" of {self.n_particles:,}"
        head = f"Does {self.loss} depend on the pose? {self.n_tested:,}{tested} particles, {self.symmetry}"
        return "\n\n".join([head, *map(_paragraph, self.questions)])

    def as_dict(self) -> dict[str, Any]:
        """Values for JSON."""
        names = ("loss", "symmetry", "n_particles", "n_tested", "view_degree", "in_plane_degree", "permutations")
        return {name: getattr(self, name) for name in names} | {"questions": [_plain(q) for q in self.questions]}


def direction(
    columns: LossColumns,
    *,
    given: tuple[str, ...] = ("nothing", "energy", "energy and micrograph"),
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> Direction:
    """Test whether the loss is independent of the pose.

    Parameters
    ----------
    given : the questions: ``nothing``, ``energy``, ``micrograph`` or ``energy and micrograph``; those that the log
        cannot answer are left out
    permutations : of each question
    seed : of the permutations and of the resampling; the order of rows has no part in the result

    Raises
    ------
    InputError  if poses are missing, there are fewer than 50 particles, or the loss is the same for all.
    """
    if columns.rotations is None:
        raise InputError("the log has no poses", column="quat_w", fix="Give a log with quaternions")
    if len(columns) < FEWEST or not np.ptp(columns.loss) > 0:
        problem = f"{len(columns)} particles" if len(columns) < FEWEST else f"the {columns.name} of all is the same"
        raise InputError(f"{problem}: nothing can be tested", fix=f"Give at least {FEWEST} particles that differ")
    with threadpool_limits(1):  # sums are the same for any number of cores, and cores in use elsewhere do no harm
        return _tested(columns, given, permutations, seed)


def _tested(columns: LossColumns, given: tuple[str, ...], permutations: int, seed: int) -> Direction:
    rows = hashed_order(columns.ids, seed=seed, stream=13)[:MOST]
    part = columns.take(rows)
    functions = pose_functions(np.asarray(part.rotations), part.symmetry)
    known = {"energy": part.expected is not None, "micrograph": part.micrograph is not None, "nothing": True}
    questions = [
        _question(part, functions, name, permutations, seed)
        for name in given
        if all(known[word] for word in name.split(" and "))
    ]
    return Direction(
        columns.name,
        columns.symmetry,
        len(columns),
        len(part),
        functions.view_degree,
        functions.in_plane_degree,
        permutations,
        tuple(questions),
    )


def holm(p_values: Floats) -> Floats:
    """P-values ``(m,)`` adjusted for their number (Holm 1979)."""
    order = np.argsort(p_values)
    scaled = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    out = np.empty(len(p_values))
    out[order] = np.minimum(scaled, 1.0)
    return out


@dataclass(frozen=True)
class Comparable:
    """Losses ``(n,)`` made comparable, the strata in which they are exchanged, and their ranks at one energy."""

    loss: Floats
    strata: Ints | None
    ranks: Floats | None


def comparable(columns: LossColumns, given: str) -> Comparable:
    """The loss with mean and spread that do not change with the projection energy, if that is given.

    Strata are the micrographs, ranges of energy, or ranges of energy within a micrograph. The latter may be wide, so
    that ranks are always those among particles of like energy in all micrographs.
    """
    loss, strata, ranks = clipped(columns.loss), None, None
    if "micrograph" in given and columns.micrograph is not None:
        strata = np.unique(columns.micrograph, return_inverse=True)[1].astype(np.int64)
    if "energy" in given and columns.expected is not None:
        # equal energies are exchanged whatever their order; ties by id keep the result independent of the order of rows
        size = PER_STRATUM if strata is None else PER_STRATUM_IN_MICROGRAPH
        loss = _standardised(loss, columns.expected)
        ranks = ranks_within(loss, _ranges(columns.expected, columns.ids, None, PER_STRATUM))
        strata = _ranges(columns.expected, columns.ids, strata, size)
    return Comparable(loss, strata, ranks)


def adjusted_share(functions: NDArray[np.floating], loss: Floats, strata: Ints | None, seed: int) -> Effect:
    """Adjusted R² of a regression of ``loss`` ``(n,)`` on ``functions`` ``(n, p)``, both less the means of strata.

    The interval is the bootstrap's about its own mean, moved to the estimate; it reaches 0 where that does. Resampled
    data keep the products of the functions, and what is left of their loss goes down by what these explain of it.
    """
    x, y = within(functions, strata).astype(np.float64), within(loss[:, None], strata)[:, 0]
    lost = 1 if strata is None else len(np.unique(strata))
    n, rng = len(y), np.random.default_rng([seed, 22])
    share = _share(x.T @ x, x.T @ y, float(y @ y), n, lost)
    m = min(n, RESAMPLED)
    x, y, lost = x[:m], y[:m], max(round(lost * m / n), 1)
    x = x @ whitening(x.T @ x)
    free = m - lost - x.shape[1]
    if free <= 0 or not np.any(y):
        return Effect(share, max(share, 0.0), max(share, 0.0))
    left = y - x @ (x.T @ y)
    counts = np.stack([np.bincount(rng.integers(0, m, m), minlength=m) for _ in range(BOOTSTRAP)]).astype(np.float64)
    unexplained = counts @ left**2 - np.sum((counts @ (x * left[:, None])) ** 2, axis=1)
    drawn = 1.0 - unexplained / (counts @ y**2) * (m - lost) / free
    below, above = np.quantile(drawn - drawn.mean(), [0.025, 0.975]) * np.sqrt(m / n)
    return Effect(share, float(max(share + below, 0.0)), float(np.clip(share + above, 0.0, 1.0)))


def _share(products: Floats, with_loss: Floats, total: float, n: int, lost: int) -> float:
    basis = whitening(products)
    free = n - lost - basis.shape[1]
    if total <= 0 or free <= 0:
        return 0.0
    return float(1.0 - (1.0 - np.sum((with_loss @ basis) ** 2) / total) * (n - lost) / free)


def _question(part: LossColumns, functions: PoseFunctions, given: str, permutations: int, seed: int) -> Dependence:
    made = comparable(part, given)
    strata = made.strata
    tested: Permutations = permutation_tests(
        functions, made.loss, strata=strata, ranks=made.ranks, permutations=permutations, seed=seed
    )
    centred = within(made.loss[:, None], strata)[:, 0]
    view = adjusted_share(functions.view, centred, strata, seed)
    effects = {
        "mean": view,
        "narrow": view,
        "in_plane": adjusted_share(functions.in_plane, centred, strata, seed),
        "shape": adjusted_share(functions.view, np.abs(centred), strata, seed),
    }
    values = {name: float(v) for name, v in zip(TESTS, tested.p_values, strict=True)}
    adjusted = {name: float(v) for name, v in zip(TESTS, holm(tested.p_values), strict=True)}
    statistic = {name: float(v) for name, v in zip(TESTS, tested.statistic, strict=True)}
    null = {name: tested.null[:, i] for i, name in enumerate(TESTS)}
    return Dependence(given, values, adjusted, effects, statistic, null)


def _standardised(loss: Floats, expected: Floats) -> Floats:
    """A loss less a piecewise linear function of the root of the energy, over one of its mean absolute deviation."""
    knots = np.unique(np.quantile(expected, np.linspace(0, 1, KNOTS)))
    if len(knots) < 2:
        return loss - loss.mean()
    hats = np.stack([np.interp(expected, knots, row) for row in np.eye(len(knots))], axis=1)
    left = loss - hats @ np.linalg.lstsq(hats, loss, rcond=None)[0]
    spread = hats @ np.linalg.lstsq(hats, np.abs(left), rcond=None)[0]
    return np.asarray(left / np.maximum(spread, 0.1 * np.mean(np.abs(left)) + 1e-300))


def _ranges(expected: Floats, ids: NDArray[np.uint64], strata: Ints | None, size: int) -> Ints:
    """Runs of about ``size`` particles of like energy in each stratum."""
    codes = np.zeros(len(expected), dtype=np.int64) if strata is None else strata
    order = np.lexsort((ids, expected, codes))
    counts = np.bincount(codes)
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    place = np.arange(len(expected)) - first[codes[order]]
    runs = np.maximum(counts // size, 1)[codes[order]]
    label = np.empty(len(expected), dtype=np.int64)
    label[order] = codes[order] * (int(counts.max()) + 1) + place * runs // counts[codes[order]]
    return np.unique(label, return_inverse=True)[1].astype(np.int64)


def _paragraph(answer: Dependence) -> str:
    subject = "As it is" if answer.given == "nothing" else f"Among particles of the same {answer.given}"
    found = [WORDS[name] for name in answer.found]
    verdict = "; ".join(found) if found else "no dependence on the pose is found"
    lines = [f"{subject}: {verdict}."]
    for name in TESTS:
        effect = answer.effect[name]
        lines.append(
            f"  {name:<9} p = {answer.p_value[name]:.3f}, adjusted {answer.p_adjusted[name]:.3f}; "
            f"share of variance {max(effect.share, 0.0):7.2%} ({effect.low:.2%} to {effect.high:.2%})"
        )
    return "\n".join(lines)


def _plain(answer: Dependence) -> dict[str, Any]:
    tests = {
        name: {
            "p_value": answer.p_value[name],
            "p_adjusted": answer.p_adjusted[name],
            "share": round(answer.effect[name].share, 6),
            "share_low": round(answer.effect[name].low, 6),
            "share_high": round(answer.effect[name].high, 6),
            "found": name in answer.found,
        }
        for name in TESTS
    }
    return {"given": answer.given, "tests": tests}
