"""What a referee asks of a list of particles, answered from the run that chose it."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cryocore import __version__
from cryocore.backend import Backend
from cryocore.errors import InputError
from cryocore.explore.audit import answers
from cryocore.explore.audit.answers import QUESTIONS, Answer
from cryocore.explore.audit.held_out import held_out
from cryocore.explore.audit.history import Choice, choices_up_to
from cryocore.explore.audit.lists import SAME_SIZE, SAME_VIEWS, dealt, groups_within
from cryocore.explore.audit.noise import Scoring, selected_from_noise
from cryocore.explore.audit.parts import Parts, digest_of
from cryocore.explore.audit.ruler import Lists, Measured, Ruler
from cryocore.explore.audit.stability import jaccard, require_repeatable, stability
from cryocore.explore.open_maps import OpenRound, open_maps
from cryocore.explore.recommended import recommended_number
from cryocore.imaging.cache import stack_digests
from cryocore.imaging.grid import FourierSums
from cryocore.log.rounds import LogRound, find_rounds, wanted_round
from cryocore.maps.curves import FscCurves
from cryocore.reconstruct.stage import read_mask
from cryocore.score import score
from cryocore.tables.particles import read_subset
from cryocore.types import Bools, Floats32

NOTHING = "no particle is left out"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What is done.

    ``n_random``, ``n_dealt``, ``n_noise`` : lists of the same size, within groups, and of images without phases
    ``within`` : groups within which lists are dealt: view, micrograph, defocus
    ``splits`` : how often the particles are dealt in two
    ``cut_angstrom`` : resolution beyond which phases are replaced; None: where the FSC of all particles is 0.5
    """

    n_random: int = 8
    n_dealt: int = 4
    n_noise: int = 4
    within: tuple[str, ...] = ("view",)
    splits: int = 4
    cut_angstrom: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("n_random", 2), ("n_dealt", 2), ("n_noise", 1), ("splits", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is at least {least}; got {getattr(self, name)}")


@dataclass(frozen=True)
class Audit:
    """A list and the answers.

    ``number`` : the round; ``n_selected`` of ``n_particles`` are on the list
    """

    run: str
    number: int
    n_selected: int
    n_particles: int
    ruler: Ruler
    plan: Plan
    answers: tuple[Answer, ...]

    def of(self, name: str) -> Answer:
        """The answer to one of ``QUESTIONS``."""
        return next(a for a in self.answers if a.name == name)

    @property
    def within(self) -> str:
        """Groups within which lists are dealt, in words."""
        return within_words(self.plan.within)

    @property
    def verdict(self) -> str:
        """All answers in one sentence."""
        count = {v: [a for a in self.answers if a.verdict == v] for v in ("passed", "failed", "undecided")}
        asked = sum(map(len, count.values()))
        if not asked:
            return "No question is answered."
        said = [f"{len(count['passed'])} of {asked} questions are answered in favour of the list"]
        if count["undecided"]:
            said.append(f"{len(count['undecided'])} undecided")
        if count["failed"]:
            against = ", ".join(a.question.rstrip("?").lower() for a in count["failed"])
            said.append(f"against it: {against}")
        return "; ".join(said) + "."

    @property
    def text(self) -> str:
        """For people."""
        listed = f"{self.n_selected:,} of {self.n_particles:,} particles, round {self.number}"
        ruler = f"Ruler {self.ruler.digest}: box {self.ruler.grid.box}, shells to {self.ruler.grid.last_shell}, "
        lines = [
            f"The list of {self.run}: {listed}",
            f"{ruler}cut at {self.ruler.cut_angstrom:.1f} Å, seed {self.ruler.seed}",
        ]
        return "\n".join([*lines, *(f"{a.question} {a.sentence}" for a in self.answers), self.verdict])

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "run": self.run,
            "round": self.number,
            "n_selected": self.n_selected,
            "n_particles": self.n_particles,
            "verdict": self.verdict,
            "ruler": self.ruler.as_dict(),
            "within": list(self.plan.within),
            "version": __version__,
            "questions": {a.name: a.as_dict() for a in self.answers},
        }


