"""Which point groups the particles support at their own poses, whatever group a run was given.

The half maps are made without symmetry. Of two groups H < K, the part of a map that has H's symmetry consists of a part
that has K's and the rest. Under K the rest is noise, independent in the two halves, however the views are distributed
and however many poses are wrong; what both halves have in common in it speaks against K.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cryocore.backend import Backend
from cryocore.examine.groups import chain, contains, maximal, name_of, next_larger, order, subgroups
from cryocore.examine.half_maps import HalfMaps, radius_of
from cryocore.examine.split import Split, split_by
from cryocore.hashing import hashed_order
from cryocore.maps.mrc import read_map
from cryocore.tables.particles import Particles

Verdict = Literal["supported", "contradicted", "undecided"]

MOST_PARTICLES = 5000
"""Particles that the maps are made of, at most."""
DRAWN = 8
"""Particles looked at, over those taken: some are copies of an image, or from a micrograph of the other half set."""
ENOUGH = 1500
"""Particles of a half set that suffice."""
CERTAIN = 4.0
"""Standard errors that what speaks against a group has to exceed, and what could tell at all."""
MARGIN = 2.5
"""Standard errors by which a ratio has to lie beyond the limits."""
MOST_SUPPORTED, LEAST_CONTRADICTED = 0.5, 0.3
"""A ratio below the one supports a group, if it is not both above LEAST and surely above 0; one above the other
contradicts it. Where views are few and one-sided, 0.1 to 0.2 occur under the right group."""
LEAST = 0.1
RANK: dict[Verdict, int] = {"contradicted": 0, "supported": 1, "undecided": 2}


@dataclass(frozen=True)
class Candidate:
    """What was found of a group.

    ``ratio`` : how much less symmetry equivalents agree than the own pose, relative to random turns: 0 where the group
        holds, about 1 where its rotations mean nothing; NaN where nothing is known
    ``error`` : standard error of the ratio
    ``within`` : the smaller group whose symmetry was taken as given, C1: none
    ``broken`` : whether it is contradicted by this comparison, not only with one of its subgroups
    """

    group: str
    within: str
    ratio: float
    error: float
    verdict: Verdict
    broken: bool = False


@dataclass(frozen=True)
class PointGroupTest:
    """What the particles say of a run's point group, its subgroups and the next larger groups.

    ``given`` : the group of the run; ``best``: the largest group that is supported
    """

    given: str
    best: str
    verdict: Verdict
    n_particles: int
    candidates: tuple[Candidate, ...]

    @property
    def sentence(self) -> str:
        """The answer, and what follows from it."""
        if self.verdict == "contradicted":
            supported = self.best if self.best != "C1" else "no other group"
            return (
                f"The particles contradict {self.given}{self._why}; they support {supported}. "
                f"Run with symmetry: {self.best}.{self._open}"
            )
        hint = f"Nothing is seen against {self.best}: consider symmetry: {self.best} if the molecule can have it."
        if self.verdict == "undecided":
            part = f"; they support {self.best}" if self.best != "C1" else ""
            return f"The particles do not tell whether {self.given} holds{part}."
        if order(self.best) <= order(self.given):
            more = ", which any particles do: nothing is seen for a larger group" if self.given == "C1" else ""
            return f"The particles support {self.given}{more}."
        return hint if self.given == "C1" else f"The particles support {self.given}. {hint}"

    @property
    def _why(self) -> str:
        """The group inside the given one that breaks, and how far, in parentheses."""
        broken = [c for c in self.candidates if c.verdict == "contradicted" and contains(self.given, c.group)]
        why = next(c for c in broken if c.broken)
        named = "" if why.group == self.given else f"{why.group}: "
        return f" ({named}ratio {why.ratio:.2f} ± {why.error:.2f}, 0 where it holds)"

    @property
    def _open(self) -> str:
        """Subgroups that may hold."""
        names = [
            c.group
            for c in self.candidates
            if c.verdict == "undecided" and contains(self.given, c.group) and order(c.group) > order(self.best)
        ]
        return f" Undecided: {', '.join(names)}." if names else ""

    def as_dict(self) -> dict[str, Any]:
        """Values for JSON, rounded; None for what is not a number."""
        found = [{n: _plain(v) for n, v in asdict(c).items()} for c in self.candidates]
        return {**asdict(self), "sentence": self.sentence, "candidates": found}


def examine_point_group(
    particles: Particles, mask: Path, symmetry: str, *, seed: int, backend: Backend
) -> PointGroupTest:
    """Test a run's point group on a sample of its particles.

    Parameters
    ----------
    mask : that of the first map; a ball that holds it is looked into
    symmetry : the point group of the run
    """
    shape, voxel = read_map(mask)
    chosen = particles.take(sample(particles, seed))
    return judge(HalfMaps.of(chosen, radius_of(shape) * voxel, backend), symmetry, len(chosen))


def sample(particles: Particles, seed: int) -> NDArray[np.intp]:
    """Rows of at most MOST_PARTICLES particles by their ids, ascending, one of each image.

    Where there are enough, the half sets come from different micrographs: a particle that was picked twice would bring
    its noise into both.
    """
    rows = hashed_order(particles.ids, seed=seed, stream=21, most=DRAWN * MOST_PARTICLES)
    _, first = np.unique(particles.images[rows], return_index=True)
    rows = rows[np.sort(first)]
    half = particles.column("half")[rows]
    apart = rows[of_half(particles.column("micrograph")[rows]) == half]
    if np.bincount(particles.column("half")[apart], minlength=3)[1:].min() >= ENOUGH:
        rows = apart
    return np.sort(rows[:MOST_PARTICLES])


def of_half(micrographs: NDArray[np.object_]) -> NDArray[np.int8]:
    """The half set, 1 or 2, that each particle's micrograph is for, by its name."""
    names, member = np.unique(micrographs.astype(str), return_inverse=True)
    return np.array([1 + zlib.crc32(name.encode()) % 2 for name in names], dtype=np.int8)[member]


