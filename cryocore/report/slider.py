"""The selections that the page's slider moves through, and what it draws of them: numbers in, JSON out."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.config.rules import RULES
from cryocore.explore.replay.cuts import Cuts
from cryocore.explore.replay.known import Known
from cryocore.explore.replay.outcome import Outcome
from cryocore.figures.views import FEWEST_IN_CELL, mollweide
from cryocore.geometry.sphere import bin_outlines, spread_over
from cryocore.geometry.symmetry import point_group
from cryocore.log.names import lower_is_better
from cryocore.log.rounds import LogRound
from cryocore.maps.curves import FscCurves
from cryocore.maps.fsc import RESOLUTION_FSC
from cryocore.report.chart import (
    BOTTOM,
    FSC_RANGE,
    LEFT,
    RIGHT,
    TOP,
    Frame,
    Tick,
    across,
    linear_axis,
    resolution_axis,
)
from cryocore.select.groups import view_nside
from cryocore.types import Floats

BINS = 60
"""Of a histogram."""
SHELLS = 48
"""Of a predicted curve at most."""
COARSEST = 2
"""Fineness of the cells that views are shown in, 48 of equal area."""
UNKNOWN = 255
"""In place of the kept share of a cell with too few particles."""
FULL = 250
"""In place of a share of 1, or of an FSC of 1."""
NUMBERS = (
    *("kept1", "kept2", "worst1", "worst2", "correct_rate", "recall", "expected_correct"),
    *("effective_correct", "resolution", "fsc_area", "views_moved", "least_kept", "losing"),
)
"""What the page tells of a selection, in the order in which it is stored."""


@dataclass(frozen=True)
class Axes(Frame):
    """The frame of a drawing, as ``Panel`` and ``Chart`` have it in one."""

    title: str
    x_label: str
    label: str
    x_ticks: tuple[Tick, ...] = ()
    y_ticks: tuple[Tick, ...] = ()
    threshold: Tick | None = None


@dataclass(frozen=True)
class Slider:
    """What a page shows of selections.

    ``round`` : the one whose scores decide
    ``own``, ``whose`` : the selection that the others stand beside in words, "" where there is none; and whose it is
    ``rows`` : what is told of a selection: its name in the page's script, and a head
    ``histogram``, ``fsc``, ``micrographs`` : frames of drawings; None where the log knows nothing to draw
    ``before`` : the present curve, as points of a polyline
    ``cells`` : outlines of the cells of views, as paths
    ``data`` : for the page's script
    """

    round: int
    own: str
    whose: str
    rows: tuple[tuple[str, str], ...]
    histogram: Axes
    fsc: Axes | None
    before: str
    cells: tuple[str, ...]
    micrographs: Axes | None
    data: dict[str, Any]


def slider(
    log_round: LogRound,
    known: Known,
    found: Sequence[Cuts],
    own: Outcome | None,
    *,
    whose: str,
    scores: dict[str, Any],
    command: str,
) -> Slider:
    """Of selections of a round.

    Parameters
    ----------
    known : what the log knows of the round
    found : the selections; one at least
    own, whose : the one that the others stand beside, and whose it is
    scores : what :func:`heaps` says of each score
    command : that replays the round, to which rule, value and score are added
    """
    shells = _shells(log_round.curves)
    cells = None if known.views is None else _cells(known, log_round.symmetry)
    stored = [_stored(cuts, shells, cells) for cuts in found]
    told = None if own is None else _own_numbers(own, log_round)
    curves, fsc, before, places = log_round.curves, None, "", np.zeros(0)
    if curves is not None and found[0].fsc is not None:
        resolution = curves.resolution_angstrom
        level = Tick(float(_down(np.array(RESOLUTION_FSC))), f"{RESOLUTION_FSC:g}")
        ticks = resolution_axis(resolution[1:]), linear_axis(*FSC_RANGE, BOTTOM, TOP)
        fsc = Axes("FSC, predicted", "resolution (Å)", "FSC", *ticks, level)
        places = across(resolution[shells], resolution[-1])
        before = _points(places, _down(curves.corrected[shells]))
    of_micrographs = None
    if found[0].micrographs is not None:
        ticks = linear_axis(0.0, 100.0, LEFT, RIGHT), linear_axis(0.0, 100.0, BOTTOM, TOP)
        of_micrographs = Axes("Micrographs", "share that is kept (%)", "% of micrographs", *ticks)
    return Slider(
        round=log_round.number,
        own="" if own is None else str(own.plan),
        whose=whose,
        rows=_rows(found, log_round.number),
        histogram=Axes("Scores", "score", "particles"),
        fsc=fsc,
        before=before,
        cells=() if cells is None else tuple(_path(polygons) for polygons in bin_outlines(cells.nside)),
        micrographs=of_micrographs,
        data={
            "command": command,
            "sizes": [int(np.count_nonzero(known.half == h)) for h in (1, 2)],
            "numbers": NUMBERS,
            "frame": {"left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM},
            "across": places.tolist(),
            "fsc_range": FSC_RANGE,
            "full": FULL,
            "unknown": UNKNOWN,
            "own": told,
            "start": {"rule": found[0].rule, "score": found[0].score if own is None else own.plan.score},
            "scores": scores,
            "rules": {name: _rule(name) for name in dict.fromkeys(cuts.rule for cuts in found)},
            "cuts": stored,
        },
    )


def heaps(name: str, score: NDArray[np.float32], known: Known) -> dict[str, Any]:
    """Histogram of a score ``(n,)`` over both half sets, by flag, and the axes to draw it on."""
    finite = np.isfinite(score)
    values, flags = score[finite].astype(np.float64), known.flags[finite]
    low, high = np.quantile(values, (0.002, 0.998))
    high = high if high > low else low + 1.0
    step = np.clip(((values - low) / (high - low) * BINS).astype(np.int64), 0, BINS - 1)
    counted = np.bincount(3 * step + flags + 1, minlength=3 * BINS).reshape(BINS, 3)
    top = max(int(counted.sum(axis=1).max()), 1)
    return {
        "low": float(low),
        "high": float(high),
        "top": top,
        "lower_is_better": lower_is_better(name),
        "heaps": {word: counted[:, i].tolist() for word, i in (("correct", 2), ("incorrect", 1), ("unknown", 0))},
        "x_ticks": _plain(linear_axis(float(low), float(high), LEFT, RIGHT)),
        "y_ticks": _plain(linear_axis(0.0, float(top), BOTTOM, TOP, steps=4)),
    }


def _rule(name: str) -> dict[str, Any]:
    """What the page says of a rule."""
    rule = RULES[name]
    letter = "s: the score" if rule.score is None else "p: the probability of being correct"
    return {"keeps": f"{rule.keeps.replace('`', '')}; {letter}", "has_own_score": rule.score is not None}


def _plain(ticks: Sequence[Tick]) -> list[tuple[float, str]]:
    return [(tick.at, tick.text) for tick in ticks]


def _rows(found: Sequence[Cuts], number: int) -> tuple[tuple[str, str], ...]:
    """Those of all rows that the log can tell of."""
    rows = {
        "kept": "Particles kept",
        "halves": "Half sets",
        "worst": "Worst kept, half sets",
        "expected_correct": "Correct among them, by probability",
        "correct_rate": "Correct rate",
        "recall": "Recall",
        "effective_correct": "Correct ones that make as good a map",
        "resolution": "Resolution, predicted",
        "fsc_area": f"FSC area, change to round {number}",
        "views_moved": "Views moved, of 1",
        "least_kept": "Kept of the view that loses most",
        "losing": "Micrographs that lose more than half",
    }
    unknown = {name for name in NUMBERS if all(np.isnan(_column(cuts, name)).all() for cuts in found)}
    return tuple((name, head) for name, head in rows.items() if name not in unknown)


def _column(cuts: Cuts, name: str) -> Floats:
    """One of the ``NUMBERS`` ``(places,)``; NaN where it is not known."""
    of_prediction = {
        "effective_correct": "effective_correct",
        "resolution": "resolution_angstrom",
        "fsc_area": "fsc_area_change",
    }
    if name in of_prediction:
        values = [getattr(p, of_prediction[name]) for p in cuts.predictions] or [None] * len(cuts.value)
        return np.array([np.nan if v is None else v for v in values], dtype=np.float64)
    if name[-1] in "12":
        table = cuts.kept if name.startswith("kept") else cuts.worst_kept
        return np.asarray(table[:, int(name[-1]) - 1], dtype=np.float64)
    return np.asarray(getattr(cuts, name))


def _own_numbers(own: Outcome, log_round: LogRound) -> dict[str, float | None]:
    """The ``NUMBERS`` of the run's own selection."""
    likely, dropped = log_round.posterior(), own.dropped.get("micrograph")
    found = {
        **{f"kept{h}": float((own.kept & (own.half == h)).sum()) for h in (1, 2)},
        **{f"worst{h}": own.worst_kept[h - 1] for h in (1, 2)},
        "correct_rate": own.rates.correct_rate if own.rates else None,
        "recall": own.rates.recall if own.rates else None,
        "expected_correct": None if likely is None else float(likely[own.kept].sum(dtype=np.float64)),
        "effective_correct": own.prediction.effective_correct if own.prediction else None,
        "resolution": own.prediction.resolution_angstrom if own.prediction else None,
        "fsc_area": own.prediction.fsc_area_change if own.prediction else None,
        "views_moved": own.views.total_variation if own.views else None,
        "least_kept": own.views.least_kept if own.views else None,
        "losing": None if dropped is None else float(np.count_nonzero(dropped.share > 0.5)),
    }
    return {name: None if value is None or not np.isfinite(value) else value for name, value in found.items()}


