from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from typer.main import get_command

from cryocore.commands.app import VERBS, app
from cryocore.commands.page import commands_page

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(verb.__name__.replace("_", "-") for verbs in VERBS.values() for verb in verbs)


def test_page_is_up_to_date() -> None:
    assert (ROOT / "docs/reference/commands.md").read_text() == commands_page(), "run python -m cryocore.commands.page"


def test_verbs_are_those_of_the_program() -> None:
    assert sorted(get_command(app).commands) == NAMES


def test_examples_can_be_parsed() -> None:
    """Every example of the page names a verb, and options that it has."""
    for line in commands_page().splitlines():
        if line.startswith("| `"):
            name, example = line.split("`")[1], line.split("`")[-2]
            words = example.split()
            assert words[:2] == ["cryocore", name]
            get_command(app).commands[name].make_context(name, words[2:])


def test_shells_complete_verbs() -> None:
    known = {"_CRYOCORE_COMPLETE": "complete_bash", "COMP_WORDS": "cryocore re", "COMP_CWORD": "1"}
    code = "import sys; sys.argv[0] = 'cryocore'; from cryocore.commands.app import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **known}
    done = subprocess.run([sys.executable, "-P", "-c", code], env=environment, text=True, capture_output=True)
    assert sorted(done.stdout.split()) == [name for name in NAMES if name.startswith("re")]
