"""What a replay is asked for, and the settings that this means in each round."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Literal

from pydantic import Field

from cryocore.config.base import per_round
from cryocore.config.checks import checked
from cryocore.config.rules import RULES
from cryocore.config.select import BY_THE_RULE, Select
from cryocore.errors import InputError
from cryocore.explore.replay.bands import BandLimit
from cryocore.log.names import MIXTURE, PROBABILITY, QUALITY, SCORES
from cryocore.log.rounds import LogRound
from cryocore.tables.io import read_schema, table_metadata

_COMPACT = re.compile(r"(?P<rule>\w+)?(=(?P<values>[^@]+))?(@(?P<score>\w+))?")


@dataclass(frozen=True)
class Request:
    """A selection to try; what is None is that of the run, or the default where the log knows no run.

    ``rule``, ``score``, ``normalise`` : as in the configuration
    ``values`` : of the rule, one per round, the last of which holds for all later rounds
    ``quality`` : auto or none; asked for, the outcome tells of B-factors and scales
    ``limit`` : bands that the score is computed from again; None takes it as it stands in the log
    ``seed`` : of the run; None reads it there
    """

    rule: str | None = None
    values: tuple[float, ...] | None = None
    score: str | None = None
    normalise: str | None = None
    quality: str | None = None
    limit: BandLimit | None = None
    seed: int | None = None

    def compact(self, text: str) -> Request:
        """This request with what ``RULE=VALUE@SCORE`` says, of which each part may be missing.

        >>> asked = Request(score="z").compact("fraction=0.8,0.7@zc")
        >>> asked.rule, asked.values, asked.score
        ('fraction', (0.8, 0.7), 'zc')
        """
        found = _COMPACT.fullmatch(text.replace(" ", ""))
        if not found:
            raise InputError(f"{text!r} is no RULE=VALUE@SCORE", fix="Write it as fraction=0.7@zc")
        values = None if found["values"] is None else numbers(found["values"])
        return replace(
            self, rule=found["rule"] or self.rule, values=values or self.values, score=found["score"] or self.score
        )


class Tried(Select):
    """The settings of a selection that is tried: it can rank by quality too."""

    score: Literal[(*SCORES, MIXTURE, PROBABILITY, QUALITY)] = Field(default=BY_THE_RULE)  # type: ignore[valid-type]


@dataclass(frozen=True)
class Plan:
    """A request in one round: settings, whose lists count selections from 1, the seed, and whether envelopes are asked
    for."""

    settings: Select
    limit: BandLimit | None
    seed: int
    selection: int
    tells_quality: bool

    @property
    def value(self) -> float:
        """Of the rule in this round."""
        return float(per_round(self.settings.value, self.selection))

    @property
    def score(self) -> str:
        """The score that the rule ranks by."""
        return str(self.settings.score)

    def __str__(self) -> str:
        grouped = "" if self.settings.normalise == "none" else f" within {self.settings.normalise}"
        limit = f", {self.limit}" if self.limit else ""
        return f"{self.settings.rule} {self.value:g} of {self.score}{limit}{grouped}"


@dataclass(frozen=True)
class Own:
    """The selection that a run made of a round's scores; an empty one where nothing is known of it."""

    values: dict[str, object] = field(default_factory=dict)
    seed: int = 0


def numbers(text: str) -> tuple[float, ...]:
    """Numbers between commas.

    >>> numbers("0.8, 0.7")
    (0.8, 0.7)
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"{text!r} is no number", fix="Give a value, or several with commas between them") from None


def own_selection(log_round: LogRound) -> Own:
    """The settings by which the run chose the next round's particles, or else those of the last selection before."""
    folder = log_round.run_dir
    for number in range(log_round.number + 1, 0, -1):
        path = folder and folder / f"round_{number}" / "subset.parquet"
        if path and path.exists():
            made_by = table_metadata(read_schema(path))
            if "value" not in made_by["settings"]:
                problem = "the settings of this selection are those of a version that names them otherwise"
                raise InputError(problem, file=path, fix="Run snakemake again, or replay the log.parquet alone")
            return Own(made_by["settings"], made_by.get("seed", 0))
    return Own()


def plan(request: Request, log_round: LogRound) -> Plan:
    """The settings of a request in a round.

    Raises
    ------
    InputError  if there is no such rule, score or value.
    """
    own = own_selection(log_round)
    values = dict(own.values)
    before = str(values.get("rule", Select().rule))
    rule = request.rule or before
    if rule not in RULES:
        raise InputError(f"there is no rule {rule!r}", fix=f"Choose one of {', '.join(RULES)}")
    if rule != before:
        values.pop("value", None)
        if RULES[before].score or RULES[rule].score:
            values.pop("score", None)
        if RULES[rule].score:
            values["normalise"] = "none"
    given = {"rule": rule, "score": request.score, "value": request.values}
    given |= {"normalise": request.normalise, "quality": request.quality}
    values |= {name: value for name, value in given.items() if value is not None}
    # how many are kept is for the reader to assess
    settings = checked(Tried, {**values, "minimum": 1})
    if request.limit and settings.score == MIXTURE:
        raise InputError(
            f"{rule} decides by probabilities, which have no band limit", fix="Choose another rule, or no limit"
        )
    seed = own.seed if request.seed is None else request.seed
    asked = request.quality is not None or settings.score == QUALITY
    return Plan(settings, request.limit, seed, log_round.number + 1, asked)
