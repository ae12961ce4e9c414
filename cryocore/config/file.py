"""A configuration file: plain YAML, read without running anything, its faults named with their lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from cryocore.config.run import Config, parse_config
from cryocore.errors import InputError
from cryocore.tables.io import why

MAX_BYTES = 50_000


def read_config(path: str | Path) -> Config:
    """Read and check a YAML configuration.

    Raises
    ------
    InputError  with the line of what is no YAML or a key given twice, or the keys whose values are wrong.
    """
    return parse_config(read_values(path), file=path)


def read_values(path: str | Path) -> dict[str, Any]:
    """The plain values of a YAML file, each key once."""
    text = _text(Path(path))
    try:
        values = yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe one
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise InputError(f"not YAML: {line}{error.problem}", file=path, fix="Correct the line") from None
    except yaml.YAMLError as error:
        raise InputError(f"not YAML: {why(error)}", file=path, fix="Save it as plain text") from None
    except ValueError as error:  # a number, date or time that is none
        raise InputError(f"not YAML: {why(error)}", file=path, fix="Correct the value") from None
    except RecursionError:
        raise InputError("not YAML: blocks within blocks without end", file=path, fix="Correct the file") from None
    if not isinstance(values, dict):
        raise InputError("not a mapping of settings", file=path, fix="See config.yaml for an example")
    return values


def _text(path: Path) -> str:
    """The whole file, which is small."""
    try:
        n_bytes = path.stat().st_size
        text = path.read_text(encoding="utf-8") if n_bytes <= MAX_BYTES else None
    except FileNotFoundError:
        raise InputError("file does not exist", file=path, fix="Give an existing configuration") from None
    except UnicodeDecodeError:
        raise InputError("not UTF-8 text", file=path, fix="Save it as UTF-8") from None
    except OSError as error:
        raise InputError(f"cannot be read ({why(error)})", file=path, fix="Give a configuration") from None
    if text is None:
        raise InputError(f"{n_bytes} bytes are too many for settings", file=path, fix="Give a configuration")
    return text


class _Loader(yaml.SafeLoader):
    """Makes plain values only, and refuses a key that is there twice, of which YAML takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value} is there twice", key.start_mark
                    )
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)
