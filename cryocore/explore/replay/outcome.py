"""What a replayed selection comes to, as numbers and as text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.explore.replay.groups import Ranking
from cryocore.explore.replay.request import Plan
from cryocore.explore.replay.resolution import Prediction
from cryocore.explore.replay.views import ViewShift
from cryocore.log.quality import LEVELS, Quality
from cryocore.markdown import aligned_text
from cryocore.select.choose import Selection

LISTED = 5
"""Groups named in a text."""


@dataclass(frozen=True)
class Overlap:
    """The kept particles beside those that the run kept next: Jaccard index, and how many are in one of them only."""

    jaccard: float
    both: int
    only_replay: int
    only_run: int


@dataclass(frozen=True)
class Rates:
    """Against the flags: correct rate of the kept and of all, share of the correct that is kept, AUC of the score."""

    n_flagged: int
    correct_rate: float | None
    correct_rate_all: float | None
    recall: float | None
    auc: float | None


@dataclass(frozen=True)
class Outcome:
    """A selection of one round's particles, and what follows from it; None where the log cannot tell.

    ``ids``, ``half``, ``score``, ``flags`` : (n,), of all particles; flags are 1 correct, 0 incorrect, -1 unknown
    ``worst_kept`` : of each half set, the worst score that is kept
    ``correct_from`` : what the prediction takes for correct: flags, posterior, or all where nothing is known
    ``dropped`` : groups by the share that is dropped, the worst first
    ``estimate`` : the envelopes by the round's log, once they are asked for
    """

    round: int
    plan: Plan
    selection: Selection
    ids: NDArray[np.uint64]
    half: NDArray[np.int8]
    score: NDArray[np.float32]
    flags: NDArray[np.int8]
    worst_kept: tuple[float, float]
    rates: Rates | None
    overlap: Overlap | None
    views: ViewShift | None
    correct_from: str
    prediction: Prediction | None
    dropped: dict[str, Ranking]
    estimate: Callable[[], Quality | None]

    @property
    def quality(self) -> Quality | None:
        """The envelopes that the particles count by; None where they do not differ, or are to have none."""
        return None if self.plan.settings.quality == "none" else self.estimate()

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Whether each particle is selected, ``(n,)``."""
        return self.selection.selected

    def as_dict(self) -> dict[str, Any]:
        """Everything but the arrays of particles, for JSON; groups that lose significantly more, and the first five."""
        rate = self.selection.error_rate
        groups = {
            kind: {
                "overall": r.overall,
                "n_groups": len(r),
                "n_worse": int(r.worse.sum()),
                "worst": r.rows(max(LISTED, int(r.worse.sum()))),
            }
            for kind, r in self.dropped.items()
        }
        values: dict[str, Any] = {
            "round": self.round,
            "selection": {
                "for_round": self.plan.selection,
                "rule": self.plan.settings.rule,
                "value": self.plan.value,
                "score": self.plan.score,
                "normalise": self.plan.settings.normalise,
                "quality": self.plan.settings.quality,
                "limit": self.plan.limit and asdict(self.plan.limit),
                "seed": self.plan.seed,
            },
            "n_particles": len(self.ids),
            "n_kept": int(self.kept.sum()),
            **{f"n_kept_half{h}": int((self.kept & (self.half == h)).sum()) for h in (1, 2)},
            "error_rate": None if rate is None else rate.value,
            "worst_kept": dict(zip(("half1", "half2"), self.worst_kept, strict=True)),
            "rates": self.rates and asdict(self.rates),
            "overlap": self.overlap and asdict(self.overlap),
            "views": self.views and asdict(self.views),
            "prediction": self.prediction and {"correct_from": self.correct_from, **asdict(self.prediction)},
            "dropped": groups,
        }
        if self.plan.tells_quality:
            found = self.estimate()
            values["quality"] = found and found.as_dict()
        plain: dict[str, Any] = _plain(values)
        return plain


