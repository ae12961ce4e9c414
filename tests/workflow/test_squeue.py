"""The stand-in for squeue: when it answers, and how often it asks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cryocore.workflow import squeue
from cryocore.workflow.notices import Notice, read_notices
from cryocore.workflow.sbatch import NOTICES

GIVEN = ["--format=%i|%T", "--states=all", "--noheader", "--name", "cryo_1"]


class Cluster:
    """A squeue that answers by the number of times it was asked, and a clock that sleep moves on."""

    def __init__(self, folder: Path, *answers: str) -> None:
        self.now = 1000.0
        self.asked = folder / "asked"
        for i, answer in enumerate(answers):
            (folder / f"answer{i + 1}").write_text(answer.replace(" ", "\n") + "\n" if answer else "")
        script = f'cd "{folder}"; echo x >> asked; n=$(wc -l < asked); while [ ! -f answer$n ]; do n=$((n-1)); done'
        (folder / "squeue").write_text(f"#!/bin/sh\n{script}; cat answer$n\n")
        (folder / "squeue").chmod(0o755)

    def ask(self, *arguments: str) -> int:
        return squeue.main(arguments or GIVEN, self.sleep, lambda: self.now)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    @property
    def times(self) -> int:
        return self.asked.read_text().count("x")


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", f"{tmp_path}:{Path(sys.executable).parent}:/usr/bin:/bin")
    monkeypatch.setenv(NOTICES, str(tmp_path / "slurm.jsonl"))
    return lambda *answers: Cluster(tmp_path, *answers)


def test_it_answers_as_soon_as_a_job_has_ended(cluster, capsys: pytest.CaptureFixture[str]) -> None:
    slurm = cluster("7|RUNNING 8|PENDING", "7|RUNNING 8|PENDING", "7|COMPLETED 8|RUNNING", "7|COMPLETED 8|RUNNING")
    assert slurm.ask() == 0
    assert capsys.readouterr().out == "7|COMPLETED\n8|RUNNING\n"
    assert (slurm.times, slurm.now) == (3, 1004.0)
    slurm.ask()  # the end of 7 is known: it waits for that of 8
    assert slurm.times > 10 and 1040 < slurm.now < 1050


def test_an_end_between_two_questions_is_told_at_once(cluster) -> None:
    slurm = cluster("7|RUNNING", "7|RUNNING")
    slurm.ask()
    asked, now = slurm.times, slurm.now
    for file in slurm.asked.parent.glob("answer*"):
        file.write_text("7|TIMEOUT\n")
    slurm.ask()
    assert (slurm.times, slurm.now) == (asked + 1, now)


def test_a_job_that_came_and_ended_meanwhile_is_told_again(cluster, capsys: pytest.CaptureFixture[str]) -> None:
    slurm = cluster("7|RUNNING", "7|RUNNING 8|COMPLETED", "7|RUNNING 8|COMPLETED")
    slurm.ask()
    assert "8|COMPLETED" in capsys.readouterr().out
    now = slurm.now
    slurm.ask()
    assert "8|COMPLETED" in capsys.readouterr().out and slurm.now == now


def test_a_job_that_is_preempted_for_good_has_ended(cluster, capsys: pytest.CaptureFixture[str]) -> None:
    """Snakemake's plugin waits for one that is PREEMPTED, whose state no longer changes."""
    slurm = cluster("7|RUNNING 8|RUNNING", "7|PREEMPTED 8|RUNNING")
    assert slurm.ask() == 0
    assert capsys.readouterr().out == "7|CANCELLED\n8|RUNNING\n"
    assert (slurm.times, slurm.now) == (2, 1002.0)


def test_a_job_that_is_put_back_is_waited_for_and_told_once(cluster, tmp_path: Path, capsys) -> None:
    """What the scheduler said of it stands in the log of its first start."""
    log = tmp_path / "7.log"
    log.write_text("slurmstepd-vm: error: *** JOB 7 ON vm CANCELLED AT 2026-03-01T10:00:00 DUE TO PREEMPTION ***\n")
    (tmp_path / "scontrol").write_text(f"#!/bin/sh\necho 'JobState=PENDING Reason=BeginTime StdOut={log}'\n")
    (tmp_path / "scontrol").chmod(0o755)
    Notice("submitted", ("reconstruct:r=1", "score:r=1"), "-p gpu", "", "7").write(tmp_path / "slurm.jsonl")
    slurm = cluster("7|RUNNING 8|PENDING", "7|PENDING 8|PENDING", "7|PENDING 8|PENDING", "7|RUNNING 8|COMPLETED")
    assert slurm.ask() == 0
    assert capsys.readouterr().out == "7|RUNNING\n8|COMPLETED\n"
    _, notice = read_notices(tmp_path / "slurm.jsonl")
    assert notice.text.splitlines() == [
        "SLURM put back reconstruct and score of round 1 (SLURM job 7), and starts it again:",
        "    *** JOB 7 ON vm CANCELLED AT 2026-03-01T10:00:00 DUE TO PREEMPTION ***",
        "    asked for: -p gpu",
        "    change: nothing: leave Snakemake at work",
    ]


def test_long_jobs_are_asked_for_rarely(cluster) -> None:
    slurm = cluster("7|RUNNING")
    gap_s = 3.0
    while slurm.now < 1000 + 3600:
        slurm.ask()
        slurm.sleep(gap_s)
        gap_s = min(gap_s + 10, 180.0)  # as the plugin does
    assert slurm.times <= 50


@pytest.mark.parametrize("arguments", [["--me"], ["--states=PENDING"]])
def test_other_questions_are_passed_on(cluster, arguments: list[str]) -> None:
    slurm = cluster("7|RUNNING")
    assert slurm.ask(*arguments) == 0
    assert (slurm.times, slurm.now) == (1, 1000.0)


def test_a_state_file_that_cannot_be_read_counts_for_nothing(cluster, tmp_path: Path) -> None:
    (tmp_path / squeue.FILE).write_text("{")
    slurm = cluster("7|COMPLETED")
    assert slurm.ask() == 0 and slurm.times == 1