def _stored(cuts: Cuts, shells: NDArray[np.intp], cells: _Cells | None) -> dict[str, Any]:
    """Arrays as text: the ``NUMBERS`` one after the other, and shares of places one after the other."""
    numbers = np.stack([_column(cuts, name) for name in NUMBERS])
    stored = {"rule": cuts.rule, "score": cuts.score, "values": cuts.value, "numbers": _text(numbers.astype("<f4"))}
    if cuts.fsc is not None:
        stored["fsc"] = _text(_bytes(cuts.fsc[:, shells]))
    if cuts.by_bin is not None and cells is not None:
        shares = _bytes(cells.of(cuts.by_bin))
        stored["views"] = _text(np.where(cells.size >= FEWEST_IN_CELL, shares, np.uint8(UNKNOWN)))
    if cuts.micrographs is not None:
        stored["micrographs"] = _text(_bytes(cuts.micrographs / cuts.micrographs.sum(axis=1, keepdims=True)))
    return stored


def _bytes(shares: Floats) -> NDArray[np.uint8]:
    return np.round(FULL * np.clip(np.nan_to_num(shares), 0.0, 1.0)).astype(np.uint8)


def _text(values: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")


@dataclass(frozen=True)
class _Cells:
    """Cells of the whole sphere, coarse.

    ``nside`` : their fineness
    ``members`` : ``(bins, cells)``, particles of each bin of views that look from a cell, from all equivalent sides
    ``size`` : ``(cells,)``, particles in each
    """

    nside: int
    members: Floats
    size: Floats

    def of(self, by_bin: Floats) -> Floats:
        """Shares ``(places, bins)`` of bins as shares of the cells ``(places, cells)``."""
        return np.asarray(by_bin @ self.members / np.maximum(self.size, 1e-9))


def _cells(known: Known, symmetry: str) -> _Cells | None:
    if known.views is None:
        return None
    group, views = point_group(symmetry), known.views
    nside = min(COARSEST, view_nside(len(known.ids), group))
    everyone = np.bincount(views.bin_index, minlength=len(views.centre))
    members = everyone[:, None] * spread_over(views.centre, nside, group)
    return _Cells(nside, members, members.sum(axis=0))


def _shells(curves: FscCurves | None) -> NDArray[np.intp]:
    """Those that are drawn, evenly spread from 1 to the last."""
    last = 1 if curves is None else len(curves.corrected) - 1
    return np.unique(np.linspace(1, last, min(SHELLS, last)).round().astype(np.intp))


def _down(values: Floats) -> Floats:
    low, high = FSC_RANGE
    return np.asarray(np.round(BOTTOM - (BOTTOM - TOP) * (np.clip(values, low, high) - low) / (high - low), 1))


def _points(x: Floats, y: Floats) -> str:
    return " ".join(f"{a:g},{b:g}" for a, b in zip(x, y, strict=True))


def _path(polygons: Sequence[tuple[Floats, Floats]]) -> str:
    """Polygons of longitudes and latitudes (radians) as an SVG path, 400 wide and 200 high."""
    drawn = []
    for longitude, latitude in polygons:
        x, y = mollweide(longitude, latitude)
        points = zip((100 * x + 200).round(1).tolist(), (100 - 100 * y).round(1).tolist(), strict=True)
        drawn.append("M" + "L".join(f"{a:g} {b:g}" for a, b in points) + "Z")
    return "".join(drawn)
