"""Shards on a SLURM of two nodes: in jobs of their own, and in one job over both."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cryocore.workflow.notices import read_notices
from cryocore.workflow.scheduler import fields
from tests.workflow.conftest import Workflow, fresh_copy
from tests.workflow.nodes import NODES, Cluster, two_nodes
from tests.workflow.test_run import TINY
from tests.workflow.test_slurm import START, profile

pytestmark = pytest.mark.slow

SETTINGS = {**TINY, "n_shards": 2, "backend": "auto"}
TARGET = "results/tiny/log/round=0/log.parquet"
LONGEST_S = 300.0


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The log of round 0 by a run without a cluster."""
    workflow = fresh_copy(tmp_path_factory.mktemp("local"))
    workflow.snakemake("--configfile", workflow.configure(**SETTINGS), "--", TARGET)
    return (workflow.work / TARGET).read_bytes()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    if not START.exists():
        pytest.skip(f"there is no {START} to start a SLURM with")
    folder = Path(f"/tmp/cryo-nodes-{os.getpid()}")  # noqa: S108 - sockets need a short path
    try:
        with two_nodes(START, folder) as found:
            yield found
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def on_nodes(workflow: Workflow, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Workflow:
    """A checkout whose commands find the cluster, and a snakemake."""
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    return workflow


def wait_for(holds: Callable[[], bool], said: Callable[[], str]) -> None:
    """Wait until something holds; what was said until then is in the error."""
    until = time.monotonic() + LONGEST_S
    while not holds():
        assert time.monotonic() < until, said()
        time.sleep(0.2)


def nodes_of(rows: str, rule: str) -> set[str]:
    """Where the jobs or steps of a rule are, of lines with name and node."""
    return {
        node for name, node in (row.split()[:2] for row in rows.splitlines() if len(row.split()) > 1) if rule in name
    }


def test_shards_are_on_both_nodes_and_that_of_a_lost_one_goes_to_the_other(
    on_nodes: Workflow, cluster: Cluster, local: bytes
) -> None:
    given = ["--profile", profile(on_nodes), "--configfile", on_nodes.configure(**SETTINGS), "--", TARGET]
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(on_nodes.code / "Snakefile"), *given]
    file = on_nodes.work / "said.txt"

    def scored(*states: str) -> list[str]:
        rows = cluster.ask("squeue", "--noheader", f"--states={','.join(states)}", "--format=%Z|%k|%N").splitlines()
        found = [row.strip().split("|") for row in rows]
        return sorted(node for folder, rule, node in found if folder == str(on_nodes.work) and "score" in rule)

    with file.open("w") as out, subprocess.Popen(command, cwd=on_nodes.work, stdout=out, stderr=out) as process:
        try:
            wait_for(lambda: scored("RUNNING") == list(NODES) or process.poll() is not None, file.read_text)
            cluster.lose("n2")
            wait_for(lambda: process.poll() is not None, file.read_text)
        finally:
            process.terminate()
            if "n2" not in cluster.daemons:
                cluster.begin_node("n2")
    said = file.read_text()
    assert process.returncode == 0, said
    assert said.count("SLURM ended score of round 0, shard ") == 1 and said.count("Trying to restart") == 1, said
    told = said.split("SLURM ended score")[1].splitlines()[1:5]
    assert "NODE_FAIL, NodeDown after" in told[0] and "on n2" in told[0]
    assert "nodes are down" in "".join(told)
    assert scored("COMPLETED") == ["n1", "n1"] and scored("NODE_FAIL") == ["n2"]
    assert (on_nodes.work / TARGET).read_bytes() == local


def test_one_allocation_uses_both_nodes_and_outlives_a_signal_a_step_and_a_node(
    on_nodes: Workflow, cluster: Cluster, local: bytes
) -> None:
    name = on_nodes.configure(**SETTINGS)
    command = ["sbatch", "--parsable", "--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=4", "--gpus-per-node=1"]
    command += ["--mem=3000", "--time=10", f"--job-name=both-{os.getpid()}"]

    def submit() -> str:
        script = str(on_nodes.code / "profiles/slurm/one-allocation.sh")
        given = [*command, script, "--configfile", name, "--", TARGET]
        return subprocess.run(given, cwd=on_nodes.work, capture_output=True, text=True, check=True).stdout.strip()

    def said(number: str) -> str:
        log = on_nodes.work / f"cryocore-{number}.log"
        return log.read_text() if log.exists() else ""

    def state(number: str) -> str:
        return fields(cluster.ask("scontrol", "--oneliner", "show", "job", number))["JobState"]

    def wait(number: str, holds: Callable[[], bool]) -> None:
        wait_for(lambda: holds() or state(number) in ("FAILED", "COMPLETED"), lambda: said(number))

    def at_work(number: str, rule: str) -> set[str]:
        return nodes_of(cluster.ask("squeue", "--steps", "--noheader", f"--jobs={number}", "--format=%j %N"), rule)

    first = submit()
    wait(first, lambda: at_work(first, "sum:") == set(NODES))
    subprocess.run(["scancel", "--signal=TERM", "--batch", first], check=True)
    wait_for(lambda: state(first) not in ("RUNNING", "COMPLETING"), lambda: said(first))
    assert state(first) == "FAILED", said(first)
    assert "sending Ctrl-C to StepId" in said(first) and "SLURM ended" not in said(first)
    assert not [*(on_nodes.work / ".snakemake/locks").glob("*")]
    assert not [*(on_nodes.work / "results").rglob(".*")], "a stage has left a file that it had begun"
    assert not [process for node in NODES for process in cluster.processes_on(node)]

    second = submit()
    wait(second, lambda: bool(at_work(second, "noise:")))
    steps = cluster.ask("squeue", "--steps", "--noheader", f"--jobs={second}", "--format=%j %i").split()
    subprocess.run(["scancel", steps[steps.index("noise:r=0") + 1]], check=True)
    wait(second, lambda: at_work(second, "score:") == set(NODES))
    cluster.lose("n2")
    try:
        wait_for(lambda: state(second) == "PENDING", lambda: said(second))
    finally:
        cluster.begin_node("n2")
    subprocess.run(["scontrol", "update", f"jobid={second}", "starttime=now"], check=True)  # SLURM waits two minutes
    wait(second, lambda: False)
    assert state(second) == "COMPLETED", said(second)
    told = [n.said for n in read_notices(on_nodes.work / "logs/tiny/slurm.jsonl") if n.jobs == ("noise:r=0",)]
    assert len(told) == 1 and "CANCELLED" in told[0]  # a score of the lost node may have left words too
    assert said(second).count("Error in rule noise:") == 1 and "Trying to restart job" in said(second)
    assert "Simulating particles" not in said(second) and said(second).count("Round 0: reconstructing") == 1
    assert (on_nodes.work / TARGET).read_bytes() == local
