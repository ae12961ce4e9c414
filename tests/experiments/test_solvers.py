"""Solvers side by side: what is declared can be run, and the page shows what was measured."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cryocore.config.run import Config, parse_config
from cryocore.config.select import Select
from experiments import solvers
from experiments.solvers import read_specs, with_reconstruct, with_true_share
from experiments.solvers_page import TRUTH, UNIFORM, by_solver, page_text

RUN = SimpleNamespace(correct=np.array([True, True, True, False]))


def test_what_is_declared_are_configurations() -> None:
    cases, specs = read_specs()
    assert len(cases) == 9 and len({spec.label for spec in specs}) == len(specs)
    for case in cases:
        parse_config({"run": "run", **case.config})
    for spec in specs:
        select, reconstruct = (with_true_share(s, RUN) for s in (spec.select, spec.reconstruct))  # type: ignore[arg-type]
        Select(**select)
        with_reconstruct(Config(), reconstruct)
    assert {TRUTH, UNIFORM} <= {spec.label for spec in specs}


def test_the_true_share_is_put_in_at_any_depth() -> None:
    assert with_true_share({"a": {"keep": "true share"}, "b": 1}, RUN) == {"a": {"keep": 0.75}, "b": 1}  # type: ignore[arg-type]


def measured(area: float) -> dict[str, object]:
    return {
        "fsc_truth_area": area,
        "fsc_truth_resolution_angstrom": 6.0,
        "correct_weight": 0.9,
        "n_effective": 100.0,
        "cross_validation": {"uniform": -5.0, "truth": -9.0, "weights": -8.0},
        "course": [area, area],
    }


def test_the_page_shows_the_best_solver_beside_the_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = read_specs()[0][1]
    values = {UNIFORM: 0.4, TRUTH: 0.5, "Huber": 0.45, "Student-t": 0.49}
    found = {**case.factors, "solvers": {label: measured(area) for label, area in values.items()}}
    (tmp_path / f"{case.name.removesuffix('-solvers')}.json").write_text(json.dumps(found, sort_keys=True))
    cases = list(solvers.measured_cases(tmp_path))
    assert [label for label, _ in by_solver(cases)] == [UNIFORM, TRUTH, "Huber", "Student-t"]
    text = page_text(cases)
    assert "| proteasome, 30 % | -20.0 % | Student-t | -2.0 % |" in text
    assert "| Huber | 0.450 | 0.900 | 100 | -9.00 |" in text
