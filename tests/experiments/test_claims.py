"""Pages of measurements say what the stored results say, and results that the code has outgrown are told."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import claims
from benchmarks.claims import CLAIMS, Claim, changed_since, differs, main, measured_at


@pytest.mark.parametrize("claim", [c for c in CLAIMS if c.written], ids=lambda claim: claim.page)
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


def commit(folder: Path, *first: str) -> None:
    who = ("-c", "user.name=x", "-c", "user.email=x@x")
    for arguments in ([first] if first else []) + [("add", "-A"), (*who, "commit", "-qm", "x")]:
        subprocess.run(["git", *arguments], cwd=folder, check=True)


MINE = Claim("mine", "mine/*", "measure", lambda: iter(["said\n"]), ("scripts/stage.py",))


def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    monkeypatch.setattr(claims, "CLAIMS", (MINE,))
    claims.meaning.cache_clear()
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0), capsys.readouterr().out


def test_results_are_old_once_code_means_something_else(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = measured_at(MINE)
    assert made is not None
    assert told(monkeypatch, capsys)[0] == 0
    part = checkout / "cryocore" / "part.py"
    part.write_text('value = 1  # the same\n"""Another text."""\n')
    commit(checkout)
    assert told(monkeypatch, capsys)[0] == 0 and changed_since(made[0], MINE.code) == []
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