def judge(maps: HalfMaps, symmetry: str, n_particles: int) -> PointGroupTest:
    """Test a group, its subgroups where it is contradicted, and from what is supported on ever larger groups."""
    given = name_of(symmetry)
    found: dict[str, Candidate] = {}

    def add(names: Iterable[str]) -> None:
        for name in sorted({*names} - {*found}, key=lambda name: (order(name), name)):
            found[name] = assess(maps, name, found)

    add(chain(given))
    if found[given].verdict == "contradicted":
        add(subgroups(given))
    seen = 0
    while seen < len(found):
        seen = len(found)
        supported = [name for name, c in found.items() if c.verdict == "supported"]
        add(larger for top in maximal(supported) for larger in next_larger(top))
    best = max(supported, key=lambda name: (order(name), name == given))
    told = tuple(c for c in found.values() if c.group != "C1")
    return PointGroupTest(given, best, found[given].verdict, n_particles, told)


def assess(maps: HalfMaps, name: str, found: Mapping[str, Candidate]) -> Candidate:
    """Judge a group, given what was found of its subgroups.

    It is contradicted with any of its subgroups, or by the comparison with one; it is supported by the comparison with
    one that is supported.
    """
    if name == "C1":
        return Candidate(name, name, 0.0, 0.0, "supported")
    inside = [h for h in found if contains(name, h)]
    split = {h: split_by(maps, name, h) for h in maximal([h for h in inside if found[h].verdict != "contradicted"])}
    verdicts = {h: verdict_of(s) for h, s in split.items()}
    for h, verdict in verdicts.items():
        if verdict == "supported" and found[h].verdict != "supported":
            verdicts[h] = "undecided"
    telling = min(split, key=lambda h: (RANK[verdicts[h]], split[h].error))
    is_broken_inside = any(found[h].verdict == "contradicted" for h in inside)
    verdict = "contradicted" if is_broken_inside else verdicts[telling]
    ratio, error = split[telling].ratio, split[telling].error
    return Candidate(name, telling, ratio, error, verdict, verdicts[telling] == "contradicted")


def verdict_of(split: Split) -> Verdict:
    """What a comparison of two groups says of the larger one."""
    margin, broken = MARGIN * split.error, split.rest_errors > CERTAIN
    if broken and split.ratio - margin > LEAST_CONTRADICTED:
        return "contradicted"
    is_close = split.ratio + margin < MOST_SUPPORTED and not (broken and split.ratio > LEAST)
    return "supported" if is_close and split.signal_errors > CERTAIN else "undecided"


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4) if np.isfinite(value) else None
    return value
