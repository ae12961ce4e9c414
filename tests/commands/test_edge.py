from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import logging, resource, warnings
from cryocore.commands.edge import run
from cryocore.errors import InputError

def main(fault: str = "none", settings: str = "{}", write: str = "", kilobytes: int = 0) -> None:
    if write:
        import numpy as np
        from cryocore.formats.records import write_records

        resource.setrlimit(resource.RLIMIT_FSIZE, (1024 * kilobytes or -1, resource.RLIM_INFINITY))
        write_records(write, np.zeros(20000, dtype=[("uid", "<u8")]))
    logging.getLogger("cryocore.stage").info("working on it")
    if fault == "input":
        raise InputError("tilt is missing", file="/data/a very/long path/" + 60 * "x" + "/my file.star", row=7,
                         fix="Refine the particles first, in whatever program you like best")
    if fault == "warning":
        warnings.warn("careful")
    if fault == "bug":
        1 / 0
    if fault == "memory":
        OutOfMemoryError = type("OutOfMemoryError", (MemoryError,), {})
        raise OutOfMemoryError("Out of memory allocating 1,234 bytes (allocated so far: 0).")

run(main)
"""


def call(folder: Path, *arguments: str) -> tuple[int, str, str]:
    script = folder / "stage.py"
    script.write_text(SCRIPT)
    log = folder / "logs" / "stage.log"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CRYOCORE_LOG": str(log)}
    done = subprocess.run(
        [sys.executable, "-P", str(script), *arguments], env=environment, text=True, capture_output=True, check=False
    )
    assert done.stdout == ""
    return done.returncode, done.stderr, log.read_text()


def test_messages_reach_terminal_and_log(tmp_path: Path) -> None:
    code, terminal, log = call(tmp_path)
    assert (code, terminal) == (0, "stage: working on it\n")
    assert "INFO cryocore.stage: working on it" in log


def test_input_error_is_one_paragraph(tmp_path: Path) -> None:
    code, terminal, log = call(tmp_path, "--fault", "input")
    paragraphs = [p for p in terminal.split("\n\n") if p.strip()]
    assert code == 2
    assert "Traceback" not in terminal
    assert paragraphs[-1].startswith("stage: error: ")
    assert paragraphs[-1].rstrip().endswith("in whatever program you like best.")
    assert "x/my" in terminal
    assert "row 7: tilt is missing." in log.splitlines()[-1]


def test_fault_of_the_program_shows_where(tmp_path: Path) -> None:
    code, terminal, log = call(tmp_path, "--fault", "bug")
    assert code == 1
    assert terminal.count("ZeroDivisionError") == log.count("ZeroDivisionError") == 1


def test_a_full_gpu_is_no_fault_of_the_program(tmp_path: Path) -> None:
    code, terminal, log = call(tmp_path, "--fault", "memory")
    assert (code, terminal.count("Traceback")) == (2, 0)
    text = " ".join(terminal.split())
    assert "error: the GPU is full (Out of memory allocating 1,234 bytes (allocated so far: 0)). Lower" in text
    assert text.endswith("or set backend: cpu.")
    assert "OutOfMemoryError" in log and "ERROR cryocore.commands.edge: the GPU is full (Out of memory" in log


def test_warnings_go_to_the_log_too(tmp_path: Path) -> None:
    code, terminal, log = call(tmp_path, "--fault", "warning")
    assert code == 0
    assert "careful" in terminal
    assert "WARNING py.warnings" in log


@pytest.mark.parametrize("arguments", [["--unknown"], ["--fault"]])
def test_wrong_options_end_with_two(tmp_path: Path, arguments: list[str]) -> None:
    assert call(tmp_path, *arguments)[0] == 2


@pytest.mark.parametrize("name", ["folder.cs", f"{250 * 'a'}.cs"])
def test_a_file_that_cannot_be_written_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.cs").mkdir()
    code, terminal, _ = call(tmp_path, "--write", str(tmp_path / name))
    assert (code, terminal.count("Traceback")) == (2, 0)
    assert f"error: {tmp_path / name}: " in " ".join(terminal.split())
    assert not list(tmp_path.rglob(".*.cs"))


def test_a_full_disk_is_no_fault_of_the_program(tmp_path: Path) -> None:
    code, terminal, log = call(tmp_path, "--write", str(tmp_path / "a.cs"), "--kilobytes", "64")
    assert (code, terminal.count("Traceback")) == (2, 0)
    assert f"error: {tmp_path / 'a.cs'}: file too large. Make room" in " ".join(terminal.split())
    assert f"ERROR cryocore.commands.edge: {tmp_path / 'a.cs'}: file too large. Make room" in log
    assert log.splitlines()[-1] == f"OSError: [Errno 27] File too large: '{tmp_path / 'a.cs'}'"
    assert not list(tmp_path.rglob("*.cs"))
