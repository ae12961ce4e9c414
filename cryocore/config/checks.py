"""Settings from plain values, with every fault as text."""

from __future__ import annotations

import difflib
import reprlib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from cryocore.config.base import Section
from cryocore.errors import InputError

MOST_VALUES, MOST_FAULTS = 5000, 5
AnySection = TypeVar("AnySection", bound=Section)


def checked(section: type[AnySection], values: dict[str, Any], *, file: str | Path | None = None) -> AnySection:
    """A block of settings from plain values, every fault named with its key."""
    fix = "Correct the configuration; docs/reference/configuration.md lists every key"
    if _is_endless(values):
        raise InputError(f"it holds more than {MOST_VALUES} values", file=file, fix=fix)
    try:
        return section.model_validate(values)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        more = f"; and {len(faults) - MOST_FAULTS} more faults" if len(faults) > MOST_FAULTS else ""
        problem = "; ".join(_in_words(f, section) for f in faults[:MOST_FAULTS]) + more
        raise InputError(problem, file=file, fix=fix) from None


def _is_endless(values: Any) -> bool:
    """Whether there are more values than any run needs: aliases in YAML make thousands of millions of a few lines."""
    todo, n = [values], 0
    while todo and n <= MOST_VALUES:
        value, n = todo.pop(), n + 1
        todo += value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return n > MOST_VALUES


def _in_words(fault: Any, section: type[BaseModel]) -> str:
    """A fault that pydantic found, as a user would put it."""
    key, given = ".".join(map(str, fault["loc"])), reprlib.repr(fault["input"])
    message = fault["msg"].removeprefix("Value error, ")
    match fault["type"]:
        case "extra_forbidden":
            known = {name.rpartition(".")[2]: name for name in _keys(section)}
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
    names = [field.alias or name for name, field in section.model_fields.items()]
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names = [f"{name}.{inner}" for inner in _keys(field.annotation)] + names
    return names