def outcome_text(outcome: Outcome) -> str:
    """One outcome, a line per answer."""
    n, kept = len(outcome.ids), int(outcome.kept.sum())
    halves = " and ".join(f"{(outcome.kept & (outcome.half == h)).sum():,}" for h in (1, 2))
    lines = {"kept": f"{kept:,} of {n:,} particles ({100 * kept / n:.1f} %); half sets {halves}"}
    worst = [f"{v:.4g}" for v in outcome.worst_kept]
    lines["worst kept"] = f"{outcome.plan.score} {worst[0]} and {worst[1]}"
    if rate := outcome.selection.error_rate:
        lines["error rate"] = f"{100 * rate.value:.1f} % of all particles are estimated to be incorrect"
    if r := outcome.rates:
        lines["correct rate"] = (
            f"{_number(r.correct_rate)} (all particles {_number(r.correct_rate_all)}); "
            f"recall {_number(r.recall)}; AUC {_number(r.auc)}"
        )
    if o := outcome.overlap:
        lines["beside the run"] = (
            f"Jaccard {o.jaccard:.4f}: {o.both:,} in both, {o.only_replay:,} only here, {o.only_run:,} only in the run"
        )
    if outcome.plan.tells_quality:
        lines["quality"] = _quality_text(outcome.estimate(), outcome.plan.settings.quality == "auto")
    if v := outcome.views:
        lines["views"] = (
            f"moved by {v.total_variation:.4f} of 1 ({v.n_bins} bins); chance alone {v.by_chance:.4f}, in 95 % of "
            f"cases below {v.by_chance_95:.4f}"
        )
        if v.beside_correct is not None:
            lines["beside correct ones"] = f"views differ by {v.beside_correct:.4f}"
        if np.isfinite(v.least_kept):
            x, y, z = v.least_kept_view
            lines["least kept view"] = f"{100 * v.least_kept:.0f} % of ({x:.2f}, {y:.2f}, {z:.2f})"
    if p := outcome.prediction:
        source = {"flags": "flags", "posterior": "probabilities", "all": "all taken as correct"}[outcome.correct_from]
        lines["map"] = (
            f"as good as {p.effective_correct:,.0f} correct particles ({source}); that of round {outcome.round} "
            f"{p.effective_correct_before:,.0f}"
        )
        if p.resolution_angstrom is not None and p.fsc_area_change is not None:
            lines["resolution"] = (
                f"{p.resolution_before_angstrom:.2f} Å in round {outcome.round}, {p.resolution_angstrom:.2f} Å "
                f"predicted; FSC area {p.fsc_area_change:+.4f}"
            )
    head = f"Round {outcome.plan.selection} by the scores of round {outcome.round}: {outcome.plan}"
    text = "\n".join([head, *(f"  {name:<20}{value}" for name, value in lines.items())])
    return "\n".join([text, *(_losers(kind, r) for kind, r in outcome.dropped.items() if len(r) > 1)])


def _quality_text(found: Quality | None, is_used: bool) -> str:
    """How far particles differ, and whether they count by it."""
    if found is None:
        return "no difference between particles is found"
    levels = {level.replace("_", " "): getattr(found.spreads, level) for level in LEVELS}
    spread = ", ".join(f"{level} {sd:.0f}" for level, sd in levels.items() if sd > 0)
    told = [f"of B in Å²: {spread}"] if spread else []
    told += [f"of the scale: {found.spreads.micrograph_scale:.2f}"] if found.spreads.micrograph_scale else []
    return f"standard deviation {', '.join(told)}; {'in the CTFs' if is_used else 'left out'}"


def outcomes_table(outcomes: Sequence[Outcome]) -> str:
    """Several outcomes, a line each."""
    rows = [
        ("round", "selection", "kept", "correct", "AUC", "Jaccard", "views", "chance", "correct", "Å", "predicted Å")
    ]
    for o in outcomes:
        numbers = (
            _digits(o.rates, "correct_rate"),
            _digits(o.rates, "auc"),
            _digits(o.overlap, "jaccard"),
            _digits(o.views, "total_variation"),
            _digits(o.views, "by_chance_95"),
            _digits(o.prediction, "effective_correct", 0),
            _digits(o.prediction, "resolution_before_angstrom", 2),
            _digits(o.prediction, "resolution_angstrom", 2),
        )
        rows.append((str(o.plan.selection), str(o.plan), str(int(o.kept.sum())), *numbers))
    return aligned_text(rows, left=(1,))


def ranking_text(kind: str, ranking: Ranking, rows: int, what: str = "incorrect") -> str:
    """The first groups of a ranking, with what all of them come to."""
    shown = [(kind, "particles", what, "drawn to mean", "95 % interval", "q", "")]
    for i in range(min(rows, len(ranking))):
        shown.append(
            (
                ranking.name[i],
                str(ranking.n[i]),
                f"{ranking.share[i]:.3f}",
                f"{ranking.shrunk[i]:.3f}",
                f"{ranking.low[i]:.3f} to {ranking.high[i]:.3f}",
                f"{ranking.q_value[i]:.2g}",
                "worse" if ranking.worse[i] else "",
            )
        )
    head = f"{ranking.worse.sum()} of {len(ranking)} worse than chance; {ranking.overall:.3f} {what} overall"
    return f"{head}\n{aligned_text(shown, left=(0, 6))}"


def _losers(kind: str, ranking: Ranking) -> str:
    name = kind.replace("_", " ")
    text = ranking_text(name, ranking, LISTED, "dropped")
    return "\n".join(f"  {line}".rstrip() for line in text.splitlines())


def _digits(part: Any, name: str, digits: int = 3) -> str:
    """A value of a part of an outcome that may be missing."""
    return _number(getattr(part, name, None), digits)


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _plain(value: Any) -> Any:
    """Values that JSON holds; None for what is no number."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float | np.floating):
        return round(float(value), 6) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
