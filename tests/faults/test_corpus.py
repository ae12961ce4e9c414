"""Whatever is wrong with a file: one paragraph with file, place and remedy, exit code 2, and nothing left behind."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.faults.case import copied, meet
from tests.faults.corpus import CASES

RAW = (
    "Traceback",
    "Error:",
    "pydantic",
    "<class",
    "object at 0x",
    "Errno",
    "NoneType",
    "ndarray",
    "For further information",
)


def listing(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("name", CASES)
def test_refused_in_one_paragraph(sound: Path, tmp_path: Path, name: str) -> None:
    case = CASES[name]
    folder = copied(sound, tmp_path / "x")
    case.breaks(folder / case.file)
    before = listing(folder)
    found = meet(case, folder)
    said = " ".join(found.text.split())
    assert found.code == 2, found.text
    assert not [word for word in RAW if word in found.text]
    paragraphs = [p for p in found.text.split("\n\n") if ": error:" in p]
    assert len(paragraphs) == 1 and found.text.rstrip().endswith(paragraphs[0].rstrip())
    assert len(said) < 1500
    assert re.search(case.says, said), said
    assert (case.names or Path(case.file).name) in said
    assert len(getattr(found.error, "remedy", "Name another place")) > 5
    assert listing(folder) - before <= {"out"}


def test_the_corpus_is_large() -> None:
    assert len(CASES) >= 150
