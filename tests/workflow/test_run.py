"""A small data set through every stage."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import yaml

from cryocore.log.rounds import open_round
from tests.workflow.conftest import Workflow, fresh_copy

pytestmark = pytest.mark.slow

TINY: dict[str, Any] = {
    "run": "tiny",
    "n_rounds": 2,
    "backend": "cpu",
    "input": {
        "simulate": {"n_particles": 200, "box": 32, "pixel_size_angstrom": 6.0, "snr": 0.2, "n_micrographs": 4},
        "plant": {"wrong_pose": 0.3},
    },
    "select": {"rule": "fraction", "value": [0.8, 0.7], "minimum": 20},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workflow, str]:
    """The workflow after its first run, and what that run printed."""
    workflow = fresh_copy(tmp_path_factory.mktemp("tiny"))
    return workflow, workflow.snakemake("--configfile", workflow.configure(**TINY)).stdout


def test_rounds_find_the_planted_errors(finished: tuple[Workflow, str]) -> None:
    table = pq.read_table(finished[0].work / "results/tiny/rounds.parquet").to_pydict()
    assert list(table)[:5] == ["round", "n_kept", "resolution_angstrom", "correct_rate", "auc"]
    assert table["round"] == [0, 1, 2]
    assert table["n_kept"] == [200, 160, 140]
    assert table["correct_rate"][0] == pytest.approx(0.7, abs=1e-9)
    assert table["correct_rate"][1] > 0.85
    assert table["correct_rate"][2] > 0.92
    assert min(table["auc"]) > 0.93
    assert table["resolution_angstrom"][2] <= table["resolution_angstrom"][0] + 1e-6


def test_table_is_printed(finished: tuple[Workflow, str]) -> None:
    workflow, output = finished
    table = (workflow.work / "results/tiny/rounds.txt").read_text()
    assert table.split()[:5] == ["round", "n_kept", "resolution_angstrom", "correct_rate", "auc"]
    assert table.strip() in output
    assert output.index(table.strip()) > output.index("Writing the report")


def test_log_holds_every_particle_in_every_round(finished: tuple[Workflow, str]) -> None:
    log = ds.dataset(finished[0].work / "results/tiny/log", partitioning="hive").to_table()
    assert log.num_rows == 3 * 200
    selected = log.to_pandas().groupby("round")["selected"].sum()
    assert selected.tolist() == [200, 160, 140]
    truth = pq.read_table(finished[0].work / "results/tiny/truth.parquet").to_pandas()
    joined = log.to_pandas().merge(truth, on="particle_id")
    assert joined.groupby("round")["is_correct"].mean().tolist() == pytest.approx([0.7] * 3)


def test_subset_says_how_likely_each_particle_is_correct(finished: tuple[Workflow, str]) -> None:
    folder = finished[0].work / "results/tiny"
    table = pq.read_table(folder / "round_2/subset.parquet")
    assert table.column_names == ["particle_id", "weight", "selected", "reason", "posterior"]
    correct = open_round(folder / "log/round=1/log.parquet").flags() == 1
    likely = table.column("posterior").to_numpy()
    assert likely[correct].mean() > likely[~correct].mean() + 0.3
    rate = json.loads(table.schema.metadata[b"cryocore"])["error_rate"]
    assert rate["method"] == "mixture"
    assert rate["low"] <= rate["value"] <= rate["high"]


def test_messages_are_logged_and_jobs_timed(finished: tuple[Workflow, str]) -> None:
    workflow, output = finished
    logs = workflow.work / "logs" / "tiny"
    assert len(list(logs.rglob("*.log"))) == len(list(logs.rglob("*.tsv"))) == 17
    message = "keeps 140 of 200 particles"
    assert message in output
    assert message in (logs / "select/round_2.log").read_text()


def test_snakemakes_own_report_shows_what_people_want(finished: tuple[Workflow, str]) -> None:
    workflow, _ = finished
    workflow.snakemake("--report", "run.zip", "--configfile", "my.yaml")
    with ZipFile(workflow.work / "run.zip") as packed:
        names = {Path(name).name for name in packed.namelist()}
    assert {"report.html", "rounds.txt", "recommended.star", "progress.svg", "surfaces.png"} <= names


def test_second_run_does_nothing_and_a_change_does_the_rest(finished: tuple[Workflow, str]) -> None:
    workflow, _ = finished
    again = workflow.snakemake("--configfile", "my.yaml").stdout
    assert "Nothing to be done" in again
    assert "Job " not in again
    settings = yaml.safe_load((workflow.work / "my.yaml").read_text())
    settings["select"]["value"] = [0.8, 0.75]
    expected = {f"Round 2: {stage}" for stage in ("selecting", "reconstructing", "scoring", "validating")}
    expected |= {"Looking at what is left out", "Writing the report"}
    assert workflow.jobs("--configfile", workflow.configure(**settings)) == expected
    workflow.configure(**TINY)


def test_own_particles_with_planted_errors(finished: tuple[Workflow, str], tmp_path: Path) -> None:
    """The simulated stack, without its truth, stands for a user's; the path has spaces and quotes."""
    source = finished[0].work / "results" / "tiny" / "simulated"
    workflow = fresh_copy(tmp_path)
    folder = workflow.work / "user's $(data); x"
    folder.mkdir()
    for name in ("particles.star", "particles.mrcs"):
        shutil.copy2(source / name, folder / name)
    star = f"{folder.name}/particles.star"
    settings = {"run": "mine", "n_rounds": 1, "symmetry": "D7", "backend": "cpu", "select": TINY["select"]}
    workflow.configure(**settings, input={"star": star})
    target = "results/mine/round_1/metrics.json"
    workflow.snakemake(target, "--configfile", "my.yaml")
    metrics = json.loads((workflow.work / target).read_text())
    assert metrics["n_kept"] == 160
    assert metrics["correct_rate"] is None
    assert not (workflow.work / "results/mine/simulated").exists()
    parent = (folder / "particles.star").read_text().splitlines()
    kept = (workflow.work / "results/mine/round_1/subset.star").read_text().splitlines()
    rows = [line for line in parent if "@" in line]
    assert len([line for line in rows if any(k.startswith(line) for k in kept)]) == 160

    workflow.configure(**{**settings, "run": "planted"}, input={"star": star, "plant": {"junk": 0.25}})
    target = "results/planted/round_0/metrics.json"
    workflow.snakemake(target, "--configfile", "my.yaml")
    metrics = json.loads((workflow.work / target).read_text())
    assert metrics["correct_rate"] == pytest.approx(0.75, abs=1e-9)


