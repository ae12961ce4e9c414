"""Cases of second states, and what the page says of them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from experiments import states, states_page


def values(case: states.Case, errors: float, told: bool) -> dict[str, Any]:
    """What a case leaves behind."""
    second = {"kind": case.label, "share": 0.1} if told else None
    settings = {name: case.simulate.get(name) for name in ("snr", "second_state", "second_share")}
    found = {"standard_errors": errors, "second": second}
    of_case = {"name": case.name, "group": case.group, "label": case.label, "seed": case.seed, **settings}
    return {**of_case, "auc": 0.9 if told and case.label != "none" else None, "found": found}


def test_cases_are_runs_of_their_own() -> None:
    every = list(states.cases())
    assert len({case.name for case in every}) == len(every)
    groups = Counter(case.group for case in every)
    assert groups["seeds"] == 3 * states.SEEDS and groups["grid"] == 2 * len(states.SNRS) * len(states.SHARES)
    for case in every:
        made = case.config.input.simulate
        assert (made.second_share > 0) == (case.group in ("grid", "symmetric") or case.label in states.KINDS)


def test_the_page_counts_what_is_told(tmp_path: Path) -> None:
    assert states_page.write_page(tmp_path, tmp_path / "states.md") is None
    for case in states.cases():
        if case.group == "seeds":
            told = case.label == "missing" or case.name in ("none-3", "turned-5")
            (tmp_path / f"{case.name}.json").write_text(json.dumps(values(case, 5.0 if told else 1.0, told)))
    states_page.write_page(tmp_path, tmp_path / "states.md")
    page = (tmp_path / "states.md").read_text()
    assert "| none | 1 of 20 |" in page and "| missing | 20 of 20 |" in page and "| turned | 1 of 20 |" in page
    assert "## By signal" not in page
