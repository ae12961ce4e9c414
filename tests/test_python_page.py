"""docs/tutorials/python.md prints what stands there, docs/reference/public-names.md names what there is."""

from __future__ import annotations

import importlib
import inspect
import io
import re
import subprocess
import sys
import tomllib
from contextlib import redirect_stdout
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "tutorials" / "python.md"
NAMES = ROOT / "docs" / "reference" / "public-names.md"
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
ROW = re.compile(r"^\| `(cryocore[\w.]+)` \|(.+?)\|", re.MULTILINE)


def test_its_code_prints_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    blocks = BLOCK.findall(PAGE.read_text())
    assert len(blocks) >= 8
    for code, expected in blocks:
        printed = io.StringIO()
        with redirect_stdout(printed):
            exec(compile(code, str(PAGE), "exec"), names)  # noqa: S102
        assert_prints(printed.getvalue(), expected)


def assert_prints(found: str, expected: str) -> None:
    """The same text, and the same numbers but for one unit of the last digit that is shown."""
    numbers = [NUMBER.findall(text) for text in (found, expected)]
    assert NUMBER.sub("#", found) == NUMBER.sub("#", expected), found
    for one, other in zip(*numbers, strict=True):
        digits = len(other.partition(".")[2])
        assert abs(float(one.replace(",", "")) - float(other.replace(",", ""))) < 1.5 * 10.0**-digits, found


def test_a_number_that_is_off_by_more_than_its_last_digit_is_seen() -> None:
    assert_prints("0.27 of 1,200 at 6.0 Å", "0.26 of 1,200 at 6.1 Å")
    for incorrect in ("0.28 of 1,200 at 6.1 Å", "0.26 of 1,202 at 6.1 Å", "0.26 of 1,200 at 6.1 nm"):
        with pytest.raises(AssertionError):
            assert_prints(incorrect, "0.26 of 1,200 at 6.1 Å")


@pytest.mark.slow
def test_its_code_is_valid_to_mypy(tmp_path: Path) -> None:
    """With the settings, and so the cache, of ``make lint``: without that it takes half a minute."""
    script = tmp_path / "script.py"
    script.write_text("".join(code for code, _ in BLOCK.findall(PAGE.read_text())) + "reveal_type(particles.ids)\n")
    done = subprocess.run([sys.executable, "-m", "mypy", str(script)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "numpy.unsignedinteger" in done.stdout  # and not Any, as of a package without types


@pytest.mark.parametrize("module, names", ROW.findall(NAMES.read_text()))
def test_public_names_are_described_and_typed(module: str, names: str) -> None:
    if module in ("cryocore.ingest.dataset", "cryocore.reconstruct.iterative"):
        pytest.importorskip("torch")
    home = importlib.import_module(module)
    for name in re.findall(r"`(\w+)`", names):
        found = getattr(home, name)
        if inspect.isclass(found) or inspect.isfunction(found):
            assert inspect.getdoc(found), name
        if inspect.isfunction(found):
            hints = set(found.__annotations__)
            assert hints == {*inspect.signature(found).parameters, "return"}, name


def test_the_mark_of_a_typed_package_is_installed() -> None:
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["cryocore"]
    assert "py.typed" in data and (ROOT / "cryocore" / "py.typed").is_file()
