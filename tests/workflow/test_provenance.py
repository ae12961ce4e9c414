"""Which files count, and by what."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from cryocore.workflow import provenance
from cryocore.workflow.provenance import Sources, code_version


@pytest.fixture
def package(tmp_path: Path) -> Path:
    files = {
        "scripts/stage.py": "from cryocore.stage import work\n",
        "cryocore/__init__.py": "",
        "cryocore/stage/__init__.py": "from .inner import work\n",
        "cryocore/stage/inner.py": (
            "from typing import TYPE_CHECKING\n"
            "import numpy\n"
            "from ..tools import first, second\n"
            "if TYPE_CHECKING:\n    from cryocore.typing_only import Thing\n"
            "def work():\n    from cryocore import late\n    launch('add.cu', 'sum_of.cu')\n"
        ),
        "cryocore/backend/kernels/add.cu": '#include "common.cuh"\n',
        "cryocore/backend/kernels/common.cuh": "// common",
        "cryocore/backend/kernels/other.cu": '#include "common.cuh"\n',
        "cryocore/stage/page.html.j2": "<html>",
        "cryocore/stage/notes.txt": "not code",
        "cryocore/stage/unused.py": "",
        "cryocore/tools/__init__.py": "def first(): ...\n",
        "cryocore/tools/second.py": "import cryocore.deep.leaf as leaf\n",
        "cryocore/deep/__init__.py": "",
        "cryocore/deep/leaf.py": "from cryocore.stage import inner\n",
        "cryocore/late.py": "",
        "cryocore/typing_only.py": "",
        "cryocore/other/__init__.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


USED = [
    "cryocore/__init__.py",
    "cryocore/backend/kernels/add.cu",
    "cryocore/backend/kernels/common.cuh",
    "cryocore/deep/__init__.py",
    "cryocore/deep/leaf.py",
    "cryocore/late.py",
    "cryocore/stage/__init__.py",
    "cryocore/stage/inner.py",
    "cryocore/stage/page.html.j2",
    "cryocore/tools/__init__.py",
    "cryocore/tools/second.py",
    "scripts/stage.py",
]


def version(root: Path) -> dict[str, str]:
    return code_version("scripts/stage.py", root=root)


def test_finds_what_the_script_reaches(package: Path) -> None:
    assert sorted(version(package)) == USED


@pytest.mark.parametrize("file", USED)
def test_every_used_file_counts_by_its_content(package: Path, file: str) -> None:
    before = version(package)
    os.utime(package / file, (1, 1))
    assert version(package) == before
    with (package / file).open("a") as stream:
        stream.write("\nx = 1\n")
    after = version(package)
    assert {name for name in before if before[name] != after[name]} == {file}


@pytest.mark.parametrize(
    "file", ["cryocore/backend/kernels/other.cu", "cryocore/typing_only.py", "cryocore/stage/notes.txt"]
)
def test_unused_files_do_not_count(package: Path, file: str) -> None:
    before = version(package)
    (package / file).write_text("changed")
    assert version(package) == before


def test_broken_file_still_counts(package: Path) -> None:
    before = version(package)
    (package / "cryocore/late.py").write_text("def (:\n")
    assert version(package)["cryocore/late.py"] != before["cryocore/late.py"]


def test_nothing_is_imported(package: Path) -> None:
    (package / "cryocore/late.py").write_text("raise SystemExit('imported')\n")
    assert "cryocore/late.py" in version(package)


def test_digests_are_kept_from_process_to_process(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, read = tmp_path / "code.json", []
    original = provenance._read

    def noted(file: Path, changed: str, module: str) -> tuple[str, Sequence[str]]:
        read.append(file.relative_to(package).as_posix())
        return original(file, changed, module)

    monkeypatch.setattr(provenance, "_read", noted)
    before = Sources(package, kept).version("scripts/stage.py")
    assert sorted(read) == USED
    assert Sources(package, kept).version("scripts/stage.py") == before
    assert len(read) == len(USED)
    (package / "cryocore/late.py").write_text("x = 1\n")
    after = Sources(package, kept).version("scripts/stage.py")
    assert read[len(USED) :] == ["cryocore/late.py"]
    assert {name for name in before if before[name] != after[name]} == {"cryocore/late.py"}
    for text in ("no json", '{"code": "of another program", "files": {}}', "[]"):
        kept.write_text(text)
        assert Sources(package, kept).version("scripts/stage.py") == after
    assert Sources(package, tmp_path / "no folder" / "code.json").version("scripts/stage.py") == after
