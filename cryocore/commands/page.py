"""``docs/reference/commands.md``, written from the program: ``python -m cryocore.commands.page``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryocore.commands.app import VERBS

HEAD = """\
# Commands

*For those who type `cryocore`: every command, with an example.*

`cryocore VERB --help` lists the options of a verb, with further examples. `python -m cryocore.commands.page` writes
this page.

- **`--json`**: every verb answers in text, or in JSON, on standard output. Messages go to standard error, and with time
  and origin to the file that the environment variable `CRYOCORE_LOG` names.
- **Exit codes**: 0 done, 1 a fault of the program, 2 a fault of the input, which one paragraph names with its fix.
- **Completion**: `cryocore --install-completion` for bash, zsh or fish.
- **Stages** take settings from the configuration (`--config`); a rule of the workflow runs the same command line.
"""


def commands_page() -> str:
    """The page: a table of verbs under each heading, with what they do and one example."""
    return HEAD + "".join(_section(heading, verbs) for heading, verbs in VERBS.items())


def main() -> None:
    """Write the page into the working directory."""
    Path("docs/reference/commands.md").write_text(commands_page())


def _section(heading: str, verbs: tuple[Callable[..., Any], ...]) -> str:
    rows = "".join(_row(verb) for verb in verbs)
    return f"\n## {heading}\n\n| verb | what it does | for example |\n|---|---|---|\n{rows}"


def _row(verb: Callable[..., Any]) -> str:
    text = inspect.getdoc(verb) or ""
    purpose = " ".join(text.partition("\n\n")[0].split())
    example = text.partition("**Examples**")[2].split("`")[1]
    return f"| `{verb.__name__.replace('_', '-')}` | {purpose} | `{example}` |\n"


if __name__ == "__main__":
    main()
