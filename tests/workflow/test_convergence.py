"""Rounds that change nothing cost nothing, and are the same as if they were made anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.workflow.conftest import Workflow
from tests.workflow.test_run import TINY

pytestmark = pytest.mark.slow

CLEAN: dict[str, Any] = {
    **TINY,
    "input": {**TINY["input"], "plant": {"wrong_pose": 0.0}},
    "select": {"rule": "soft", "minimum": 20, "tolerance": 0.2},
}
COPIED = ("half1.mrc", "half2.mrc", "map.mrc", "mask.mrc", "fsc.parquet", "sampling.npz")
ITERATIVE = {"reconstruct": {"method": "iterative", "iterative": {"loss": "huber", "n_epochs": 2}}}


@pytest.mark.parametrize("changes", [{"n_shards": 2}, ITERATIVE], ids=["shards", "iterative"])
def test_a_round_in_which_nothing_changes_is_that_before_it(workflow: Workflow, changes: dict[str, Any]) -> None:
    name = workflow.configure(**CLEAN, **changes)
    said = workflow.snakemake("--configfile", name).stdout
    run, logs = workflow.work / "results/tiny", workflow.work / "logs/tiny"
    for file in COPIED:
        assert (run / "round_2" / file).read_bytes() == (run / "round_1" / file).read_bytes(), file
    first, second = (pq.read_table(run / f"log/round={r}/log.parquet") for r in (1, 2))
    assert second.equals(first)
    described = [json.loads(table.schema.metadata[b"cryocore"]) for table in (first, second)]
    assert [m["round"] for m in described] == [1, 2] and described[1]["unchanged_since"] == 1
    assert told(logs / "reconstruct/round_2.log") and any(map(told, (logs / "score").glob("round_2*")))
    assert not told(logs / "reconstruct/round_1.log")
    assert "Round 2 is as the one before: the weights hardly change (select.tolerance)." in said
    assert pq.read_table(run / "rounds.parquet")["unchanged_since"].to_pylist() == [None, None, 1]
    assert "Nothing to be done" in workflow.snakemake("--configfile", name).stdout


def test_scores_by_another_cut_off_are_made_anew(workflow: Workflow) -> None:
    """The maps stay; the log is what one makes by these maps."""
    name = workflow.configure(**CLEAN, score={"cryosieve_angstrom": [40.0, 40.0, 20.0]})
    workflow.snakemake("--configfile", name, "--", "results/tiny/log/round=2/log.parquet")
    run = workflow.work / "results/tiny"
    first, second = (pq.read_table(run / f"log/round={r}/log.parquet") for r in (1, 2))
    assert not second["cryosieve"].equals(first["cryosieve"]) and second["zc"].equals(first["zc"])
    assert told(workflow.work / "logs/tiny/reconstruct/round_2.log")
    assert not told(workflow.work / "logs/tiny/score/round_2.log")
    for file in (*COPIED, "sums.npz"):
        assert (run / "round_2" / file).read_bytes() == (run / "round_1" / file).read_bytes(), file


def told(log: Path) -> bool:
    return "nothing changes" in log.read_text()
