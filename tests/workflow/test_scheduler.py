"""What SLURM says reaches the user: kept by the stand-in for sbatch, told beside Snakemake, shown by the status.

The commands of SLURM are scripts that answer in the words of SLURM 22.05, taken down from a cluster.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import resource
import subprocess
import sys
import time
import zlib
from pathlib import Path
from types import SimpleNamespace

import pytest

from cryocore.errors import InputError
from cryocore.workflow import sbatch
from cryocore.workflow.notices import Notice, last_of_each_job, read_notices
from cryocore.workflow.scheduler import not_started, why_ended
from cryocore.workflow.status import run_status
from cryocore.workflow.watch import SchedulerWatch, require_writable, to_tell

WRAP = "--wrap=python -m snakemake --target-jobs 'reconstruct:r=1' 'select:r=1' --cores 'all'"
GIVEN = [
    "--parsable",
    "--job-name",
    "cryo_1",
    "--output",
    "logs/%j.log",
    "--export=ALL",
    "--comment",
    "rule_x",
    "-p",
    "gpu",
]
GIVEN += ["-t", "120", "--mem", "16000", "--cpus-per-task=8", "-D", "/work", "--gpus=1", WRAP]
REQUEST = "-p gpu -t 120 --mem 16000 --cpus-per-task=8 --gpus=1"
JOBS = ("reconstruct:r=1", "select:r=1")
MEMORY = (
    "sbatch: error: Memory specification can not be satisfied\n"
    "sbatch: error: Batch job submission failed: Requested node configuration is not available"
)

POLICY = (
    "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy"
    " (job submit limit, user's size and/or time limits)"
)


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write commands of SLURM, by name and text of a shell script, that come first in PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{Path(sys.executable).parent}:/usr/bin:/bin")

    def write(**texts: str) -> None:
        for name, text in texts.items():
            (folder / name).write_text(f"#!/bin/sh\n{text}\n")
            (folder / name).chmod(0o755)

    write(scontrol="exit 1", sacct="exit 1", squeue="exit 1")
    return write


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of notices of a run."""
    file = tmp_path / "logs/mine/slurm.jsonl"
    monkeypatch.setenv(sbatch.NOTICES, str(file))
    return file


def refusing(words: str, status: int = 1) -> str:
    return f"cat >&2 <<'END'\n{words}\nEND\nexit {status}"


def test_a_refusal_is_passed_on_and_kept(commands, kept: Path) -> None:
    commands(sbatch=refusing(MEMORY))
    environment = {**os.environ, "PATH": f"{sbatch.FOLDER}:{os.environ['PATH']}", "PYTHONPATH": os.getcwd()}
    done = subprocess.run(["sbatch", *GIVEN], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (1, "", MEMORY)
    (notice,) = read_notices(kept)
    assert (notice.kind, notice.jobs, notice.request, notice.said) == ("refused", JOBS, REQUEST, MEMORY)
    assert notice.text.splitlines() == [
        "SLURM refused reconstruct and select of round 1, and is not asked again:",
        *(f"    {line}" for line in MEMORY.splitlines()),
        f"    asked for: {REQUEST}",
        "    change: `max_mem_mb:` of the partition in partitions.yaml of the profile,"
        " or `mem_mb` of the rule in config.yaml of the profile",
    ]


def test_a_job_that_is_taken_keeps_its_number(commands, kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands(sbatch='echo "$@" > "$0.given"; echo "17;cluster"')
    assert sbatch.main(GIVEN) == 0
    assert capsys.readouterr().out == "17;cluster\n"
    (notice,) = read_notices(kept)
    assert (notice.kind, notice.slurm_job, notice.said) == ("submitted", "17", "")
    assert (kept.parents[2] / "bin/sbatch.given").read_text().strip() == " ".join(GIVEN)


def test_each_task_of_an_array_has_its_number(commands, kept: Path) -> None:
    def command(shard: int) -> str:
        return f"python -m snakemake --target-jobs 'sum:r=0,s={shard}' --cores all"

    packed = {str(task): zlib.compress(command(task - 1).encode()).hex() for task in (2, 3)}
    option = f"--slurm-jobstep-array-execs={base64.b64encode(json.dumps(packed).encode()).decode()}"
    given = ["--comment", "rule_sum_wildcards_0_0", "--mem", "500", "--array=1-3", f"--wrap={command(0)} {option}"]
    commands(sbatch="echo 17")
    assert sbatch.main(given) == 0
    assert [(n.kind, n.slurm_job, n.jobs, n.request) for n in read_notices(kept)] == [
        ("submitted", f"17_{task}", (f"sum:r=0,s={task - 1}",), "--mem 500 --array=1-3") for task in (1, 2, 3)
    ]
    commands(sbatch=refusing(MEMORY))
    assert sbatch.main(given) == 1
    refused = read_notices(kept)[-1]
    assert (refused.kind, refused.jobs) == ("refused", ("sum:r=0,s=0", "sum:r=0,s=1", "sum:r=0,s=2"))
    assert "SLURM refused sum of round 0" in refused.text


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("Unable to contact slurm controller (connect failure)", 3),
        ("sbatch: error: Batch job submission failed: Rate limit exceeded, please retry momentarily", 3),
        (MEMORY, 1),
    ],
)
def test_only_a_scheduler_that_does_not_answer_is_asked_again(commands, kept: Path, words: str, asked: int) -> None:
    commands(sbatch=f"echo x >> $0.asked\n{refusing(words)}")
    assert sbatch.main(GIVEN, waits_s=(0.0, 0.0)) == 1
    assert (kept.parents[2] / "bin/sbatch.asked").read_text().count("x") == asked