def test_rounds_on_a_cache_of_transforms(finished: tuple[Workflow, str], tmp_path: Path) -> None:
    """All but the last digits as without it; once the stack is another one, the stages refuse to go on."""
    workflow = fresh_copy(tmp_path)
    name = workflow.configure(**{**TINY, "input": {**TINY["input"], "cache": True}})
    workflow.snakemake("results/tiny/round_1/metrics.json", "--configfile", name)
    folders = [w.work / "results" / "tiny" for w in (finished[0], workflow)]
    plain, cached = (json.loads((f / "round_1" / "metrics.json").read_text()) for f in folders)
    assert cached["n_kept"] == plain["n_kept"]
    assert cached["auc"] == pytest.approx(plain["auc"], abs=2e-3)
    assert "transforms, 1.6 kB each" in (workflow.work / "logs/tiny/cache.log").read_text()

    os.utime(folders[1] / "simulated/particles.mrcs")
    (folders[1] / "log/round=1/log.parquet").unlink()
    done = workflow.snakemake("results/tiny/log/round=1/log.parquet", "--configfile", name, check=False)
    assert done.returncode == 1
    said = " ".join(done.stdout.split())
    assert "transforms.npz: made before" in said
    assert "Delete it and run snakemake again" in said
    assert "Traceback" not in done.stdout
    (folders[1] / "cache/transforms.npz").unlink()
    workflow.snakemake("results/tiny/log/round=1/log.parquet", "--configfile", name)


