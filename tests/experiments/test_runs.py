"""One tiny case from configuration to page."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.validation import common
from experiments import page
from experiments.cases import Case
from experiments.evaluate import aucs_by_kind, error_rate_estimate
from experiments.runs import Outcome, run_cases, summary_lines

pytestmark = pytest.mark.slow

CONFIG: dict[str, Any] = {
    "n_rounds": 1,
    "symmetry": "D7",
    "backend": "cpu",
    "input": {
        "simulate": {"n_particles": 240, "box": 32, "pixel_size_angstrom": 6.0, "snr": 0.2, "n_micrographs": 4},
        "plant": {"wrong_pose": 0.3, "junk": 0.1},
    },
    "select": {"rule": "fraction", "value": [0.6], "minimum": 20},
}
CASE = Case("tiny", {"molecule": "proteasome", "kind": "mixed", "rate": 0.4}, CONFIG, ("table",), "tiny", {"z": 0.99})


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Outcome]]:
    """A case that works between one that fails and one whose data are absent."""
    folder = tmp_path_factory.mktemp("experiments")
    broken = replace(CASE, name="broken", config={**CONFIG, "input": {"simulate": {"volume": "absent.mrc"}}})
    absent = replace(CASE, name="absent", config={**CONFIG, "input": {"star": "shared:no/such.star"}})
    return folder, run_cases([broken, CASE, absent], cores=2, work=folder / "work", store=folder / "store")


def test_a_failed_case_names_its_log_and_stops_no_other(done: tuple[Path, list[Outcome]]) -> None:
    folder, outcomes = done
    assert [outcome.state for outcome in outcomes] == ["failed", "done", "skipped"]
    log = folder / "work" / "broken" / "snakemake.log"
    assert outcomes[0].text == f"see {log}"
    assert "absent.mrc" in log.read_text()
    assert "no/such.star" in outcomes[2].text
    lines = list(summary_lines(outcomes))
    assert lines[0] == "1 done, 1 skipped, 1 failed"
    assert any("broken" in line and str(log) in line for line in lines)


def test_scores_maps_and_rules_are_measured(done: tuple[Path, list[Outcome]]) -> None:
    values = json.loads((done[0] / "store" / "tiny.json").read_text())
    last = values["rounds"][1]
    metrics = json.loads((done[0] / "work/tiny/results/run/round_1/metrics.json").read_text())
    assert {name: found["any"] for name, found in last["aucs"].items()} == pytest.approx(metrics["aucs"], abs=2e-6)
    assert set(last["aucs"]["dual"]) == {"any", "wrong_pose", "junk"}
    rate = last["error_rate_estimate"]
    assert rate["low"] <= 0.4 <= rate["high"]
    assert rate["value"] == pytest.approx(0.4, abs=0.1)
    maps = values["maps"]
    assert maps["all"]["n"] == 240 and maps["all"]["correct_rate"] == 0.6
    assert maps["all"]["fsc_truth_area"] == pytest.approx(values["rounds"][0]["fsc_truth_area"], abs=1e-3)
    assert maps["correct"]["correct_rate"] == 1.0
    assert maps["chosen"]["n"] == maps["random"]["n"] == maps["oracle"]["n"] == metrics["n_kept"]
    assert metrics["n_kept"] == pytest.approx(144, abs=6)
    assert maps["scored_by_correct"]["auc"] > 0.98 and maps["scored_by_correct"]["correct_rate"] > 0.95
    assert maps["chosen"]["correct_rate"] == pytest.approx(metrics["correct_rate"])
    assert values["oracle"]["any"] > 0.98
    assert maps["oracle"]["correct_rate"] > 0.95
    areas = {name: found["fsc_truth_area"] for name, found in maps.items()}
    assert areas["correct"] > areas["all"] > areas["random"]
    for rule in values["cryosieve_rule"].values():
        assert len(rule["rounds"]) == 1 and rule["rounds"][0]["n"] == 192
        assert 0.5 < rule["auc"] < values["oracle"]["any"]
    assert len({rule["auc"] for rule in values["cryosieve_rule"].values()}) == 2


def test_what_is_up_to_date_is_not_run_again(done: tuple[Path, list[Outcome]]) -> None:
    folder = done[0]
    again = {"cores": 2, "work": folder / "work", "store": folder / "store"}
    shutil.rmtree(folder / "work/tiny/results")
    assert run_cases([CASE], **again)[0].state == "up to date"
    assert not (folder / "work/tiny/results").exists()


def test_the_page_shows_every_score_and_the_reference(done: tuple[Path, list[Outcome]], tmp_path: Path) -> None:
    out = page.write_page(done[0] / "store", tmp_path / "docs" / "experiments.md")
    text = out.read_text()
    values = json.loads((done[0] / "store" / "tiny.json").read_text())
    z = values["rounds"][-1]["aucs"]["z"]["any"]
    assert f"{z:.3f}** (0.99)" in text or f"{z:.3f} (0.99)" in text
    assert all(f"`{name}`" in text for name in values["rounds"][-1]["aucs"])
    assert f"{values['maps']['correct']['fsc_truth_area']:.3f}" in text
    assert "| score | `junk` | `wrong_pose` |" in text
    for name in ("rounds", "subsets"):
        assert (out.parent / "images" / f"experiments_{name}.png").stat().st_size > 10_000


def test_coverage_counts_the_intervals_that_hold_the_truth() -> None:
    def case(rate: float, low: float, high: float) -> dict[str, Any]:
        estimate = {"value": 0.3, "low": low, "high": high}
        last = {"aucs": {"z": {"any": 0.9}}, "error_rate_estimate": estimate}
        chosen = {"correct_rate": 0.8, "fsc_truth_area": 0.5}
        return {
            "label": "x",
            "error_rate": rate,
            "selected_by": "z",
            "rounds": [last],
            "maps": {"chosen": chosen},
        }

    text = page.coverage([case(0.3, 0.25, 0.35), case(0.3, 0.31, 0.35), case(0.3, 0.3, 0.4)])
    assert "holds the planted rate in 2 of 3" in text


def test_kinds_are_distinguished_and_losses_turned() -> None:
    kinds = np.array(["none", "none", "junk", "wrong_pose"], dtype=object)
    found = aucs_by_kind(np.array([1.0, 2.0, 3.0, 1.5]), kinds == "none", kinds, lower_is_better=True)
    assert found == {"any": 0.75, "junk": 1.0, "wrong_pose": 0.5}


def test_error_rates_are_read_wherever_they_are() -> None:
    assert error_rate_estimate([{}, {"error_rate": None}]) is None
    assert error_rate_estimate([{"error_rate": {"value": None, "low": None, "high": None}}]) is None
    nested = {"error_rate": {"value": 0.2, "low": 0.1, "high": 0.3, "method": "mixture"}}
    assert error_rate_estimate([{}, nested]) == {"value": 0.2, "low": 0.1, "high": 0.3}


def test_absent_data_are_a_reason_to_skip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(common, "SHARED_DATA", tmp_path)
    case = replace(CASE, config={**CONFIG, "input": {"star": "shared:a.star"}})
    outcome = run_cases([case], cores=1, work=tmp_path / "work", store=tmp_path / "store")[0]
    assert outcome.state == "skipped" and "a.star" in outcome.text