def test_a_script_from_the_standard_input_is_handed_on(commands, kept: Path) -> None:
    commands(sbatch='cat > "$0.script"; echo 3')
    command = [sys.executable, "-m", "cryocore.workflow.sbatch", "--comment", "rule_ingest", "/dev/stdin"]
    subprocess.run(command, input="#!/bin/sh\ntrue\n", text=True, check=True, capture_output=True)
    assert (kept.parents[2] / "bin/sbatch.script").read_text() == "#!/bin/sh\ntrue\n"
    assert read_notices(kept)[0].jobs == ("ingest:",)


@pytest.mark.parametrize(
    ("said", "change"),
    [
        (MEMORY, "max_mem_mb"),
        ("sbatch: error: invalid partition specified: nosuch", "names of partitions"),
        ("Batch job submission failed: Invalid account or account/partition combination specified", "slurm_account"),
        ("Batch job submission failed: Requested time limit is invalid (missing or exceeds some limit)", "max_runtime"),
        ("Batch job submission failed: Invalid qos specification", "slurm-qos"),
        (f"sbatch: error: QOSMaxWallDurationPerJobLimit\n{POLICY}", "max_runtime"),
        (f"sbatch: error: AssocMaxSubmitJobLimit\n{POLICY}", "`jobs:`"),
        (f"sbatch: error: QOSMaxMemoryPerJob\n{POLICY}", "slurm-qos"),
        ("Batch job submission failed: Invalid generic resource (gres) specification", "max_gpu"),
        ("Batch job submission failed: Requested node configuration is not available", "max_gpu"),
        ("Batch job submission failed: Requested reservation is invalid", "slurm-reservation"),
        ("Batch job submission failed: Invalid feature specification", "constraint"),
        ("PartitionConfig", "set-threads"),
        ("PartitionTimeLimit", "max_runtime"),
        ("ReqNodeNotAvail, UnavailableNodes:vm", "sinfo -R"),
        ("TIMEOUT, TimeLimit after 00:01:11 of 00:01:00 on vm", "max_runtime"),
        ("FAILED: Snakemake finds no place for its cache on the node: OSError: [Errno 30]", "export XDG_CACHE_HOME="),
        ("PREEMPTED after 00:00:05 of 00:30:00 on vm", "a partition of higher priority"),
        ("NODE_FAIL after 00:00:05 of 00:30:00 on vm", "sinfo -R"),
    ],
)
def test_the_line_to_change_goes_by_the_words(said: str, change: str) -> None:
    assert change in Notice("refused", JOBS, said=said).advice


