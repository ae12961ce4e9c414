"""The section on the loss: why it is distributed as it is, and whether it depends on the pose."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cryocore.errors import InputError
from cryocore.explore.loss import Analysis, LossColumns, analyse, read_columns
from cryocore.explore.loss.direction import Dependence, Direction
from cryocore.explore.loss.distribution import BOTH, IMAGING, UNCLEAR, VIEWS, Distribution
from cryocore.explore.loss.figures import blind_figure, direction_figure, distribution_figure, ridge_figure
from cryocore.hashing import hashed_order
from cryocore.report.section import Drawing, Section

MOST = 20_000
"""Particles that are analysed at most, chosen by their ids."""
PERMUTATIONS = 199
NAMED = "loss", "Loss", "Why is the loss distributed like this, and does it depend on the pose?"
FOUND = {
    "mean": "the mean changes with the view",
    "narrow": "some views, which may be narrow, differ",
    "in_plane": "the mean changes with the rotation in the image plane",
    "shape": "spread or shape change with the view",
}
"""Of the tests that find a dependence, in a few words."""
READING = (
    "Top left is the loss as it is; beside it the same at one view and projection energy: two peaks that remain are "
    "two kinds of particles. Below, what particles of one kind would show, and how much of the variance each source "
    "explains. Where the loss depends on the direction, a threshold on it prefers views; wrong poses make it so, too, "
    "since they fall into rare views more often than correct ones. In the last figure one panel shows the true losses, "
    "the other the same losses shuffled: whoever cannot tell them apart sees no dependence."
)


def loss_section(run_dir: Path, number: int, *, seed: int) -> Section:
    """The loss of one round, from its log alone."""
    try:
        columns = read_columns(run_dir, round_number=number)
        part = columns.take(hashed_order(columns.ids, seed=seed, stream=18)[:MOST])
        found = analyse(part, permutations=PERMUTATIONS, seed=seed)
    except InputError as error:
        return Section(*NAMED, f"Not answered: {error.problem}.")
    every = "" if len(part) == len(columns) else f" ({len(part):,} of {len(columns):,} particles)"
    pose = "" if found.direction is None else f" {_answer(found.direction)}"
    return Section(
        *NAMED,
        f"{_peaks(found.distribution, number)}{every}.{pose}",
        points=_points(found),
        drawings=_drawings(found, seed),
        reading=READING,
        details=found.text,
        warnings=_warnings(found),
    )


def _peaks(result: Distribution, number: int) -> str:
    if result.verdict == UNCLEAR and result.worse_share is not None:
        return (
            f"How many peaks {result.loss} has in round {number} is not clear, but among particles of the same view "
            f"and projection energy there are two kinds, {100 * result.worse_share:.0f} % of them of the worse"
        )
    if result.verdict == UNCLEAR:
        return f"It cannot be told why {result.loss} in round {number} has the peaks that it has"
    return f"In round {number}, {result.loss} has {result.verdict}"


def _answer(result: Direction) -> str:
    """One sentence on the strictest question."""
    last = result.questions[-1]
    beyond = "" if last.given == "nothing" else f" among particles of the same {last.given}"
    if last.found:
        return f"It depends on the pose{', also' * bool(beyond)}{beyond}."
    if result.questions[0].found:
        return f"It depends on the pose, but no dependence is found{beyond}."
    return "No dependence on the pose is found."


def _points(found: Analysis) -> tuple[str, ...]:
    questions = () if found.direction is None else found.direction.questions
    reasons = [f"{reason[0].upper()}{reason[1:]}." for reason in found.distribution.reasons]
    return (*reasons, *map(_sentence, questions))


def _sentence(question: Dependence) -> str:
    subject = "As it is" if question.given == "nothing" else f"Among particles of the same {question.given}"
    if not question.found:
        return f"{subject}, no dependence on the pose is found."
    largest = max(question.effect[name].share for name in question.found)
    found = "; ".join(FOUND[name] for name in question.found)
    return f"{subject}, it depends on the pose: {found} (at most {100 * max(largest, 0.0):.1f} % of the variance)."


def _drawings(found: Analysis, seed: int) -> tuple[Drawing, ...]:
    columns: LossColumns = found.columns
    drawings = [Drawing("loss", distribution_figure(columns, found.distribution), "The loss, and what makes it")]
    along = columns.views if columns.expected is None else columns.expected
    if along is not None and np.ptp(along) > 0:
        alt = "The loss within narrow ranges of projection energy"
        drawings.append(Drawing("loss_ranges", ridge_figure(columns), alt, is_half=True))
    if found.direction is not None:
        alt = "Mean loss by viewing direction, and the tests of its dependence on the pose"
        drawings.append(Drawing("loss_direction", direction_figure(columns, found.direction), alt))
        blind = blind_figure(columns, seed=seed)
        reveal = (
            f"The true losses are in panel {blind.answer}; guessing finds them in {100 * blind.chance:.0f} % of cases."
        )
        drawings.append(Drawing("loss_blind", blind.figure, "Viewing directions by true or shuffled loss", reveal))
    return tuple(drawings)


def _warnings(found: Analysis) -> tuple[str, ...]:
    verdict, name = found.distribution.verdict, found.columns.name
    if verdict in (VIEWS, IMAGING):
        return (f"The two peaks of {name} come from geometry, not from incorrect particles: do not cut between them.",)
    if verdict == BOTH:
        return (f"The peaks of {name} come from incorrect particles and from geometry: a cut selects by both.",)
    return ()
