"""Pages of measurements say what the stored results say, and results that the code has outgrown are told."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from benchmarks import again, blocks, claims, same
from benchmarks.claims import CLAIMS, Claim, Source, changed_since, differs, main, measured_at
from cryocore.maps import write_map
from cryocore.tables.io import write_table


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.page)
def test_a_page_is_what_its_results_give(claim: Claim) -> None:
    assert not differs(claim), f"docs/measurements/{claim.page}.md: write it again, or measure ({claim.command})"


def test_every_page_of_measurements_is_a_claim() -> None:
    pages = {page.stem for page in claims.PAGES.glob("*.md")}
    assert pages - {claim.page for claim in CLAIMS} == {"gpu"}  # of the compiler, not of measurements


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A repository with a package, its script, one result and its page."""
    monkeypatch.setattr(claims, "ROOT", tmp_path)
    monkeypatch.setattr(claims, "PAGES", tmp_path)
    files = {
        "scripts/stage.py": "from cryocore.part import value\n",
        "cryocore/__init__.py": "",
        "cryocore/part.py": 'value = 1  # one\n"""Its text."""\n',
        "benchmarks/results/mine/a.json": "{}",
        "mine.md": "said\n",
    }
    for name, text in files.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    commit(tmp_path, "init", "-q")
    claims.meaning.cache_clear()
    yield tmp_path
    claims.meaning.cache_clear()


LATER = {"GIT_COMMITTER_DATE": "2099-01-01T00:00:00Z"}


def commit(folder: Path, *first: str, **when: str) -> None:
    who = ("-c", "user.name=x", "-c", "user.email=x@x")
    for arguments in ([first] if first else []) + [("add", "-A"), (*who, "commit", "-qm", "x")]:
        subprocess.run(["git", *arguments], cwd=folder, env=os.environ | when, check=True)


SOURCE = Source("mine/*", "measure", ("scripts/stage.py",))
MINE = Claim("mine", (SOURCE,), lambda: iter(["said\n"]))


def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    monkeypatch.setattr(claims, "CLAIMS", (MINE,))
    claims.meaning.cache_clear()
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0), capsys.readouterr().out