def test_why_a_job_ended(commands, tmp_path: Path) -> None:
    log = tmp_path / "my work/r=0/5.log"
    log.parent.mkdir(parents=True)
    killed = "Step 5.0 exceeded memory limit (900 > 700), being killed"
    log.write_text(f"host: vm\nslurmstepd-vm: error: {killed}\n")
    known = (
        f"JobId=5 JobState={{}} Reason={{}} ExitCode={{}} RunTime=00:01:11 TimeLimit=00:01:00 NodeList=vm StdOut={log}"
    )
    commands(scontrol=f"echo '{known.format('FAILED', 'NonZeroExitCode', '1:0')}'")
    assert why_ended("5") == killed
    log.write_text("ValueError: the program's own fault\n")
    assert why_ended("5") == ""
    log.write_text(
        'Traceback (most recent call last):\n  File "/x/snakemake/sourcecache.py", line 791, in __init__\n'
        '    os.makedirs(self.cache_path, exist_ok=True)\n  File "<frozen os>", line 225, in makedirs\n'
        "PermissionError: [Errno 13] Permission denied: '/home/me'\nsrun: error: vm: task 0: Exited\n"
    )
    no_place = "PermissionError: [Errno 13] Permission denied: '/home/me'"
    assert why_ended("5") == f"FAILED: Snakemake finds no place for its cache on the node: {no_place}"
    commands(scontrol=f"echo '{known.format('TIMEOUT', 'TimeLimit', '0:15')}'")
    assert why_ended("5") == "TIMEOUT, TimeLimit after 00:01:11 of 00:01:00 on vm"
    commands(scontrol=f"echo '{known.format('FAILED', 'NonZeroExitCode', '0:53')}'")
    assert why_ended("5") == f"FAILED: its log cannot be written on the node: {log}"
    commands(scontrol="exit 1", sacct="echo 'CANCELLED by 0|None|0:0|00:00:09|00:30:00|vm'")
    assert why_ended("5") == "CANCELLED after 00:00:09 of 00:30:00 on vm"
    commands(sacct="exit 1")
    assert why_ended("5") == ""


def record(event: str, **values: object) -> logging.LogRecord:
    """A message as Snakemake hands it to its handlers."""
    made = logging.LogRecord("snakemake", logging.ERROR, "", 0, "Error", (), None)
    made.__dict__.update(event=event, **values)
    return made


