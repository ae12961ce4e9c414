"""Tables within pages are what result files give, and results say what they are made with."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from benchmarks import blocks, machine, tables
from benchmarks.blocks import BLOCKS, NOT_MEASURED, Block, filled


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for results that the block ``scaling`` is made from."""
    monkeypatch.setattr(blocks, "RESULTS", tmp_path)
    return tmp_path / "scaling.json"


PAGE = "Before.\n\n<!-- results: scaling -->\nold\n<!-- end -->\n\nAfter.\n"


def test_a_block_is_what_its_results_give(results: Path) -> None:
    assert filled(PAGE) == PAGE.replace("old\n", NOT_MEASURED)
    each = {"scaling": "strong", "particles": 100, "wall_s": 1.0, "cpu_s": 2.0}
    rows = [{**each, "stage": stage, "shards": n} for stage in ("sum", "score", "merge") for n in (2, 1)]
    results.write_text(json.dumps({"rows": rows}))
    text = filled(PAGE)
    assert text.startswith("Before.\n\n<!-- results: scaling -->\n| shards | sum: wall, CPU |")
    assert "| 1 | 1.0, 2.0 | 1.0, 2.0 | 1.0, 2.0 |\n| 2 |" in text and text.endswith("<!-- end -->\n\nAfter.\n")
    assert filled(text) == text


def test_a_part_that_is_missing_is_told(results: Path) -> None:
    results.with_name("methods.json").write_text(json.dumps({"reslog": {}, "noise": {}}))
    assert BLOCKS["sharpening"].text() == NOT_MEASURED
    with pytest.raises(KeyError, match="values"):  # a result that is not what it should be is no missing one
        BLOCKS["noise"].text()
    with pytest.raises(KeyError, match="nosuch"):
        filled(PAGE.replace("scaling", "nosuch"))


def test_what_a_cluster_says_is_shown_without_the_request() -> None:
    said = "SLURM refused it: / no such thing / asked for: -p gpu --mem 540 / change: `jobs:`"
    case = {"said": said, "seconds": 0.24, "again": "same bytes", "left": 0, "temporary files": []}
    text = tables.sites_table({"cases": {"QOS unknown": case, "scancel": {**case, "said": "", "seconds": None}}})
    assert "| QOS unknown | SLURM refused it: / no such thing / change: `jobs:` | 0.2 | the same bytes | 0 |" in text
    assert "| scancel | nothing; it runs | - | the same bytes | 0 |" in text


def test_all_files_of_a_pattern_are_given_to_a_block_of_many(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Block("[ab].json", "noise_table", many=True).text() == NOT_MEASURED
    made = {
        name: {"made": {"one": {"date": day, "commit": "x"}}}
        for name, day in (("a", "2026-02-01"), ("b", "2026-01-01"))
    }
    for name, value in made.items():
        results.with_name(f"{name}.json").write_text(json.dumps(value))
    monkeypatch.setattr(tables, "noise_table", json.dumps)
    assert Block("[ab].json", "noise_table", many=True).text() == json.dumps(list(made.values()))
    assert Block("[ab].json", "noise_table").text() == json.dumps(made["a"])  # the newest


def test_results_say_what_they_are_made_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = tmp_path / "map.mrc"
    given.write_bytes(b"map")
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    made = machine.made_by("measure it", [given])["made"]
    assert made["commit"] == machine.AT_START and made["command"] == "measure it" and machine.commit() is None
    assert made["inputs"] == {"map.mrc": "60be9861750f"} and made["machine"] == machine.machine_name()

    def git(*arguments: str) -> None:
        who = ("-c", "user.name=x", "-c", "user.email=x@x")
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    code = tmp_path / "cryocore" / "a.py"
    code.parent.mkdir()
    code.write_text("a = 1\n")
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "x")
    head = machine.commit()
    assert head and not head.endswith("+")
    (tmp_path / "page.md").write_text("a page is no code")
    assert machine.commit() == head
    code.write_text("a = 2\n")
    assert machine.commit() == head + "+"
