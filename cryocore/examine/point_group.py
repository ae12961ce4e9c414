"""Which point groups the particles support at their own poses, whatever group a run was given.

The half maps are made without symmetry. Of two groups H < K, the part of a map that has H's symmetry consists of a part
that has K's and the rest. Under K the rest is noise, independent in the two halves, however the views are distributed
and however many poses are wrong; what both halves have in common in it speaks against K.
"""

from __future__ import annotations

from collections.abc import Mapping
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
CERTAIN = 4.0
"""Standard errors that what speaks against a group has to exceed, and what could tell at all."""
LIMIT, MARGIN = 0.3, 2.5
"""A group is contradicted or supported where the ratio is above or below the limit by so many standard errors. Where
views are few and one-sided, ratios of 0.1 to 0.2 occur under the right group."""
LEAST = 0.1
"""A ratio that is surely 0 or more than this supports nothing."""
RANK: dict[Verdict, int] = {"contradicted": 0, "supported": 1, "undecided": 2}


@dataclass(frozen=True)
class Candidate:
    """What was found of a group.

    ``ratio`` : how much less symmetry equivalents agree than the own pose, relative to random turns: 0 where the group
        holds, about 1 where its rotations mean nothing; NaN where nothing is known
    ``error`` : standard error of the ratio
    ``within`` : the smaller group whose symmetry was taken as given, C1: none
    """

    group: str
    within: str
    ratio: float
    error: float
    verdict: Verdict


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
        larger = order(self.best) > order(self.given)
        hint = f" They support {self.best} as well: consider symmetry: {self.best}." if larger else ""
        match self.verdict:
            case "contradicted":
                found = next(c for c in self.candidates if c.group == self.given)
                supported = f"support {self.best}" if self.best != "C1" else "support no symmetry"
                return (
                    f"The particles contradict {self.given} (ratio {found.ratio:.2f} ± {found.error:.2f}, 0 where it "
                    f"holds) and {supported}. Run with symmetry: {self.best}."
                )
            case "supported" if self.given == "C1":
                return hint.lstrip() or "No point group was given, and none is supported."
            case "supported":
                return f"The particles support {self.given}.{hint}"
            case _:
                part = f"; they support {self.best}" if self.best != "C1" else ""
                return f"The particles do not tell whether {self.given} holds{part}."

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
    """Rows of at most MOST_PARTICLES particles by their ids, ascending, one of each image."""
    rows = hashed_order(particles.ids, seed=seed, stream=21)
    _, first = np.unique(particles.images[rows], return_index=True)
    return np.sort(rows[np.sort(first)[:MOST_PARTICLES]])


def judge(maps: HalfMaps, symmetry: str, n_particles: int) -> PointGroupTest:
    """Test a group, its subgroups unless it is supported itself, and from what is supported on ever larger groups."""
    given = name_of(symmetry)
    for new in (chain(given), subgroups(given)):
        found: dict[str, Candidate] = {}
        for name in new:
            found[name] = assess(maps, name, found)
        if found[given].verdict == "supported":
            break
    while True:
        supported = [name for name, c in found.items() if c.verdict == "supported"]
        larger = {name for top in maximal(supported) for name in next_larger(top)} - {*found}
        if not larger:
            break
        for name in sorted(larger, key=lambda name: (order(name), name)):
            found[name] = assess(maps, name, found)
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
    broken = any(found[h].verdict == "contradicted" for h in inside)
    verdict = "contradicted" if broken else verdicts[telling]
    return Candidate(name, telling, split[telling].ratio, split[telling].error, verdict)


def verdict_of(split: Split) -> Verdict:
    """What a comparison of two groups says of the larger one."""
    margin, broken = MARGIN * split.error, split.rest_errors > CERTAIN
    if broken and split.ratio - margin > LIMIT:
        return "contradicted"
    if split.signal_errors > CERTAIN and split.ratio + margin < LIMIT and not (broken and split.ratio > LEAST):
        return "supported"
    return "undecided"


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4) if np.isfinite(value) else None
    return value