def test_results_are_old_once_code_means_something_else(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = measured_at("mine", SOURCE)
    assert made is not None
    assert told(monkeypatch, capsys)[0] == 0
    part = checkout / "cryocore" / "part.py"
    part.write_text('value = 1  # the same\n"""Another text."""\n')
    commit(checkout)
    assert told(monkeypatch, capsys)[0] == 0 and changed_since(made[0], SOURCE.code) == []
    part.write_text("value = 2\n")
    status, text = told(monkeypatch, capsys)
    assert status == 1 and "cryocore/part.py" in text and "what they give" in text
    assert told(monkeypatch, capsys, "--pages")[0] == 0
    (checkout / "benchmarks/results/mine/a.json").write_text('{"measured": "anew"}')
    commit(checkout)
    assert told(monkeypatch, capsys)[0] == 0


def test_a_page_changed_by_hand_is_told(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (checkout / "mine.md").write_text("said, and more\n")
    for arguments in ((), ("--pages",)):
        status, text = told(monkeypatch, capsys, *arguments)
        assert status == 1 and "NOT what they give" in text


def test_what_is_measured_again_and_the_same_is_as_young_as_the_code(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = checkout / "benchmarks/results/mine/a.json"
    values = {"value": [1.0, {"deep": 2}], "date": "then", "seconds": 1.0}
    stored.write_text(json.dumps(values))
    commit(checkout)
    (checkout / "cryocore" / "part.py").write_text("value = 2\n")
    commit(checkout)
    assert told(monkeypatch, capsys)[0] == 1
    gives = {**values, "date": "now", "seconds": 9.0}
    sample = again.Sample(("a",), lambda names, store: (store / f"{names[0]}.json").write_text(json.dumps(gives)))
    monkeypatch.setattr(again, "ROOT", checkout)
    monkeypatch.setattr(again, "RECORD", checkout / "again.json")
    monkeypatch.setattr(again, "SAMPLES", {"mine": ("mine", sample)})
    head = claims.git("log", "-1", "--format=%h")
    gives["value"] = [1.0, {"deep": 2.001}]
    assert not again.again("mine", head)
    assert "a/value/1/deep: 2, and 2.001 again" in capsys.readouterr().out
    assert again.recorded() == {}
    gives["value"] = [1.00001, {"deep": 2}]
    assert again.again("mine", head)
    assert again.recorded()["mine"]["results"] == ["a"]
    status, text = told(monkeypatch, capsys)
    assert status == 0 and f"{head} " in text and "1 again" in text


def test_a_sample_vouches_for_nothing_older_than_itself(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(again, "RECORD", checkout / "again.json")
    (checkout / "cryocore" / "part.py").write_text("value = 2\n")
    (checkout / "benchmarks/results/mine/b.json").write_text('{"made": {"command": "x", "commit": null}}')
    commit(checkout, **LATER)
    head = claims.git("log", "-1", "--format=%h")
    for name, vouched in (("b", False), ("a", True)):
        again.record("mine", {"commit": head, "date": "now", "results": [name]})
        made = measured_at("mine", SOURCE)
        assert made is not None and (made[0] == head) == vouched


def test_a_change_that_computes_the_same_is_none(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = claims.meaning(None, SOURCE.code)["cryocore/part.py"]
    (checkout / "cryocore" / "part.py").write_text("value = 2\n")
    assert told(monkeypatch, capsys)[0] == 1
    now = claims.meaning(None, SOURCE.code)["cryocore/part.py"]
    monkeypatch.setattr(same, "RECORD", checkout / "same.json")
    for change, holds in (([before, "another"], False), ([None, now], False), ([before, now], True)):
        (checkout / "same.json").write_text(json.dumps({"a commit": {"files": {"cryocore/part.py": change}}}))
        assert (told(monkeypatch, capsys)[0] == 0) == holds


def test_files_that_do_not_hold_the_same_are_told(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_map(tmp_path / name / "map.mrc", np.zeros((8, 8, 8), np.float32), 1.0)
        write_table(tmp_path / name / "a.parquet", pa.table({"x": [1.0, float("nan")]}), made=name)
        (tmp_path / name / "a.star").write_text("x")
        (tmp_path / name / "report.html").write_text(name)
    given = tmp_path / "one", tmp_path / "two"
    assert list(same.differing(*given)) == []
    write_map(given[1] / "map.mrc", np.zeros((8, 8, 8), np.float32), 1.1)
    write_table(given[1] / "a.parquet", pa.table({"x": [1.0, 2.0]}))
    (given[1] / "a.star").unlink()
    assert list(same.differing(*given)) == ["a.parquet", "a.star", "map.mrc"]


def test_a_block_that_is_gone_or_unmeasured_is_told(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(blocks.BLOCKS, "mine", blocks.Block("nothing.json", "noise_table"))
    claim = replace(MINE, blocks=("mine",), written=lambda: iter([(checkout / "mine.md").read_text()]))
    assert differs(claim)  # it does not stand in the page
    (checkout / "mine.md").write_text(f"<!-- results: mine -->\n{blocks.NOT_MEASURED}<!-- end -->\n")
    assert not differs(claim) and claims.unmeasured(claim) == ["mine"]


def test_samples_are_results_that_there_are() -> None:
    assert set(again.SAMPLES) <= {claim.page for claim in CLAIMS}
    for folder, sample in again.SAMPLES.values():
        for name in sample.names:
            assert (claims.RESULTS / folder / f"{name}.json").exists()


def test_values_that_differ() -> None:
    stored = {"a": 1.0, "b": None, "c": [1, 2], "gone": 1, "m": {"scores": 1}, "f": {"scores": 1}, "n": 1.0}
    found = {"a": 1.0001, "b": 2.0, "c": [1], "new": 1, "m": {"skipped": "not here"}, "f": {"failed": "x"}, "n": np.nan}
    said = list(again.differences(stored, found))
    assert [text.split(":")[0] for text in said] == ["/b", "/c", "/f/scores", "/gone", "/n"]