def test_rounds_in_shards(finished: tuple[Workflow, str], tmp_path: Path) -> None:
    """All but the last digits as without them; the scores of shards go once they are gathered."""
    workflow = fresh_copy(tmp_path)
    name = workflow.configure(**TINY, n_shards=2)
    workflow.snakemake("results/tiny/round_1/metrics.json", "--configfile", name)
    folders = [w.work / "results" / "tiny" for w in (finished[0], workflow)]
    for r in range(2):
        whole, gathered = (pq.read_table(f / f"log/round={r}/log.parquet", partitioning=None) for f in folders)
        assert gathered.column_names == whole.column_names
        assert (gathered["particle_id"].to_numpy() == whole["particle_id"].to_numpy()).all()
        assert abs(gathered["dual"].to_numpy() - whole["dual"].to_numpy()).max() < 1e-3
        assert len(list((folders[1] / f"round_{r}/sums_2_shards").iterdir())) == 2
        assert not (folders[1] / f"round_{r}/scores_2_shards").exists()
    assert (workflow.work / "logs/tiny/score/round_1_shard_1.log").is_file()


def test_after_a_kill_only_unfinished_jobs_run(tmp_path: Path, finished: tuple[Workflow, str]) -> None:
    """SIGKILL of Snakemake and of the stage that it runs: the rest is done, and the bytes are those of a whole run."""
    workflow = fresh_copy(tmp_path)
    name = workflow.configure(**TINY)
    target, run = "results/tiny/round_1/metrics.json", workflow.work / "results/tiny"
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(workflow.code / "Snakefile"), "--configfile", name]
    process = subprocess.Popen(
        [*command, "--", target],
        cwd=workflow.work,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        process_group=0,
    )
    while not (run / "round_0/sums.npz").exists() and process.poll() is None:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    workflow.snakemake("--unlock", "--configfile", name)
    left = workflow.jobs("--configfile", name, "--", target)
    assert "Round 0: scoring" in left and "Round 1: selecting" in left
    assert not [job for job in left if job.startswith(("Simulating", "Reading"))]
    workflow.snakemake("--configfile", name, "--", target)
    for file in ("log/round=0/log.parquet", "round_1/half1.mrc", "round_1/subset.parquet"):
        assert (run / file).read_bytes() == (finished[0].work / "results/tiny" / file).read_bytes()
    assert not [path for path in run.rglob(".*") if path.is_file() and not path.name.startswith(".snakemake")]


def test_wrong_input_stops_with_one_paragraph(workflow: Workflow) -> None:
    (workflow.work / "bad.star").write_text("data_\n\nloop_\n_rlnImageName #1\n1@no.mrcs\n")
    name = workflow.configure(run="bad", symmetry="C1", input={"star": "bad.star"})
    done = workflow.snakemake("--configfile", name, check=False)
    assert done.returncode == 1
    assert "ingest: error: bad.star" in done.stdout
    assert "Traceback" not in done.stdout and "TypeError" not in done.stdout
    assert "Mend what failed and run the same snakemake command again" in done.stdout
    assert not (workflow.work / "results/bad/particles.parquet").exists()
    assert "bad.star" in (workflow.work / "logs/bad/ingest.log").read_text()


def test_a_robust_loss_weighs_wrong_particles_down_from_round_0_on(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    workflow = fresh_copy(tmp_path)
    robust = {"method": "iterative", "iterative": {"n_epochs": 4}}
    name = workflow.configure(**TINY, reconstruct=robust)
    workflow.snakemake("results/tiny/round_0/metrics.json", "--configfile", name)
    folder = workflow.work / "results/tiny/round_0"
    epochs = json.loads((folder / "metrics.json").read_text())["epochs"]
    assert [(e["epoch"], e["used"], e["wrong_used"]) for e in epochs] == [(i, 200, 60) for i in range(4)]
    assert epochs[-1]["wrong_weight"] < 0.25
    scores = pq.read_table(folder.parent / "log/round=0/log.parquet", partitioning=None).column("weight").to_numpy()
    assert (scores == pq.read_table(folder / "weights.parquet").column("weight").to_numpy()).all()
    assert not (folder / "sums.npz").exists() and not (folder / "checkpoint.pt").exists()
    assert "4 epochs: all epochs are done" in (workflow.work / "logs/tiny/reconstruct/round_0.log").read_text()
