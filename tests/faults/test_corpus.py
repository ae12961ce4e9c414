"""Whatever is wrong with a file: one paragraph with file, place and fix, exit code 2, and nothing left behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.case import Case, copied, meet, remove
from tests.faults.corpus import CASES

ROOT = Path(__file__).resolve().parents[2]
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

LISTED = ("out/malformed.tsv",)
"""Where import-log lists the lines that it refuses."""


def listing(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("name", CASES)
def test_refused_in_one_paragraph(valid: Path, tmp_path: Path, name: str) -> None:
    case = CASES[name]
    folder = copied(valid, tmp_path / "x")
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
    assert len(getattr(found.error, "fix", "Name another place")) > 5
    assert listing(folder) - before <= {"out", *(LISTED if "import-log" in case.program else ())}


UNREADABLE = {
    "particles.star": "ingest",
    "a.mrcs": "ingest",
    "my.yaml": "cryocore check",
    "run/simulated/true_map.mrc": "validate",
    "run/simulated/truth.parquet": "validate",
    "run/round_0/sampling.npz": "score",
}


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser reads everything")
@pytest.mark.parametrize("file", UNREADABLE)
def test_files_of_others_are_refused(valid: Path, tmp_path: Path, file: str) -> None:
    folder = copied(valid, tmp_path / "x")
    (folder / file).chmod(0)
    found = meet(Case(UNREADABLE[file], file, remove, ""), folder)
    said = " ".join(found.text.split())
    assert found.code == 2 and "Traceback" not in said
    assert Path(file).name in said and re.search("ermission denied|not (│ │ )?readable", said)


PROGRAMS = {
    "scripts/ingest.py": ("images and maps: stack, copied in part", "ingest"),
    "-m cryocore": ("configuration: key twice", "cryocore"),
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_real_programs_end_the_same_way(valid: Path, tmp_path: Path, program: str) -> None:
    name, speaker = PROGRAMS[program]
    case, folder = CASES[name], copied(valid, tmp_path / "x")
    case.breaks(folder / case.file)
    settings = '{"root": null, "pixel_size_angstrom": null, "seed": 0, "passthrough": null, "choice": {}}'
    arguments = {
        "ingest": ["-P", str(ROOT / program), "particles.star", "out/p.parquet", "--settings", settings],
        "cryocore": ["-m", "cryocore", "check", case.file],
    }[speaker]
    command = [sys.executable, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"\n{speaker}: error: {case.file}")
    assert re.search(case.says, " ".join(done.stderr.split())) and not [word for word in RAW if word in done.stderr]


def test_the_corpus_is_large() -> None:
    assert len(CASES) >= 400