def audit(
    run_dir: Path,
    backend: Backend,
    *,
    plan: Plan | None = None,
    number: str = "recommended",
    work: Path | None = None,
    code: str = "",
    scoring: Scoring = score,
    region: Path | None = None,
) -> Audit:
    """Answer ``QUESTIONS`` of the list of a round.

    Parameters
    ----------
    run_dir : results/<run>
    plan : what is done
    number : the round; recommended, last or a number
    work : folder of finished parts, which are not made again; None: ``audit`` in ``run_dir``
    code : what tells the program apart; parts that another one made are made again
    scoring : what scores a round of images without phases, as :func:`cryocore.score.score`
    region : mask of the part of the map whose local resolution is asked for; None: the mask of the run

    Raises
    ------
    InputError  if the run is not finished, or its files do not fit each other.
    """
    plan = Plan() if plan is None else plan
    wanted = str(recommended_number(run_dir)) if number == "recommended" else number
    opened = open_maps(run_dir, wanted)
    first = FscCurves.read(run_dir / "round_0" / "fsc.parquet")
    where = None if region is None else region_within(region, opened)
    ruler = Ruler.of(opened, first, cut_angstrom=plan.cut_angstrom, seed=plan.seed, region=where)
    subset = run_dir / f"round_{opened.log.number}" / "subset.parquet"
    selected = read_subset(subset if subset.exists() else None, opened.data)[1]
    files = [
        hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (run_dir / "particles.parquet", subset)
        if path.exists()
    ]
    key = digest_of(ruler.digest, files, stack_digests(opened.data), __version__, code)
    folder = run_dir / "audit" if work is None else work
    asked = _Asked(run_dir, opened, find_rounds(run_dir), ruler, plan, selected, backend, Parts(folder, key), scoring)
    log.info("ruler %s; parts in %s", ruler.digest, folder)
    found = asked.answers()
    return Audit(run_dir.absolute().name, opened.log.number, int(selected.sum()), len(selected), ruler, plan, found)


def region_within(path: Path, opened: OpenRound) -> Floats32:
    """The part of the run's mask that a region's mask holds.

    Raises
    ------
    InputError  if it holds none of it.
    """
    region = read_mask(path, opened.grid.box, opened.grid.pixel_size_angstrom) * opened.mask
    if region.max() <= 0.5:
        raise InputError("the region lies outside of the run's mask", file=path, fix="Give a part of the molecule")
    return region


def within_words(kinds: Sequence[str]) -> str:
    """Groups in words.

    >>> within_words(["view", "defocus"])
    'views and defocus'
    """
    return " and ".join(kind if kind == "defocus" else f"{kind}s" for kind in kinds)


