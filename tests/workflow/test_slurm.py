"""The profiles: what they ask of a cluster, and a run on a real SLURM where one can be started."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cryocore.workflow.notices import read_notices
from cryocore.workflow.scheduler import ask, fields
from cryocore.workflow.status import run_status
from tests.workflow.conftest import ROOT, Workflow
from tests.workflow.test_run import TINY

pytestmark = pytest.mark.slow

START = ROOT.parent / "shared" / "slurm" / "start.sh"


@pytest.mark.parametrize("profiles", [["slurm"], ["slurm", "slurm-gres"], ["workstation"]])
def test_a_dry_run_needs_no_cluster(workflow: Workflow, profiles: list[str]) -> None:
    given = [text for name in profiles for text in ("--profile", str(workflow.code / "profiles" / name))]
    name = workflow.configure(**TINY, n_shards=2)
    assert "Round 2: scoring, shard 1" in workflow.snakemake(*given, "--configfile", name, "--dry-run").stdout


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a private cluster of one node."""
    if not START.exists():
        pytest.skip(f"there is no {START} to start a SLURM with")
    folder = f"/tmp/cryo-slurm-{os.getpid()}"  # noqa: S108 - sockets need a short path
    done = subprocess.run(["bash", str(START), folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"SLURM does not start: {done.stderr.strip().splitlines()[-1]}")
    conf = re.search(r"SLURM_CONF='([^']+)'", done.stdout)
    assert conf is not None
    yield {"SLURM_CONF": conf.group(1), "PATH": f"{folder}/bin:{os.environ['PATH']}:/usr/sbin:/sbin"}
    subprocess.run(["bash", str(START.with_name("stop.sh")), folder], capture_output=True)
    shutil.rmtree(folder, ignore_errors=True)


def profile(workflow: Workflow, **limits: Any) -> str:
    """The SLURM profile for the private cluster, with other limits if they are given."""
    folder = workflow.work / "profile"
    folder.mkdir()
    shutil.copy(workflow.code / "profiles/slurm/config.yaml", folder)
    limits = {"max_runtime": "1d", "max_mem_mb": 8000, "max_threads": 8, **limits}
    partitions = {"cpu": limits, "gpu": {**limits, "max_gpu": 2}}
    (folder / "partitions.yaml").write_text(yaml.safe_dump({"partitions": partitions}))
    return str(folder)


def jobs_of(workflow: Workflow) -> list[tuple[str, str, str, str]]:
    """Rule, partition, state and what was asked for by each job of a checkout."""
    command = ["squeue", "--states=all", "--noheader", "--format=%Z|%k|%P|%T|%b"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    rows = [line.strip().split("|") for line in lines]
    return sorted((rule, *rest) for folder, rule, *rest in rows if folder == str(workflow.work))  # type: ignore[misc]


def completed(workflow: Workflow) -> list[str]:
    """The jobs of a checkout that have done their work; SLURM may list refused ones too."""
    return [rule for rule, _, state, _ in jobs_of(workflow) if state == "COMPLETED"]


@pytest.fixture
def on_slurm(workflow: Workflow, slurm: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Workflow:
    """A checkout whose commands find the private cluster."""
    for name, value in slurm.items():
        monkeypatch.setenv(name, value)
    return workflow


def test_a_round_on_slurm(on_slurm: Workflow) -> None:
    """Shards, groups and partitions; a job without enough memory comes back with more; the bytes of a local run."""
    name = on_slurm.configure(**{**TINY, "n_shards": 2, "backend": "auto"})
    target = "results/tiny/log/round=0/log.parquet"
    given = ["--profile", profile(on_slurm), "--configfile", name]
    too_little_at_first = "sum:mem_mb=700 if attempt > 1 else 60"
    said = on_slurm.snakemake(*given, "--set-resources", too_little_at_first, "--", target).stdout
    assert said.count("Trying to restart") == 2
    for shard in (0, 1):
        told = said.split(f"SLURM ended sum of round 0, shard {shard} (SLURM job ")[1].splitlines()[:5]
        # the plugin asks for a little more for an array
        assert "memory limit" in "".join(told) and "--mem 6" in "".join(told) and "max_mem_mb" in "".join(told)
    found = jobs_of(on_slurm)
    # the tasks of an array have the name of the first
    done = [(re.sub(r"_\d+_\d+$", "", rule), where) for rule, where, state, _ in found if state == "COMPLETED"]
    assert done == [
        ("rule_choosing_1_gather", "cpu"),
        ("rule_particles_ingest_simulate", "gpu"),
        ("rule_score_wildcards", "gpu"),
        ("rule_score_wildcards", "gpu"),
        ("rule_solving_0_noise_reconstruct", "cpu"),
        ("rule_sum_wildcards", "gpu"),
        ("rule_sum_wildcards", "gpu"),
    ]
    assert len(found) == len(done) + 2
    assert said.count("Submitted array job") >= 2

    on_cluster = (on_slurm.work / target).read_bytes()
    shutil.rmtree(on_slurm.work / "results")
    on_slurm.snakemake("--configfile", name, "--", target)
    assert (on_slurm.work / target).read_bytes() == on_cluster
    assert "Nothing to be done" in on_slurm.snakemake(*given, "--", target).stdout


def test_a_site_that_wants_gres_gets_gres_within_its_limits(on_slurm: Workflow) -> None:
    name = on_slurm.configure(**{**TINY, "backend": "auto"})
    given = ["--profile", profile(on_slurm, max_runtime="4m", max_mem_mb=480)]
    given += ["--profile", str(on_slurm.code / "profiles/slurm-gres")]
    on_slurm.snakemake(*given, "--configfile", name, "--", "results/tiny/simulated/particles.star")
    assert jobs_of(on_slurm) == [("rule_particles_simulate", "gpu", "COMPLETED", "gres:gpu:1")]
    (notice,) = read_notices(on_slurm.work / "logs/tiny/slurm.jsonl")
    assert notice.request == "-p gpu -t 4 --mem 480 --cpus-per-task=8 --gres=gpu:1"


def test_a_refusal_is_told_in_slurm_s_words_and_not_tried_again(on_slurm: Workflow) -> None:
    """A round is one job; asked for more memory than the node has, then for what it needs."""
    given = ["--profile", profile(on_slurm), "--configfile", on_slurm.configure(**TINY)]
    target = "results/tiny/log/round=0/log.parquet"
    done = on_slurm.snakemake(*given, "--set-resources", "score:mem_mb=200000", "--", target, check=False)
    assert done.returncode and "Trying to restart" not in done.stdout
    words = [
        "SLURM refused reconstruct and score of round 0, and is not asked again:",
        "    sbatch: error: Memory specification can not be satisfied",
        "    sbatch: error: Batch job submission failed: Requested node configuration is not available",
    ]
    assert "\n".join(words) in done.stdout and "--mem 200000 " in done.stdout
    (log,) = (on_slurm.work / ".snakemake/log").glob("*.log")
    assert words[1] in log.read_text()
    assert "\n".join(words) in run_status(on_slurm.work / "logs/tiny").text
    assert completed(on_slurm) == ["rule_particles_ingest_simulate"]

    on_slurm.snakemake(*given, "--", target)
    assert "SLURM refused" not in run_status(on_slurm.work / "logs/tiny").text
    assert completed(on_slurm) == ["rule_particles_ingest_simulate", "rule_rounds_reconstruct_score"]


def test_a_run_in_one_allocation_is_stopped_and_goes_on(on_slurm: Workflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    name, target = on_slurm.configure(**TINY), "results/tiny/log/round=0/log.parquet"
    script = on_slurm.code / "profiles/slurm/one-allocation.sh"
    command = ["sbatch", "--parsable", "--cpus-per-task=2", "--mem=3000", "--time=10", f"--job-name=one-{os.getpid()}"]

    def submit() -> str:
        given = [*command, str(script), "--configfile", name, "--", target]
        return subprocess.run(given, cwd=on_slurm.work, capture_output=True, text=True, check=True).stdout.strip()

    def wait(number: str, until: Callable[[str], bool]) -> str:
        for _ in range(600):
            state = fields(ask("scontrol", "--oneliner", "show", "job", number))["JobState"]
            if until(state):
                return state
            time.sleep(0.5)
        raise AssertionError(f"{number} is {state}: {(on_slurm.work / f'cryocore-{number}.log').read_text()}")

    first = submit()
    wait(first, lambda _: (on_slurm.work / "results/tiny/particles.parquet").exists())
    subprocess.run(["scancel", "--signal=TERM", "--batch", first], check=True)
    assert wait(first, lambda state: state not in ("RUNNING", "COMPLETING")) == "FAILED"
    assert not any((on_slurm.work / ".snakemake/locks").glob("*")) and not (on_slurm.work / target).exists()
    second = submit()
    assert wait(second, lambda state: state not in ("PENDING", "RUNNING", "COMPLETING")) == "COMPLETED"
    said = (on_slurm.work / f"cryocore-{second}.log").read_text()
    assert (on_slurm.work / target).exists() and "Simulating particles" not in said
