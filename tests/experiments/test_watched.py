"""What measured numbers depend on: code, YAML files and rules, but nothing that writes pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.watched import watched

FILES = {
    "cryocore/__init__.py": "",
    "cryocore/part.py": "value = 1\n",
    "experiments/measure.py": "from cryocore.part import value\nfrom benchmarks import other\n"
    "from experiments import page\nPLAN = Path(__file__).with_name('plan.yaml')\n"
    "ALL = Path(__file__).with_name('methods')\n",
    "experiments/plan.yaml": "n: 3  # of them\n",
    "experiments/methods/mine.yaml": "command: true\n",
    "experiments/page.py": "WORDS = 1\n",
    "benchmarks/other.py": "n = 2\n",
    "rules/one.smk": "rule one:  \n    # for people\n    input: 1\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path


def changed(root: Path, name: str, text: str) -> set[str]:
    before = watched(root, ["experiments/measure.py"])
    (root / name).write_text(text)
    after = watched(root, ["experiments/measure.py"])
    return {file for file in after if after[file] != before.get(file)}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cryocore/part.py", "value = 2\n"),
        ("benchmarks/other.py", "n = 3\n"),
        ("experiments/plan.yaml", "n: 4\n"),
        ("experiments/methods/mine.yaml", "command: false\n"),
        ("experiments/methods/new.yaml", "command: true\n"),
        ("rules/one.smk", "rule one:\n    input: 2\n"),
    ],
)
def test_what_measures_counts(name: str, text: str, root: Path) -> None:
    assert changed(root, name, text) == {name}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cryocore/part.py", "value = 1  # one\n"),
        ("experiments/page.py", "WORDS = 2\n"),
        ("experiments/plan.yaml", "n: 3\nlabel: three\n"),
        ("rules/one.smk", "rule one:\n    input: 1\n"),
    ],
)
def test_what_is_said_does_not(name: str, text: str, root: Path) -> None:
    assert changed(root, name, text) == set()
