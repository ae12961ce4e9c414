"""What all settings are made of."""

from __future__ import annotations

import os
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

Rate = Annotated[float, Field(ge=0.0, le=1.0)]
Fraction = Annotated[float, Field(gt=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]


def _ascending(values: tuple[float, float]) -> tuple[float, float]:
    if values[0] > values[1]:
        raise ValueError(f"a range goes from low to high; got {values[0]:g}, {values[1]:g}")
    return values


def _as_list(value: Any) -> Any:
    if isinstance(value, str):
        raise ValueError(f"{value!r:.80} is text, not a number or a list of them; write numbers as 0.1 or 1.0e-1")
    return [value] if isinstance(value, int | float) else value


def _as_name(value: str) -> str:
    """A file name, ``~`` and ``~user`` at its beginning replaced by the home folder."""
    if not value.strip() or not value.isprintable():
        raise ValueError(f"{value!r:.80} is no file name: it is blank or holds control characters")
    if value.startswith("-"):
        raise ValueError(f"{value!r:.80} begins with a dash, as options do: write ./{value:.80}")
    path = os.path.expanduser(value)
    if path.startswith("~") and "/" in path:
        raise ValueError(f"{value!r:.80}: there is no home folder {path.partition('/')[0]}; write the whole path")
    return path


def _as_names(value: Any) -> Any:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{value!r:.80} should be a valid string, or a list of them")
    names = [_as_name(text) for text in texts]
    if len(set(names)) < len(names):
        raise ValueError(f"{value!r:.80} names a file twice")
    return names[0] if isinstance(value, str) else names


Range = Annotated[tuple[Positive, Positive], AfterValidator(_ascending)]
PerRound = BeforeValidator(_as_list)
FileName = Annotated[str, AfterValidator(_as_name)]
FileNames = Annotated[str | list[str], BeforeValidator(_as_names)]


class Section(BaseModel):
    """A block of settings in which unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, serialize_by_alias=True)

    @field_validator("*", mode="before")
    @classmethod
    def _flags_are_no_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        if cls.model_fields[str(info.field_name)].annotation is not bool and _holds_flag(value):
            raise ValueError("yes and no are no numbers")
        return value


def _holds_flag(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, list | tuple) and any(map(_holds_flag, value)))


def per_round(values: list[Any], round_number: int) -> Any:
    """The setting of a round (from 1); the last one holds for all later rounds.

    >>> per_round([0.9, 0.8], 1), per_round([0.9, 0.8], 5)
    (0.9, 0.8)
    """
    return values[min(round_number, len(values)) - 1]
