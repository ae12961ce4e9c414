"""The settings of a run: these models are ``config.yaml``."""

from __future__ import annotations

import difflib
import reprlib
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError, model_validator

from cryocore.errors import InputError
from cryocore.sections import (
    BY_POSTERIOR,
    CLASSIFIERS,
    MOLECULE_GROUPS,
    Classify,
    Input,
    Iterative,
    PlantedErrors,
    Reconstruct,
    Score,
    Section,
    Select,
    Simulate,
)

__all__ = [
    "BY_POSTERIOR",
    "CLASSIFIERS",
    "Classify",
    "Config",
    "Input",
    "Iterative",
    "PlantedErrors",
    "Reconstruct",
    "Score",
    "Select",
    "Simulate",
    "checked",
    "parse_config",
    "per_round",
]

MOST_VALUES, MOST_FAULTS = 5000, 5
AnySection = TypeVar("AnySection", bound=Section)


class Config(Section):
    """A run."""

    run: str = Field(
        default="demo",
        max_length=100,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="results go to results/<run>",
    )
    n_rounds: int = Field(default=4, ge=1, le=99, description="selections; round 0 is the map of everything")
    symmetry: str = Field(default="D7", pattern=r"^([CcDd][1-9][0-9]*|[TtOo]|[Ii][1-4]?)$", description="point group")
    seed: int = Field(default=0, ge=0, le=10**9, description="of everything random; the same seed gives the same files")
    backend: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto: the GPU where there is one")
    n_shards: int = Field(
        default=1, ge=1, le=500, description="parts of the data that are summed and scored by a job each"
    )
    input: Input = Field(
        default=Input(plant=PlantedErrors(wrong_pose=0.3)), description="where the particles come from"
    )
    reconstruct: Reconstruct = Field(default=Reconstruct(), description="from particles to half maps")
    score: Score = Field(default=Score(), description="from maps to the loss of every particle")
    classify: Classify = Field(default=Classify(), description="a classifier on residual images, if there is to be one")
    select: Select = Field(default=Select(), description="from losses to the particles of the next round")

    @model_validator(mode="after")
    def _shards_have_particles(self) -> Config:
        if self.input.star is None and self.n_shards > self.input.simulate.n_particles:
            raise ValueError(f"n_shards: {self.input.simulate.n_particles} particles are fewer; use less")
        return self

    @model_validator(mode="after")
    def _folds_are_not_sharded(self) -> Config:
        if self.n_shards > 1 and self.score.leave_one_out == "folds":
            raise ValueError("n_shards: folds are of all particles at once; use 1, or leave_one_out: closed_form")
        return self

    @model_validator(mode="after")
    def _symmetry_is_a_choice(self) -> Config:
        if self.input.star is not None and "symmetry" not in self.model_fields_set:
            raise ValueError("symmetry: say which point group the particles of input.star have (C1 for none)")
        return self

    @model_validator(mode="after")
    def _the_molecule_has_the_symmetry(self) -> Config:
        made = self.input.simulate
        groups = MOLECULE_GROUPS[made.molecule]
        if self.input.star is None and made.volume is None and self.symmetry.upper() not in groups:
            raise ValueError(
                f"the molecule {made.molecule} has not the point group {self.symmetry}; use {' or '.join(groups)}"
            )
        return self

    @model_validator(mode="after")
    def _probabilities_have_a_classifier(self) -> Config:
        if self.classify.model == "none" and "probability" in (self.select.rule, self.select.score):
            raise ValueError(
                "select: probability needs a classifier; set classify.model to logistic, boosting, cnn or a folder"
            )
        return self

    @model_validator(mode="after")
    def _score_has_its_poses(self) -> Config:
        score = self.score
        if self.select.rule in BY_POSTERIOR:
            return self
        if self.select.score == "dual" and score.n_decoys + score.n_local + score.n_shift == 0:
            raise ValueError("select.score: dual needs score.n_decoys, score.n_local or score.n_shift of at least 1")
        needed = {"contrast": ("n_decoys", 2), "local": ("n_local", 1), "shift": ("n_shift", 1)}
        name, least = needed.get(self.select.score, ("n_decoys", 0))
        if getattr(self.score, name) < least:
            raise ValueError(f"select.score: {self.select.score} needs score.{name} of at least {least}")
        return self


def parse_config(values: dict[str, Any], *, file: str | Path | None = None) -> Config:
    """Check ``values`` and fill in the defaults; every fault is named with its key."""
    return checked(Config, values, file=file)


def checked(section: type[AnySection], values: dict[str, Any], *, file: str | Path | None = None) -> AnySection:
    """A block of settings from plain values, every fault named with its key."""
    remedy = "Correct the configuration; docs/configuration.md lists every key"
    if _is_endless(values):
        raise InputError(f"it holds more than {MOST_VALUES} values", file=file, remedy=remedy)
    try:
        return section.model_validate(values)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        more = f"; and {len(faults) - MOST_FAULTS} more faults" if len(faults) > MOST_FAULTS else ""
        problem = "; ".join(map(_in_words, faults[:MOST_FAULTS])) + more
        raise InputError(problem, file=file, remedy=remedy) from None


def _is_endless(values: Any) -> bool:
    """Whether there are more values than any run needs: aliases in YAML make thousands of millions of a few lines."""
    todo, n = [values], 0
    while todo and n <= MOST_VALUES:
        value, n = todo.pop(), n + 1
        todo += value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return n > MOST_VALUES


def _in_words(fault: Any) -> str:
    """A fault that pydantic found, as a user would put it."""
    key, given = ".".join(map(str, fault["loc"])), reprlib.repr(fault["input"])
    message = fault["msg"].removeprefix("Value error, ")
    match fault["type"]:
        case "extra_forbidden":
            known = {name.rpartition(".")[2]: name for name in _keys(Config)}
            close = difflib.get_close_matches(str(fault["loc"][-1]), known, n=1)
            return f"there is no key {key:.100}" + (f" (did you mean {known[close[0]]}?)" if close else "")
        case "model_type" | "model_attributes_type":
            return f"{key}: {given} should be a block of settings"
        case "string_pattern_mismatch" if key == "run":
            return f"run: {given} should be letters, digits, ., _ and -, a letter or digit first"
    if key == "symmetry":
        return f"symmetry: {given} is no point group; use C1, C2, ..., D2, ..., T, O or I1 to I4"
    if message.startswith("Input "):
        return f"{key}: {given} {message.removeprefix('Input ')}"
    return f"{key}: {message}" if key else message


def _keys(section: type[BaseModel]) -> list[str]:
    """All keys of a section and of those inside it, the latter first."""
    names = list(section.model_fields)
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names = [f"{name}.{inner}" for inner in _keys(field.annotation)] + names
    return names


def per_round(values: list[Any], round_number: int) -> Any:
    """The setting of a round (from 1); the last one holds for all later rounds.

    >>> per_round([0.9, 0.8], 1), per_round([0.9, 0.8], 5)
    (0.9, 0.8)
    """
    return values[min(round_number, len(values)) - 1]
