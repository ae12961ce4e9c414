"""Stages as steps of a job, with a stand-in for ``srun``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cryocore.workflow.notices import FILE, Notice, job_name, job_of, read_notices
from cryocore.workflow.status import run_status
from cryocore.workflow.step import for_a_step

LOG = "logs/demo/score/round_1_shard_7.log"


@pytest.fixture
def srun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to run in, where ``srun`` keeps what it is given and goes on as the file ``then`` says."""
    program = tmp_path / "bin/srun"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@" >given\n. ./then\n')
    program.chmod(0o755)
    (tmp_path / LOG).parent.mkdir(parents=True)
    (tmp_path / LOG).touch()
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    for name, value in {"SLURM_JOB_ID": "52", "SLURM_CONF": "/etc/slurm.conf", "CRYOCORE_LOG": LOG}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return tmp_path


COMMAND = ["python", "-P", "score.py", "--threads", "4"]


def begin(mb: int = 700, node_mb: int = 8000, gpus: int = 1) -> subprocess.Popen[str]:
    given = ["--node-mb", str(node_mb), "--threads", "4", "--mb", str(mb), "--gpus", str(gpus), "--", *COMMAND]
    command = [sys.executable, "-P", "-m", "cryocore.workflow.step", *given]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)


def run(folder: Path, then: str = "", **needs: int) -> tuple[int, str]:
    """The exit status of a step whose ``srun`` goes on with a few lines of shell, and what it says."""
    (folder / "then").write_text(then)
    process = begin(**needs)
    said = process.communicate(timeout=60)[1]
    return process.returncode, said


def given(folder: Path) -> list[str]:
    return (folder / "given").read_text().splitlines()


def test_a_step_asks_for_what_the_stage_needs_and_the_node_has(srun: Path) -> None:
    assert run(srun) == (0, "")
    assert given(srun)[-len(COMMAND) :] == COMMAND
    wanted = {"--nodes=1", "--ntasks=1", "--exact", "--cpus-per-task=4", "--job-name=score:r=1,s=7"}
    assert wanted | {"--mem=700M", "--gres=gpu:1"} <= set(given(srun))
    run(srun, mb=9000, gpus=0)
    assert wanted | {"--mem=8000M", "--gres=none"} <= set(given(srun))
    run(srun, node_mb=0)
    assert wanted <= set(given(srun)) and not any(option.startswith("--mem") for option in given(srun))


def test_what_the_job_was_given_is_not_asked_for_again() -> None:
    kept = {"SLURM_CONF": "c", "SLURM_JOB_ID": "52", "PATH": "/bin", "CRYOCORE_LOG": LOG, "OMP_NUM_THREADS": "4"}
    dropped = dict.fromkeys(("SLURM_GPUS_PER_NODE", "SLURM_MEM_PER_NODE", "SLURM_NTASKS", "CUDA_VISIBLE_DEVICES"), "2")
    assert for_a_step({**kept, **dropped}) == kept


def test_what_slurm_ends_is_told_with_its_words_and_what_to_change(srun: Path) -> None:
    """Words of SLURM 22.05."""
    said = """
score: a warning of the stage
srun: Job 52 step creation temporarily disabled, retrying (Requested nodes are busy)
srun: Step created for job 52
slurmstepd-n1: error: StepId=52.21 exceeded memory limit (207654912 > 52428800), being killed
srun: Job step aborted: Waiting up to 4 seconds for job step to finish.
srun: error: n1: task 0: Killed
"""
    assert run(srun, f"cat >&2 <<'END'{said}END\nexit 137") == (137, said[1:])
    words = [
        "SLURM ended score of round 1, shard 7 (SLURM job 52):",
        "    StepId=52.21 exceeded memory limit (207654912 > 52428800), being killed",
        "    n1: task 0: Killed",
        "    asked for: srun --cpus-per-task=4 --mem=700M --gres=gpu:1",
        "    change: `--set-resources RULE:mem_mb=MB` behind the name of the script, or `--mem` of sbatch",
    ]
    assert "\n".join(words) in run_status(srun / "logs/demo").text


@pytest.mark.parametrize(
    "said, change",
    [
        ("Step requested gres_per_node=gpu:3 is more than the job's gres_per_node=gpu:2", "`--gpus-per-node`"),
        ("*** STEP 52.24 ON n1 CANCELLED AT 2026-11-30T00:52:28 ***", "nothing: submit the job again"),
        ("n1: task 0: Segmentation fault", ""),
    ],
)
def test_advice_is_that_for_a_job(said: str, change: str) -> None:
    advice = Notice("ended", ("score:r=0",), "srun --cpus-per-task=4", said).advice
    assert advice.startswith(change) and bool(advice) == bool(change)


@pytest.mark.parametrize("then", ["echo 'srun: error: n1: task 0: Exited with exit code 2' >&2; exit 2", "exit 0"])
def test_nothing_is_told_of_a_stage_that_ends_by_itself(srun: Path, then: str) -> None:
    assert run(srun, then)[0] == int(then[-1])
    assert not (srun / "logs/demo" / FILE).exists()


def test_an_interrupt_waits_for_srun_to_end_the_stage(srun: Path) -> None:
    stops = "trap 'echo srun: sending Ctrl-C to StepId=52.1 >&2; exit 5' INT; touch begun; while :; do sleep 0.1; done"
    (srun / "then").write_text(stops)
    process = begin()
    until = time.monotonic() + 60
    while not (srun / "begun").exists():
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    assert "Ctrl-C" in process.communicate(timeout=60)[1]
    assert process.returncode == 5
    assert read_notices(srun / "logs/demo" / FILE) == []


@pytest.mark.parametrize("name", ["score:r=1,s=7", "reconstruct:r=0", "sum:s=3", "ingest:"])
def test_a_job_is_known_by_its_log(name: str) -> None:
    stage, _, numbers = name.partition(":")
    values = dict(pair.split("=") for pair in numbers.split(",") if pair)
    shard = f"_shard_{values['s']}" if "s" in values else ""
    log = Path("logs/demo", f"{stage}/round_{values['r']}{shard}.log" if "r" in values else f"{stage}{shard}.log")
    assert job_name(*job_of(log)) == name
