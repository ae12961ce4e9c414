"""A broken file, the program that meets it, and what that program has to say."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import runpy
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from cryocore.commands.check import check
from cryocore.commands.edge import run
from cryocore.commands.import_log import import_log
from cryocore.commands.replay import replay
from cryocore.config.run import parse_config
from cryocore.errors import InputError
from cryocore.workflow.settings import stage_settings
from tests.faults.conftest import SETTINGS

ROOT = Path(__file__).resolve().parents[2]
ROUND, LOG = "run/round_0", "run/log/round=0/log.parquet"
COMMANDS: dict[str, list[str]] = {
    "ingest": ["particles.star", "out/particles.parquet"],
    "plant": ["particles.star", "out"],
    "simulate": ["out", "--backend", "cpu"],
    "cache": ["run/particles.parquet", "out/transforms.npz", "--backend", "cpu"],
    "reconstruct": [
        *("run/particles.parquet", "out", "--subset", "run/round_1/subset.parquet", "--mask", f"{ROUND}/mask.mrc"),
        *("--previous-sums", f"{ROUND}/sums.npz", "--cache", "run/cache/transforms.npz", "--backend", "cpu"),
    ],
    "truth": ["run/particles.parquet", "run/simulated/truth.parquet", "out/truth.parquet"],
    "score": ["run/particles.parquet", ROUND, "out/scores.parquet", "--backend", "cpu"],
    "select": ["run/particles.parquet", LOG, "out/subset.parquet", "out/subset.star"],
    "validate": [
        *(LOG, ROUND, "out/metrics.json"),
        *("--truth", "run/truth.parquet", "--true-map", "run/simulated/true_map.mrc"),
    ],
}
"""Command lines of the scripts, within a copy of the valid data set."""
VERBS: dict[str, tuple[Callable[..., Any], *tuple[str, ...]]] = {
    "cryocore check": (check, "my.yaml"),
    "cryocore replay": (replay, "run"),
    "cryocore import-log": (import_log, "log.txt", "out"),
}


@dataclass(frozen=True)
class Case:
    """``breaks`` is called with the path of ``file``; ``says`` is a regular expression.

    ``program`` is a script or a verb of ``cryocore``; ``settings`` are merged into the stage's.
    """

    program: str
    file: str
    breaks: Callable[[Path], object]
    says: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    names: str | None = None
    """What the message has to name, where it is not the file."""


@dataclass(frozen=True)
class Outcome:
    """Exit code, what was printed on standard error, and the error behind it."""

    code: int
    text: str
    error: InputError | OSError | None


def meet(case: Case, folder: Path) -> Outcome:
    """Run the program in ``folder``, in this process."""
    if case.program in VERBS:
        verb, *arguments = VERBS[case.program]
        return _outcome(folder, ["cryocore", *arguments], lambda: run(verb))
    settings = _merged(stage_settings(parse_config(SETTINGS), case.program, 1), case.settings)
    script = f"{ROOT}/scripts/{case.program}.py"
    arguments = [script, *COMMANDS[case.program], *(["--settings", json.dumps(settings)] if settings else [])]
    return _outcome(folder, arguments, lambda: runpy.run_path(script))


def _outcome(folder: Path, arguments: list[str], program: Callable[[], Any]) -> Outcome:
    text, code = io.StringIO(), 0
    with (
        _own_logging() as errors,
        contextlib.chdir(folder),
        mock.patch.object(sys, "argv", arguments),
        contextlib.redirect_stderr(text),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        try:
            program()
        except SystemExit as end:
            code = int(end.code or 0)
    return Outcome(code, text.getvalue(), errors[-1] if errors else None)


@contextlib.contextmanager
def _own_logging() -> Iterator[list[Any]]:
    """Leave the handlers of the test runner as they are; yields the errors that a program ends with."""
    root, errors = logging.getLogger(), []
    handlers, root.handlers = root.handlers, []
    spy = logging.Handler(logging.ERROR)
    spy.emit = lambda record: errors.append(record.args[0] if record.args else record.exc_info[1])  # type: ignore[method-assign,index,misc]
    logging.getLogger("cryocore.commands.edge").addHandler(spy)
    try:
        yield errors
    finally:
        logging.getLogger("cryocore.commands.edge").removeHandler(spy)
        logging.captureWarnings(False)
        root.handlers = handlers


def _merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for key, value in changes.items():
        merged[key] = _merged(merged[key], value) if isinstance(value, Mapping) else value
    return merged


def write(content: bytes | str) -> Callable[[Path], object]:
    """Other content in place of the file's."""
    data = content.encode() if isinstance(content, str) else content
    return lambda path: path.write_bytes(data)


def patch(offset: int, values: Any, dtype: str = "<i4") -> Callable[[Path], object]:
    """Other bytes at one place."""

    def change(path: Path) -> None:
        content, raw = bytearray(path.read_bytes()), np.array(values, dtype=dtype).tobytes()
        content[offset : offset + len(raw) if offset + len(raw) else None] = raw
        path.write_bytes(content)

    return change


def cut(n_bytes: int) -> Callable[[Path], object]:
    """The first bytes, or all but the last ones."""
    return lambda path: path.write_bytes(path.read_bytes()[:n_bytes])


def remove(path: Path) -> None:
    """No file."""
    path.unlink()


def directory(path: Path) -> None:
    """A folder in place of the file."""
    path.unlink()
    path.mkdir()


def cycle(path: Path) -> None:
    """A link to itself."""
    path.unlink()
    path.symlink_to(path)


def copied(valid: Path, to: Path) -> Path:
    """A copy that a case may break."""
    return Path(shutil.copytree(valid, to, symlinks=True))
