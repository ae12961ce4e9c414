"""Threads of the host keep to what a job was given."""

from __future__ import annotations

import os
import threading

import pytest
import typer
from typer.testing import CliRunner

from cryocore.commands.stages import options
from cryocore.cores import THREADS, available_cores, in_threads


@pytest.mark.parametrize(("limit", "cores"), [("", 64), ("3", 3), ("0", 1), ("100", 64), ("many", 64)])
def test_cores_are_those_of_the_process_and_the_job(monkeypatch: pytest.MonkeyPatch, limit: str, cores: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)))
    monkeypatch.setenv(THREADS, limit)
    assert available_cores() == cores


def test_a_command_line_limits_the_threads_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)))
    program, seen = typer.Typer(), []

    @program.command()
    def work(*, threads: options.Threads = 2) -> None:
        names: set[int] = set()
        both = threading.Barrier(threads)

        def note(item: int) -> None:
            names.add(threading.get_ident())
            both.wait(timeout=20)  # no thread takes two

        in_threads(note, range(threads))
        seen.append((threads, available_cores(), len(names)))

    for given in (["--threads", "3"], []):
        assert CliRunner().invoke(program, given).exit_code == 0
    assert seen == [(3, 3, 3), (2, 2, 2)]
