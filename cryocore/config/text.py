"""``config.yaml``, its schema, the page of the configuration and the table of rules, written from the code.

``python -m cryocore.config.text`` writes them into the working directory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from cryocore.config.rules import RULES
from cryocore.config.run import Config
from cryocore.markdown import table

LONGEST_CHOICE = 40
"""Characters of a list of choices that still fits into the comment of a key; the page has them all."""

RULES_TABLE = re.compile(r"(<!-- rules -->\n\n)(?:\|.*\n)*")

YAML_HEAD = """\
# yaml-language-server: $schema=config.schema.json
#
# The demo: a simulated 20S proteasome with 30 % wrong poses, and three rounds that find them.
#
# For your own particles write a file with the keys that differ, and run
#     snakemake --configfile my.yaml
# A key that it leaves out takes the default of docs/reference/configuration.md; nothing of this file is added to it.
"""

PAGE_HEAD = """\
# Configuration

*For those who write a configuration file: every key, its default and what it may be.*

Keys that are left out take their defaults; unknown keys are errors. An editor that knows YAML completes and checks a
file that begins with `# yaml-language-server: $schema=/path/to/cryocore/config.schema.json`.
`python -m cryocore.config.text` writes this page, that schema and `config.yaml`.

The demo plants 30 % wrong poses (`input.plant.wrong_pose: 0.3`). In a file that has an `input` of its own, no error is
planted unless it says so, and `symmetry` must be given along with `input.star`.
"""


def config_yaml() -> str:
    """The settings of the demo with a comment for every key."""
    return f"{YAML_HEAD}\n" + "".join(f"{line}\n" for line in _yaml_lines(Config()))


def configuration_page() -> str:
    """The reference page, one table per block."""
    return PAGE_HEAD + "".join(_tables(Config(), ""))


def configuration_schema() -> str:
    """The JSON schema by which editors complete and check a configuration."""
    schema = _one_for_many(Config.model_json_schema())
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=1) + "\n"


def rules_table() -> str:
    """The table of docs/reference/selection-rules.md: every rule with the values that it takes."""
    cells = (
        (f"`{name}`", rule.keeps, f"{_listed(rule.values.default)}; {rule.values}", rule.score or "any", rule.when)
        for name, rule in RULES.items()
    )
    return table(["rule", "keeps", "default; values", "ranks by", "when"], cells)


def with_rules(page: str) -> str:
    """docs/reference/selection-rules.md with the table of rules as it is now."""
    return RULES_TABLE.sub(lambda found: found[1] + rules_table(), page)


def main() -> None:
    """Write all files into the working directory."""
    Path("config.yaml").write_text(config_yaml())
    Path("config.schema.json").write_text(configuration_schema())
    Path("docs/reference/configuration.md").write_text(configuration_page())
    page = Path("docs/reference/selection-rules.md")
    page.write_text(with_rules(page.read_text()))


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _one_for_many(schema: Any) -> Any:
    """A schema in which a list of values per round may be a single one, and what is null by default may be null."""
    if isinstance(schema, list):
        return [_one_for_many(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: _one_for_many(part) for name, part in schema.items()}
    choices = [inner["items"]] if schema.get("type") == "array" and "prefixItems" not in schema else []
    if "default" in schema and schema["default"] is None and "anyOf" not in schema:
        choices.append({"type": "null"})
    if not choices:
        return inner
    around = {name: inner.pop(name) for name in ("title", "description", "default") if name in inner}
    return {**around, "anyOf": [inner, *choices]}


def _yaml_lines(section: BaseModel, depth: int = 0) -> Iterator[str]:
    indent = "  " * depth
    properties = type(section).model_json_schema()["properties"]
    for name, field in type(section).model_fields.items():
        value, remark = _shown(section, name), field.description or ""
        if isinstance(value, BaseModel):
            yield from ["", f"{indent}{name}:  # {remark}"] if depth == 0 else [f"{indent}{name}:  # {remark}"]
            yield from _yaml_lines(value, depth + 1)
        else:
            key = field.alias or name
            choice = _choices(properties[key])
            comment = f"{choice}; {remark}" if 0 < len(choice) <= LONGEST_CHOICE else remark
            yield f"{indent}{key}: {_plain(value)}".ljust(43) + f"  # {comment}"


def _tables(section: BaseModel, prefix: str) -> Iterator[str]:
    """The table of a section, and of those in it."""
    model = type(section)
    properties = model.model_json_schema()["properties"]
    title = f"`{prefix}`" if prefix else "The run"
    yield f"\n## {title}\n\n{(model.__doc__ or '').strip()}\n\n"
    inner: list[tuple[str, BaseModel]] = []
    rows = []
    for name, field in model.model_fields.items():
        default = _shown(section, name)
        if isinstance(default, BaseModel):
            # the sections of the demo are not the defaults of a file that has these sections
            inner.append((f"{prefix}.{name}".lstrip("."), default if prefix else type(default)()))
        else:
            meaning = (field.description or "").replace("<", "&lt;")
            key = field.alias or name
            rows.append((f"`{key}`", f"`{_plain(default)}`", _allowed(properties[key]), meaning))
    yield table(["key", "default", "allowed", "meaning"], rows)
    for path, part in inner:
        yield from _tables(part, path)


def _shown(section: BaseModel, name: str) -> Any:
    """A value, or None where it follows from others unless it is given."""
    return None if type(section).model_fields[name].default is None else getattr(section, name)


def _plain(value: Any) -> str:
    """A value as YAML on one line."""
    if isinstance(value, str):
        return value
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def _choices(schema: dict[str, Any]) -> str:
    values = [str(v) for v in schema.get("enum", [])]
    return f"{', '.join(values[:-1])} or {values[-1]}" if values else ""


def _allowed(schema: dict[str, Any]) -> str:
    """What a JSON schema allows, as text."""
    if "anyOf" in schema:
        return " or ".join(_allowed(part) for part in schema["anyOf"])
    if "prefixItems" in schema:
        return f"two, {_allowed(schema['prefixItems'][0])}"
    if schema.get("type") == "array":
        return f"list, {_allowed(schema['items'])}"
    if "pattern" in schema:
        return f"`{schema['pattern']}`"
    kinds = {"integer": "whole", "number": "number", "boolean": "true or false", "string": "text"}
    word = _choices(schema) or kinds.get(schema.get("type", ""), schema.get("type", ""))
    bounds = _bounds(schema)
    return bounds if bounds and word == "number" else ", ".join(filter(None, (word, bounds)))


def _bounds(schema: dict[str, Any]) -> str:
    if "minimum" in schema and "maximum" in schema:
        return f"{schema['minimum']:g} to {schema['maximum']:g}"
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    return " and ".join(f"{sign} {schema[name]:g}" for name, sign in signs.items() if name in schema)


if __name__ == "__main__":
    main()
