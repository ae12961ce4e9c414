"""The profiles: what they ask of a cluster, and a run on a real SLURM where one can be started."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest
import yaml

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


def small(workflow: Workflow) -> str:
    """The SLURM profile for the small jobs of a test."""
    folder = workflow.work / "profile"
    folder.mkdir()
    text = (workflow.code / "profiles/slurm/config.yaml").read_text()
    text = re.sub(r'"(16000|4000) \* attempt"', '"700 * attempt"', text)
    (folder / "config.yaml").write_text(text.replace("status-checks: 15", "status-checks: 8"))
    limits = {"max_runtime": "1d", "max_mem_mb": 8000, "max_threads": 8}
    partitions = {"cpu": limits, "gpu": {**limits, "max_gpu": 2}}
    (folder / "partitions.yaml").write_text(yaml.safe_dump({"partitions": partitions}))
    return str(folder)


def jobs_of(workflow: Workflow) -> list[tuple[str, str, str, str]]:
    """Rule, partition, state and what was asked for by each job of a checkout."""
    command = ["squeue", "--states=all", "--noheader", "--format=%Z|%k|%P|%T|%b"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    rows = [line.strip().split("|") for line in lines]
    return sorted((rule, *rest) for folder, rule, *rest in rows if folder == str(workflow.work))  # type: ignore[misc]


def test_a_round_on_slurm(workflow: Workflow, slurm: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards, groups and partitions; a job without enough memory comes back with more; the bytes of a local run."""
    for name, value in slurm.items():
        monkeypatch.setenv(name, value)
    name = workflow.configure(**{**TINY, "n_shards": 2, "backend": "auto"})
    target = "results/tiny/log/round=0/log.parquet"
    given = ["--profile", small(workflow), "--configfile", name]
    too_little_at_first = "simulate:mem_mb=700 if attempt > 1 else 60"
    done = workflow.snakemake(*given, "--set-resources", too_little_at_first, "--", target)
    assert done.stdout.count("Trying to restart") == 1
    found = jobs_of(workflow)
    completed = [(rule, partition) for rule, partition, state, _ in found if state == "COMPLETED"]
    assert completed == [
        ("rule_choosing_1_gather", "cpu"),
        ("rule_ingest", "cpu"),
        ("rule_score_wildcards_0_0", "gpu"),
        ("rule_score_wildcards_0_1", "gpu"),
        ("rule_simulate", "gpu"),
        ("rule_solving_0_noise_reconstruct", "cpu"),
        ("rule_sum_wildcards_0_0", "gpu"),
        ("rule_sum_wildcards_0_1", "gpu"),
    ]
    assert len(found) == len(completed) + 1

    on_cluster = (workflow.work / target).read_bytes()
    shutil.rmtree(workflow.work / "results")
    workflow.snakemake("--configfile", name, "--", target)
    assert (workflow.work / target).read_bytes() == on_cluster
    assert "Nothing to be done" in workflow.snakemake(*given, "--", target).stdout


def test_a_site_that_wants_gres_gets_gres(
    workflow: Workflow, slurm: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in slurm.items():
        monkeypatch.setenv(name, value)
    name = workflow.configure(**{**TINY, "backend": "auto"})
    given = ["--profile", small(workflow), "--profile", str(workflow.code / "profiles/slurm-gres")]
    enough = ["--set-resources", "simulate:mem_mb=700", "simulate:gpu=0", "simulate:gres='gpu:1'"]
    workflow.snakemake(*given, *enough, "--configfile", name, "--", "results/tiny/simulated/particles.star")
    assert jobs_of(workflow) == [("rule_simulate", "gpu", "COMPLETED", "gres:gpu:1")]