@pytest.fixture
def watch(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> SchedulerWatch:
    rules = {name: SimpleNamespace(restart_times=2) for name in ("select", "reconstruct", "score")}
    return SchedulerWatch(tmp_path / "logs/mine", logging.getLogger("snakemake"), rules)


def test_a_refusal_is_told_once_and_not_tried_again(
    watch: SchedulerWatch, kept: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Notice("refused", JOBS, REQUEST, MEMORY).write(kept)
    watch.emit(record("group_error", job_error_info=[], groupid="choosing_1"))
    watch.emit(record("job_error", indent=True, aux={}))
    watch.emit(record("job_error", indent=False, aux={}))
    assert caplog.messages == [read_notices(kept)[0].text]
    assert {name: rule.restart_times for name, rule in watch.rules.items()} == {
        "select": 0,
        "reconstruct": 0,
        "score": 2,
    }


def test_what_is_put_back_is_told_once(watch: SchedulerWatch, kept: Path, caplog: pytest.LogCaptureFixture) -> None:
    Notice("submitted", JOBS, REQUEST, "", "5").write(kept)
    for told in (1, 2):
        Notice("put back", JOBS, REQUEST, "*** JOB 5 ON vm CANCELLED DUE TO PREEMPTION ***", "5").write(kept)
        for _ in range(2):
            watch._tell_put_back(read_notices(kept))
        assert len(caplog.messages) == told
    assert "SLURM put back reconstruct and select of round 1 (SLURM job 5), and starts it again:" in caplog.text
    assert "SLURM put back" in run_status(kept.parent).text
    begun = kept.parent / "reconstruct/round_1.log"
    begun.parent.mkdir()
    begun.write_text("2026-03-01 10:00:00,123 INFO cryocore.reconstruct.stage: begun\n")
    assert "SLURM put back" not in run_status(kept.parent).text


@pytest.mark.parametrize(
    "failed",
    [record("group_error", external_jobid="5"), record("job_error", indent=False, aux={"external_jobid": "5"})],
)
def test_a_job_that_slurm_ended_is_told_with_what_it_asked_for(
    watch: SchedulerWatch, kept: Path, commands, caplog: pytest.LogCaptureFixture, failed: logging.LogRecord
) -> None:
    commands(scontrol="echo 'JobState=TIMEOUT Reason=TimeLimit RunTime=00:01:11 TimeLimit=00:01:00 NodeList=vm'")
    Notice("submitted", JOBS, REQUEST, "", "5").write(kept)
    watch.emit(failed)
    assert "SLURM ended reconstruct and select of round 1 (SLURM job 5):\n    TIMEOUT, TimeLimit after" in caplog.text
    assert f"asked for: {REQUEST}" in caplog.text
    assert read_notices(kept)[-1].kind == "ended"
    assert {rule.restart_times for rule in watch.rules.values()} == {2}


def test_the_program_s_own_fault_is_not_slurm_s(
    watch: SchedulerWatch, kept: Path, commands, caplog: pytest.LogCaptureFixture
) -> None:
    commands(scontrol="echo 'JobState=FAILED Reason=NonZeroExitCode ExitCode=1:0'")
    watch.emit(record("job_error", indent=False, aux={"external_jobid": "5"}))
    assert not caplog.messages and not kept.exists()


def test_reasons_to_wait_are_told_once_and_usual_ones_after_long(commands) -> None:
    commands(
        squeue="printf '7|PENDING|PartitionConfig\\n8|PENDING|Priority\\n9|PREEMPTED|None\\n11|PENDING|Priority\\n'"
    )
    reasons = not_started(["7", "8", "9", "10"])
    assert reasons == {"7": "PartitionConfig", "8": "Priority", "9": "PREEMPTED, None"}
    waits = [Notice("submitted", (f"sum:r=0,s={n}",), slurm_job=n) for n in ("7", "8", "9", "10")]
    told: dict[str, str] = {}
    assert [(n.slurm_job, n.said) for n in to_tell(waits, reasons, told)] == [
        ("7", "PartitionConfig"),
        ("9", "PREEMPTED, None"),
    ]
    assert to_tell(waits, reasons, told) == []
    old = [Notice("submitted", ("sum:r=0,s=8",), slurm_job="8", time=time.time() - 3600)]
    assert (
        "SLURM does not start sum of round 0, shard 8 (SLURM job 8):\n    Priority"
        in to_tell(old, reasons, told)[0].text
    )


def test_the_last_notice_of_each_job_counts() -> None:
    first, second = Notice("refused", JOBS, said="no"), Notice("submitted", JOBS[:1], slurm_job="3")
    assert [(n.kind, n.jobs) for n in last_of_each_job([first, second])] == [
        ("refused", JOBS[1:]),
        ("submitted", JOBS[:1]),
    ]


def test_the_status_shows_what_slurm_said(commands, kept: Path) -> None:
    commands(squeue="echo '9|PENDING|PartitionConfig'")
    Notice("refused", JOBS, REQUEST, MEMORY).write(kept)
    Notice("submitted", ("ingest:",), "-p cpu", "", "9").write(kept)
    text = run_status(kept.parent).text
    assert (
        "SLURM refused reconstruct and select of round 1" in text
        and "Memory specification can not be satisfied" in text
    )
    assert "SLURM does not start ingest (SLURM job 9):\n    PartitionConfig" in text
    begun = kept.parent / "reconstruct/round_1.log"
    begun.parent.mkdir()
    begun.touch()  # Snakemake leaves an empty one
    assert "reconstruct and select" in run_status(kept.parent).text
    begun.write_text("2026-03-01 10:00:00,123 INFO cryocore.reconstruct.stage: begun\n")
    (kept.parent / "select").mkdir()
    (kept.parent / "select/round_1.log").write_text("x\n")
    assert "SLURM refused" not in run_status(kept.parent).text


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file in its place")
    with pytest.raises(InputError, match=r"SLURM's logs cannot be written here: (File exists|Not a directory)"):
        require_writable(tmp_path / "logs/slurm")
    require_writable(tmp_path / "other/slurm")


def test_a_failure_on_a_full_disk_is_told_as_such(
    watch: SchedulerWatch, commands, caplog: pytest.LogCaptureFixture
) -> None:
    """All that a job has to say goes to the disk that is full."""
    commands(scontrol="echo 'JobState=FAILED Reason=NonZeroExitCode ExitCode=1:0'")
    failed = record("job_error", indent=False, aux={"external_jobid": "5"})
    watch.emit(failed)
    assert not caplog.messages
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        watch.emit(failed)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caplog.messages == [f"{watch.file.parent}: logs cannot be written here: File too large. Make room."]
