from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import yaml

from cryocore.config.run import parse_config
from cryocore.errors import InputError
from experiments.cases import GRID, SETS, chosen, expand, merged, read_cases

CASES = read_cases()


def test_the_grid_has_every_combination_once() -> None:
    grid = yaml.safe_load(GRID.read_text())
    sizes = [len(grid[name]) for name in ("molecules", "kinds", "rates", "snrs", "particles")]
    assert sizes == [3, 5, 3, 5, 4]
    counts = Counter(name for case in CASES for name in case.sets)
    assert counts["grid"] == math.prod(sizes)
    assert counts["repeats"] == 20
    assert set(counts) == set(SETS)
    assert len({case.name for case in CASES}) == len(CASES)


def test_named_rows_belong_to_the_grid_and_keep_their_reference() -> None:
    rows = [case for case in CASES if "table" in case.sets]
    assert [case.name for case in rows if "grid" not in case.sets] == ["channel-uniform-50-snr0.005-n10000-hard"]
    assert rows[0].reference["z"] == 0.999
    assert {case.factors["kind"] for case in rows} == {"uniform", "local", "junk", "shift", "mixed"}


@pytest.mark.parametrize("case", [c for c in CASES if c.factors.get("n") == 1000][::7])
def test_cases_are_configurations_with_the_declared_errors(case: Any) -> None:
    config = parse_config({"run": "run", **case.config})
    assert config.input.plant.total == pytest.approx(case.factors["rate"])
    assert config.input.simulate.snr == case.factors["snr"]
    assert config.select.rule == "soft"
    assert config.n_rounds == (3 if case.name.endswith("-short") else 8)


def test_a_variant_has_settings_of_its_own() -> None:
    plain, hard = (case.config for case in CASES if case.name.startswith("channel-uniform-50-snr0.005-n10000"))
    assert (plain["select"], hard["select"]) == ({"rule": "soft"}, {"rule": "mixture"})
    assert {k: v for k, v in plain.items() if k != "select"} == {k: v for k, v in hard.items() if k != "select"}


def test_a_rule_in_the_settings_replaces_the_known_rate() -> None:
    grid = yaml.safe_load(GRID.read_text())
    grid["settings"]["select"] = {"rule": "threshold", "value": [0.0]}
    select = expand(grid)[0].config["select"]
    assert select == {"rule": "threshold", "value": [0.0]}


def test_without_a_rule_the_known_rate_is_dropped() -> None:
    grid = yaml.safe_load(GRID.read_text())
    grid["settings"]["select"] = {"score": "dual"}
    case = next(c for c in expand(grid) if c.factors.get("rate"))
    select = case.config["select"]
    assert (select["rule"], select["score"]) == ("fraction", "dual")
    assert select["value"][-1] == pytest.approx(1 - case.factors["rate"])


@pytest.mark.parametrize(
    "words, expected",
    [
        (["table"], 11),
        (["molecule=channel", "snr=0.005,0.01", "n=1000", "kind=junk"], 6),
        (["grid", "rate=.30", "n=20000"], 75),
        (["small-uniform-30-snr0.01-n1000-seed*"], 19),
        (["real", "kind=uniform"], 4),
    ],
)
def test_words_choose_a_part(words: list[str], expected: int) -> None:
    assert len(chosen(CASES, words)) == expected


@pytest.mark.parametrize("words, problem", [(["colour=red"], "no factor colour"), (["nothing-*"], "no case matches")])
def test_words_that_choose_nothing_are_refused(words: list[str], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        chosen(CASES, words)


def test_a_row_of_an_unknown_molecule_is_refused() -> None:
    grid = yaml.safe_load(GRID.read_text())
    grid["table"][0]["molecule"] = "ribosome"
    with pytest.raises(InputError, match="there is no ribosome"):
        expand(grid)


def test_settings_above_win_and_leave_the_others() -> None:
    assert merged({"a": {"b": 1}, "d": [1]}, {"a": {"c": 2}, "d": [2]}) == {"a": {"b": 1, "c": 2}, "d": [2]}
