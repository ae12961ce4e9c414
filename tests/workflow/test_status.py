"""Where a run is: what its logs tell of jobs that are done, at work, failed, or ended by SLURM."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cryocore.commands.app import app
from cryocore.errors import InputError
from cryocore.workflow.status import run_status

LINE = "2026-03-01 10:00:00,123 INFO cryocore.score.stage: scored\n"
TIMES = "s\th:m:s\tmax_rss\n12.34\t0:00:12\t400\n"


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """A run that Snakemake is at: round 0 done, of round 1 one shard failed and one is at work."""
    folder = tmp_path / "logs" / "mine"
    for name in ("ingest", "reconstruct/round_0", "score/round_0_shard_0", "score/round_0_shard_1", "validate/round_0"):
        write(folder / name, LINE, done=True)
    fault = "2026-03-01 10:00:09,000 ERROR cryocore.commands.edge: images.mrcs: truncated. Copy it again.\n"
    write(folder / "sum/round_1_shard_0", LINE + fault)
    write(folder / "sum/round_1_shard_1", LINE)
    (tmp_path / ".snakemake/locks").mkdir(parents=True)
    (tmp_path / ".snakemake/locks/0.input.lock").touch()
    return folder


def write(path: Path, text: str, *, done: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".log").write_text(text)
    if done:
        path.with_suffix(".tsv").write_text(TIMES)


def test_done_at_work_and_failed_jobs_are_distinguished(logs: Path) -> None:
    found = run_status(logs)
    states = {(j.stage, j.round, j.shard): j.state for j in found.jobs}
    assert states["score", 0, 1] == "done" and states["sum", 1, 1] == "at work" and states["sum", 1, 0] == "failed"
    lines = found.text.splitlines()
    assert "ingest: 12 s" in lines
    assert ["round", "sum", "reconstruct", "score", "validate"] in [line.split() for line in lines]
    assert ["0", "-", "12", "s", "25", "s", "12", "s"] in [line.split() for line in lines]
    assert "sum of round 1, shard 0 failed: images.mrcs: truncated. Copy it again." in lines
    assert f"    see {logs / 'sum/round_1_shard_0.log'}" in lines
    assert lines[-1] == "At work: sum of round 1, shard 1."


def test_a_full_disk_leaves_empty_run_times(logs: Path) -> None:
    write(logs / "ingest", "")
    (logs / "ingest.tsv").write_text("")
    assert {j.stage: j.state for j in run_status(logs, ended=True).jobs}["ingest"] == "unfinished"


def test_a_crash_is_told_by_its_last_line(logs: Path) -> None:
    crash = "2026-03-01 10:00:09,000 CRITICAL cryocore.commands.edge: stopped by a fault of the program\n"
    write(logs / "sum/round_1_shard_0", crash + "Traceback (most recent call last):\n  x\nKeyError: 7\n")
    assert "sum of round 1, shard 0 failed: KeyError: 7" in run_status(logs).text


@pytest.mark.parametrize(
    "line",
    [
        "slurmstepd: error: *** STEP 5.0 ON vm CANCELLED AT 2026-03-01T10:01:12 DUE TO TIME LIMIT ***",
        "slurmstepd-vm: error: Step 5.0 exceeded memory limit (900 > 700), being killed",
        "slurmstepd: error: Detected 1 oom_kill event in StepId=5.0. Some of the step tasks have been OOM Killed.",
    ],
)
@pytest.mark.parametrize("folder", ["rule_sum/1_1", "group_round_1_reconstruct_sum", "group_rounds_reconstruct_sum"])
def test_what_slurm_ended_is_unfinished_and_says_why(logs: Path, line: str, folder: str) -> None:
    (logs.parent.parent / ".snakemake/locks/0.input.lock").unlink()
    slurm = logs.parent / "slurm" / folder / "5.log"
    slurm.parent.mkdir(parents=True)
    slurm.write_text(f"host: vm\n{line}\n")
    text = run_status(logs).text
    assert f"sum of round 1, shard 1 unfinished: {line} ({slurm})" in text
    assert text.splitlines()[-1].startswith("Nothing is at work. Mend what failed and run the same snakemake command")


def test_a_job_that_runs_again_is_not_done_any_more(logs: Path) -> None:
    log = logs / "score/round_0_shard_0.log"
    later = log.stat().st_mtime + 60
    os.utime(log, (later, later))
    jobs = run_status(logs, now=later + 5).jobs
    assert next(j.state for j in jobs if (j.stage, j.shard) == ("score", 0)) == "at work"
    jobs = run_status(logs, now=later + 3600).jobs
    assert next(j.state for j in jobs if (j.stage, j.shard) == ("score", 0)) == "unfinished"


def test_the_command_takes_a_name_or_a_folder(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(logs.parent.parent)
    for run in ("mine", "results/mine", str(logs.parent.parent / "results/mine")):
        done = CliRunner().invoke(app, ["status", run, "--json"])
        assert {job["stage"] for job in json.loads(done.stdout)} >= {"ingest", "sum", "score"}
    with pytest.raises(InputError, match="no job of this run has written a log"):
        run_status(logs.parent / "other")
