"""The answers to a referee's questions, each a sentence from its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from cryocore.explore.audit.ruler import Measured

Verdict = Literal["passed", "failed", "undecided", "not answered"]

QUESTIONS = {
    "size": "Would any subset of that size do?",
    "local": "Does the map gain in its parts?",
    "noise": "Does the selection fit noise?",
    "views": "Is it more than a choice of {within}?",
    "stability": "Is the list stable?",
    "held_out": "Do images that it has not seen agree?",
}
"""In the order in which they are answered."""
SURE = 3.0
"""Standard deviations from which on a difference is called one."""
NEGLIGIBLE_AREA, NEGLIGIBLE_CORRELATION = 0.001, 0.002
"""Differences of the FSC area, and correlations beyond the cut, that matter to nobody, however certain they are."""
STABLE, UNSTABLE = 0.9, 0.75
"""Mean Jaccard index from which on a list is called stable, and below which it is not."""


@dataclass(frozen=True)
class Answer:
    """``name`` : key of ``QUESTIONS``; ``sentence`` : the verdict in words; ``values`` : what it rests on."""

    name: str
    question: str
    verdict: Verdict
    sentence: str
    values: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"values": dict(self.values)}


@dataclass(frozen=True)
class Beside:
    """A list's FSC area beside those of others.

    ``deviations`` : how many of their standard deviations it lies above their mean
    """

    area: float
    low: float
    mean: float
    high: float
    deviations: float
    n_above: int
    n: int

    @classmethod
    def of(cls, listed: Measured, others: Sequence[Measured]) -> Beside:
        """``others`` are two or more."""
        areas = np.array([m.area for m in others])
        spread = max(float(areas.std(ddof=1)) * np.sqrt(1.0 + 1.0 / len(areas)), 1e-9)
        above = int(np.count_nonzero(areas < listed.area))
        ends = float(areas.min()), float(areas.mean()), float(areas.max())
        return cls(listed.area, *ends, (listed.area - ends[1]) / spread, above, len(areas))

    @property
    def verdict(self) -> Verdict:
        """Whether the list is better than the others."""
        gain = self.area - self.mean
        if gain > NEGLIGIBLE_AREA and self.deviations > SURE and self.n_above == self.n:
            return "passed"
        if -gain > NEGLIGIBLE_AREA and self.deviations < -SURE and self.n_above == 0:
            return "failed"
        return "undecided"


def not_answered(name: str, reason: str, **words: str) -> Answer:
    """The answer where there is none."""
    return Answer(name, QUESTIONS[name].format(**words), "not answered", f"Not answered: {reason.rstrip('.')}.", {})


def size_answer(listed: Measured, others: Sequence[Measured]) -> Answer:
    """The list beside random ones of the same size."""
    found, numbers = Beside.of(listed, others), _numbers(listed, others)
    what = f"{len(others)} random lists of as many particles"
    sentence = {
        "passed": f"No: none of {what} reaches its FSC area: {numbers}.",
        "failed": f"Any would do better: each of {what} has a larger FSC area: {numbers}.",
        "undecided": f"It may: its FSC area is not surely larger than those of {what}: {numbers}.",
    }[found.verdict]
    return _beside("size", QUESTIONS["size"], found, sentence, listed, others)


def views_answer(listed: Measured, others: Sequence[Measured], within: str, shared: float) -> Answer:
    """The list beside those dealt out anew within groups; ``shared`` is the share of its particles that they have."""
    found, numbers = Beside.of(listed, others), _numbers(listed, others)
    what = f"{len(others)} lists with as many particles of each bin of {within}"
    lower = f", of which {100 * shared:.0f} % are those of the list"
    sentence = {
        "passed": f"Yes: none of {what} reaches its FSC area: {numbers}.",
        "failed": f"No: each of {what} has a larger FSC area: {numbers}.",
        "undecided": f"Not shown: its FSC area is not surely larger than those of {what}{lower}: {numbers}.",
    }[found.verdict]
    return _beside("views", QUESTIONS["views"].format(within=within), found, sentence, listed, others, shared=shared)


def local_answer(everything: Measured, listed: Measured, others: Sequence[Measured], window_angstrom: float) -> Answer:
    """Local resolution with the list beside that with all particles, and with random lists as the measure of chance."""
    means = np.array([m.local_areas.mean() for m in others])
    sd = max(float(means.std(ddof=1)) * np.sqrt(2.0), 1e-9)
    gain = float(listed.local_areas.mean() - everything.local_areas.mean())
    by_window = np.sqrt(2.0 * np.stack([m.local_areas for m in others]).var(axis=0, ddof=1).mean())
    change = listed.local_areas - everything.local_areas
    better, worse = (float(np.mean(sign * change > 2.0 * by_window)) for sign in (1.0, -1.0))
    medians = [float(np.median(m.local_resolutions_angstrom)) for m in (everything, listed, *others)]
    verdict: Verdict = "undecided"
    sure = abs(gain) > max(NEGLIGIBLE_AREA, SURE * sd)
    word = "It neither gains nor loses"
    if sure and gain > 0:
        verdict, word = "passed", "Yes"
    elif sure:
        best_of_its_size = listed.local_areas.mean() > means.max() + sd
        verdict, word = ("undecided", "It loses by being short") if best_of_its_size else ("failed", "No, it loses")
    windows = f"in {len(change)} windows of {window_angstrom:.0f} Å the median local resolution is"
    beside = f"with random lists of its size {min(medians[2:]):.2f} to {max(medians[2:]):.2f} Å"
    sentence = (
        f"{word}: {windows} {medians[1]:.2f} Å with the list, {medians[0]:.2f} Å with all particles, {beside}; "
        f"{100 * better:.0f} % of the windows gain beyond chance, {100 * worse:.0f} % lose."
    )
    values = {
        "gain": round(gain, 6),
        "sd": round(sd, 6),
        "share_better": round(better, 4),
        "share_worse": round(worse, 4),
        "all": everything.as_dict(),
        "list": listed.as_dict(),
        "others": [m.as_dict() for m in others],
    }
    return Answer("local", QUESTIONS["local"], verdict, sentence, values)


def _beside(
    name: str, question: str, found: Beside, sentence: str, listed: Measured, others: Sequence[Measured], **more: Any
) -> Answer:
    values = {k: round(v, 6) if isinstance(v, float) else v for k, v in asdict(found).items()} | more
    maps = {"list": listed.as_dict(), "others": [m.as_dict() for m in others]}
    return Answer(name, question, found.verdict, sentence, values | maps)


def _numbers(listed: Measured, others: Sequence[Measured]) -> str:
    areas = [m.area for m in others]
    resolutions = [m.resolution_angstrom for m in others]
    return (
        f"{listed.area:.4f} beside {min(areas):.4f} to {max(areas):.4f} ({listed.resolution_angstrom:.2f} Å beside "
        f"{min(resolutions):.2f} to {max(resolutions):.2f} Å)"
    )


def noise_answer(values: Mapping[str, Any], cut_angstrom: float) -> Answer:
    """Whether the half maps of what is selected agree where there is only noise."""
    one, others = values["selected"], [r["correlation"] for r in values["random"]]
    value, sd = one["correlation"], one["sd"]
    correlation = f"{value:+.4f} ± {sd:.4f}"
    beside = f"random lists {min(others):+.4f} to {max(others):+.4f}"
    where = f"beyond {cut_angstrom:.1f} Å, where images have no phases,"
    if abs(value) > max(SURE * sd, NEGLIGIBLE_CORRELATION):
        sentence = f"Yes: {where} the half maps of what is selected correlate by {correlation} ({beside})."
        return Answer("noise", QUESTIONS["noise"], "failed", sentence, values)
    sentence = f"No: {where} the half maps of what is selected correlate by {correlation}, as by chance ({beside})."
    return Answer("noise", QUESTIONS["noise"], "passed", sentence, values)


def stability_answer(values: Mapping[str, Any]) -> Answer:
    """How much of the list is chosen again."""
    found, before = values["jaccard"], values["before"]
    mean = float(np.mean(found))
    again = "" if before is None else f"; the list of the round before shares {before:.3f} with it"
    numbers = (
        f"{min(found):.3f} to {max(found):.3f} in {len(found)} halves (by chance {values['by_chance']:.3f}){again}"
    )
    verdict: Verdict = "passed" if mean >= STABLE else "failed" if mean < UNSTABLE else "undecided"
    word = {"passed": "Yes", "failed": "No", "undecided": "In part"}[verdict]
    sentence = f"{word}: chosen again from half of the particles, the lists have a Jaccard index of {numbers}."
    return Answer("stability", QUESTIONS["stability"], verdict, sentence, values)


def held_out_answer(values: Mapping[str, Any]) -> Answer:
    """Whether images of the other half set are likelier under the list's map."""
    gain, sd = values["gain"], values["sd"]
    numbers = f"{gain:+.3f} ± {sd:.3f} in the log-likelihood of each of {values['n']:,} images of the other half set"
    verdict: Verdict = "passed" if gain > SURE * sd else "failed" if gain < -SURE * sd else "undecided"
    sentence = {
        "passed": f"Yes: the list's map explains them better than that of a random list: {numbers}.",
        "failed": f"No: the map of a random list explains them better: {numbers}.",
        "undecided": f"Not shown: the list's map explains them about as well as that of a random list: {numbers}.",
    }[verdict]
    return Answer("held_out", QUESTIONS["held_out"], verdict, sentence, values)
