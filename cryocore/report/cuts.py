"""The section on other selections: what would be kept, and what would follow, if a score were cut elsewhere."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cryocore.errors import InputError
from cryocore.explore.replay.cuts import Cuts, all_cuts
from cryocore.explore.replay.known import Known, SameViews, read_known
from cryocore.explore.replay.outcome import Outcome
from cryocore.explore.replay.replay import outcome_of
from cryocore.explore.replay.request import Request, own_selection, plan
from cryocore.log.rounds import LogRound, find_rounds, wanted_round
from cryocore.report.section import Section
from cryocore.report.slider import heaps, slider

NAMED = "cuts", "Cuts", "What if the cut were elsewhere?"
NOTICEABLE = 0.001
"""Change of the FSC area below which two selections are as good."""
SOURCES = {"flags": "the truth", "posterior": "the probabilities of being correct"}
READING = (
    "The best particles of each half set are kept, to the right ever more. The numbers are those that the command "
    "gives, beside those of the run's own selection by the same scores. The prediction counts correct particles as "
    "signal and all as noise: read differences, and take values as upper bounds. In the histogram, what one half set "
    "alone keeps is paler. Views are drawn from all equivalent sides, z at the top: of blue cells more is kept than "
    "of all particles, of orange ones less; grey ones hold too few to say. Wrong poses make rare views lose more, and "
    "rightly so. With --star the command writes the kept particles, too."
)


def cuts_section(run_dir: Path, number: int) -> Section:
    """By the scores of one round, from its log and the FSC of its half maps."""
    try:
        log_round = wanted_round(find_rounds(run_dir), str(number))
        known = read_known(log_round, None, SameViews())
        found = list(all_cuts(log_round, known))
    except InputError as error:
        return Section(*NAMED, f"Not answered: {error.problem}.")
    if not found:
        return Section(*NAMED, f"The log of round {number} has no score to cut.")
    own = _own(log_round, known)
    whose = "The run's own" if own_selection(log_round).values else "The default"
    scores = {name: heaps(name, log_round.values(name), known) for name in dict.fromkeys(c.score for c in found)}
    return Section(
        *NAMED,
        _answer(found, own, known, whose, number),
        reading=READING,
        slider=slider(log_round, known, found, own, whose=whose, scores=scores, command=_command(run_dir, log_round)),
    )


def _own(log_round: LogRound, known: Known) -> Outcome | None:
    """The run's own selection, or the default one where it made none; None where the log does not allow it."""
    try:
        return outcome_of(log_round, known, plan(Request(), log_round))
    except InputError:
        return None


def _command(run_dir: Path, log_round: LogRound) -> str:
    """Replays a selection; to be completed by rule, value and score."""
    command = f"cryocore replay {shlex.quote(str(run_dir))} --round {log_round.number}"
    is_normalised = own_selection(log_round).values.get("normalise", "none") != "none"
    return f"{command} --normalise none" if is_normalised else command


def _answer(found: Sequence[Cuts], own: Outcome | None, known: Known, whose: str, number: int) -> str:
    """The best cut by the prediction, beside the selection that is ``whose``."""
    if known.correct_from not in SOURCES:
        return "Nothing is known of which particles are correct: what is kept is told, but not which cut is best."
    told = [(p.fsc_area_change, cuts, i) for cuts in found for i, p in enumerate(cuts.predictions)]
    areas = [(area, cuts, i) for area, cuts, i in told if area is not None and np.isfinite(area)]
    if not areas:
        return "The FSC of the round is not at hand: what is kept is told, but not the resolution."
    area, cuts, i = max(areas, key=lambda candidate: candidate[0])
    best = f"{cuts.rule} {cuts.value[i]} of {cuts.score}"
    by = f"(round {number}, by {SOURCES[known.correct_from]})"
    if own is None or own.prediction is None or own.prediction.fsc_area_change is None:
        return f"The best cut is predicted to be {best} {by}."
    named = f"{whose[0].lower()}{whose[1:]} selection, {own.plan}"
    gain = area - own.prediction.fsc_area_change
    if gain < NOTICEABLE:
        return f"No cut is predicted to make a better map than {named} {by}."
    better = f"{best[0].upper()}{best[1:]} is predicted to make a better map than {named}"
    return f"{better}: its FSC area is larger by {gain:.4f} {by}."