@dataclass
class _Asked:
    """A list that is asked about."""

    run_dir: Path
    opened: OpenRound
    rounds: Sequence[LogRound]
    ruler: Ruler
    plan: Plan
    selected: Bools
    backend: Backend
    parts: Parts
    scoring: Scoring
    lists: Lists | None = None

    def __post_init__(self) -> None:
        number = self.opened.log.number
        subset = self.run_dir / f"round_{number}" / "subset.parquet"
        self.data = self.opened.data.with_quality(subset if subset.exists() else None)
        self.half = self.data.column("half").astype(np.int64) - 1
        self.within = within_words(self.plan.within)

    def answers(self) -> tuple[Answer, ...]:
        """All answers; a question that cannot be answered says why."""
        asked: dict[str, Callable[[], Answer]] = {
            "size": self.size,
            "local": self.local,
            "views": self.views,
            "held_out": self.held_out,
            "stability": self.stability,
            "noise": self.noise,
        }
        found = {}
        for name, question in asked.items():
            try:
                if self.selected.all():
                    raise InputError(NOTHING, fix="Choose another round")
                found[name] = question()
                log.info("%s", found[name].sentence)
            except InputError as error:
                found[name] = answers.not_answered(name, error.problem, within=self.within)
        return tuple(found[name] for name in QUESTIONS)

    def measured(self, name: str, members: Bools) -> Measured:
        """A list's map by the ruler."""

        def make() -> dict[str, Any]:
            halves = self.ruler.halves(self.sums(members, name))
            return self.ruler.measure(halves, int(np.count_nonzero(members))).as_dict()

        return Measured.of(self.parts.get(name, make))

    def sums(self, members: Bools, name: str) -> FourierSums:
        """Fourier sums of a list."""
        if self.lists is None:
            self.lists = Lists(self.data, self.ruler.grid, self.backend, self.opened.source)
        return self.lists.sums(members, name.replace("_", " "))

    def listed(self) -> Measured:
        """The list's map."""
        return self.measured("list", self.selected)

    def random_list(self, repeat: int) -> Bools:
        """A list of the same size."""
        given = {"seed": self.ruler.seed, "kind": SAME_SIZE, "repeat": repeat}
        return dealt(self.selected, self.half, self.data.images, **given)

    def size(self) -> Answer:
        """Random lists of the same size."""
        return answers.size_answer(self.listed(), self.random())

    def random(self) -> list[Measured]:
        """Maps of random lists of the same size."""
        return [self.measured(f"random_{repeat}", self.random_list(repeat)) for repeat in range(self.plan.n_random)]

    def local(self) -> Answer:
        """Local resolution before and after."""
        everything = self.measured("all", np.ones_like(self.selected))
        return answers.local_answer(everything, self.listed(), self.random(), self.ruler.window_angstrom)

    def views(self) -> Answer:
        """Lists dealt out anew within groups."""
        strata = groups_within(self.opened.log, self.data.column("half"), self.plan.within)
        given = {"seed": self.ruler.seed, "kind": SAME_VIEWS}
        lists = [
            dealt(self.selected, strata, self.data.images, **given, repeat=repeat)
            for repeat in range(self.plan.n_dealt)
        ]
        name = "_".join(self.plan.within)
        others = [self.measured(f"within_{name}_{repeat}", members) for repeat, members in enumerate(lists)]
        n = np.count_nonzero(self.selected)
        shared = float(np.mean([np.count_nonzero(members & self.selected) / n for members in lists]))
        return answers.views_answer(self.listed(), others, self.within, round(shared, 4))

    def held_out(self) -> Answer:
        """Images of each half set by the other one's map."""

        def make() -> dict[str, Any]:
            work = self.parts.work("maps")
            lists = {"list": self.selected, "random": self.random_list(0)}
            for name, members in lists.items():
                if not (work / name / "sampling.npz").exists():
                    self.ruler.write_round(work / name, self.sums(members, name))
            folders = {name: work / name for name in lists}
            share = float(np.mean(self.selected))
            given = self.opened.log, share, self.ruler, self.opened.source, self.backend
            found = held_out(folders, self.data, *given)
            shutil.rmtree(work)
            return found

        return answers.held_out_answer(self.parts.get("held_out", make, self.opened.log.values("noise_factor")))

    def stability(self) -> Answer:
        """Lists from the log of half of the particles."""
        number, last, choice = self.opened.log.number, self.log_before(), self.choices()[-1]
        require_repeatable(choice)
        given: dict[str, Any] = {"splits": self.plan.splits, "seed": self.ruler.seed}
        values = self.parts.get(
            "stability",
            lambda: stability(last, choice, number, self.selected, **given),
            choice.as_dict(),
            last.values(choice.select.score),
            self.plan.splits,
        )
        return answers.stability_answer(values)

    def noise(self) -> Answer:
        """The whole selection on images without phases beyond the cut."""
        choices = self.choices()
        for choice in choices:
            require_repeatable(choice)
        curves = [FscCurves.read(self.run_dir / f"round_{r}" / "fsc.parquet") for r in range(len(choices))]
        weights = [curve.corrected.tolist() for curve in curves]
        made_from = [choice.as_dict() for choice in choices], weights, self.plan.n_noise

        def make() -> dict[str, Any]:
            work = self.parts.work("substituted", *made_from)
            given: dict[str, Any] = {"symmetry": self.opened.log.symmetry, "n_lists": self.plan.n_noise}
            particles, ruler, source = self.run_dir / "particles.parquet", self.ruler, self.opened.source
            found = selected_from_noise(
                particles, choices, curves, ruler, source, self.backend, work, **given, scoring=self.scoring
            )
            shutil.rmtree(work)
            chosen = found.pop("members")
            return found | {"jaccard_with_list": round(jaccard(chosen, self.selected), 6)}

        self.lists = None  # its sums make room for others
        return answers.noise_answer(self.parts.get("noise", make, *made_from), self.ruler.cut_angstrom)

    def choices(self) -> list[Choice]:
        """How the list was chosen, round by round."""
        return choices_up_to(self.run_dir, self.rounds, self.opened.log.number)

    def log_before(self) -> LogRound:
        """The log by which the list was chosen."""
        wanted = self.opened.log.number - 1
        return wanted_round([*self.rounds], str(wanted))
