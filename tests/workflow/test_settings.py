from __future__ import annotations

import json
import math
from typing import Any

import pytest

from cryocore.config.checks import checked
from cryocore.config.reconstruct import Reconstruct
from cryocore.config.rules import RULES
from cryocore.config.run import Config, parse_config
from cryocore.config.score import Score
from cryocore.config.select import Select
from cryocore.config.simulate import Simulate
from cryocore.config.solve import Solve
from cryocore.errors import InputError
from cryocore.workflow.settings import STAGES, stage_settings


@pytest.mark.parametrize("stage", STAGES)
def test_settings_are_plain_and_know_no_machine(stage: Any) -> None:
    values = stage_settings(parse_config({"input": {"scratch": "/scratch/$SLURM_JOB_ID"}}), stage, 1)
    assert json.loads(json.dumps(values)) == values
    assert "backend" not in json.dumps(values) and "scratch" not in json.dumps(values)


def test_select_reads_the_value_of_its_round_only() -> None:
    config = parse_config({"select": {"rule": "fraction", "value": [0.9, 0.8, 0.7]}})
    kept = [stage_settings(config, "select", r)["select"]["value"] for r in (1, 2, 3, 4)]
    assert kept == [[0.9], [0.8], [0.7], [0.7]]


def test_a_score_reads_the_cut_off_of_its_round_only() -> None:
    config = parse_config({"score": {"cryosieve_angstrom": [40.0, 30.0, 20.0]}})
    kept = [stage_settings(config, "score", r)["score"]["cryosieve_angstrom"] for r in (0, 1, 2, 3)]
    assert kept == [[40.0], [30.0], [20.0], [20.0]]
    one = parse_config({"score": {"cryosieve_angstrom": 12.0}})
    assert stage_settings(one, "score", 0)["score"]["cryosieve_angstrom"] == [12.0]


def test_sections_survive_the_command_line() -> None:
    config = Config()
    assert Simulate(**stage_settings(config, "simulate")["simulate"]) == config.input.simulate
    assert Score(**stage_settings(config, "score")["score"]) == config.score
    direct = Reconstruct(**stage_settings(config, "reconstruct")["reconstruct"])
    assert direct == Reconstruct(**config.reconstruct.model_dump(include={*Reconstruct.model_fields}))
    config = parse_config({"reconstruct": {"method": "iterative", "padding": 1.5, "iterative": {"loss": "l1"}}})
    assert Solve(**stage_settings(config, "reconstruct")["reconstruct"]) == config.reconstruct
    config = Config()
    assert Config(**stage_settings(config, "report")["config"]) == config
    config = parse_config({"select": {"rule": "fraction"}})
    second = Select(**stage_settings(config, "select", 2)["select"])
    assert second.value == [config.select.value[1]]


def test_a_way_of_reconstruction_reads_its_own_settings_only() -> None:
    def read(**values: Any) -> dict[str, Any]:
        return stage_settings(parse_config({"reconstruct": values}), "reconstruct")

    assert read() == read(iterative={"loss": "huber"})
    robust = read(method="iterative", iterative={"loss": "huber"})
    assert robust["reconstruct"]["iterative"]["loss"] == "huber"
    assert robust == read(method="iterative", iterative={"loss": "huber", "processes": 2}, full_every=2)
    assert Solve(**robust["reconstruct"]).iterative.loss == "huber"


def test_the_number_of_folds_counts_only_where_there_are_folds() -> None:
    def settings(**score: Any) -> Any:
        return stage_settings(parse_config({"score": score}), "score")

    assert settings(n_folds=3) == settings(n_folds=9)
    assert settings(leave_one_out="folds", n_folds=3) != settings(leave_one_out="folds", n_folds=9)


def test_the_score_that_ranks_is_the_one_that_is_scored() -> None:
    config = parse_config({"select": {"score": "mixture", "rule": "fraction"}})
    assert stage_settings(config, "select", 1)["select"]["score"] == "mixture"
    assert stage_settings(config, "validate")["score"] == "mixture"
    for given, score in (({"rule": "fraction", "score": "z"}, "z"), ({"rule": "mixture"}, "mixture"), ({}, "mixture")):
        assert stage_settings(parse_config({"select": given}), "validate") == {"score": score}


def test_a_simulation_ignores_where_real_images_are() -> None:
    real = {"star": "a.star", "root": "images", "pixel_size_angstrom": 1.5}
    assert stage_settings(parse_config({"symmetry": "C1", "input": real}), "ingest")["root"] == "images"
    simulated = parse_config({"input": {**real, "star": None}})
    files = {"root": None, "pixel_size_angstrom": None, "passthrough": None, "seed": 0}
    values = stage_settings(simulated, "ingest")
    assert values.pop("choice")["class_number"] is None and values == files


def test_which_particles_are_read_is_settled_once() -> None:
    """By join or plant, where these write the file that ingest reads."""
    one = {"star": "a.star", "class": 3, "copies": "remove", "min_distance_angstrom": 20.0, "root": "r"}
    alone = parse_config({"symmetry": "C1", "input": one})
    assert alone.input.class_number == 3 and alone.model_dump()["input"]["class"] == 3
    chosen = {"class_number": 3, "copies": "remove", "min_distance_angstrom": 20.0, "duplicate_share": 0.1}
    assert stage_settings(alone, "ingest")["choice"] == chosen
    planted = parse_config({"symmetry": "C1", "input": {**one, "plant": {"junk": 0.1}}})
    assert stage_settings(planted, "plant")["choice"] == chosen
    left = {"class_number": None, "copies": "keep", "min_distance_angstrom": None, "duplicate_share": 0.1}
    assert stage_settings(planted, "ingest")["choice"] == left
    several = parse_config({"symmetry": "C1", "input": {**one, "star": ["a.star", "b.cs"]}})
    assert stage_settings(several, "join") == {"root": "r", "pixel_size_angstrom": None, "class_number": 3}
    values = stage_settings(several, "ingest")
    assert values["root"] is None and values["choice"] == {**chosen, "class_number": None}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"symmetry": "I1", "input": {"simulate": {"molecule": "channel"}}}, "channel has not the point group I1"),
        ({"input": {"simulate": {"molecule": "small"}}}, "small has not the point group D7; use C1"),
        ({"select": {"rule": "threshold", "score": "l2_loss"}}, "say which l2_loss is the largest"),
        (
            {
                "select": {"rule": "fraction"},
                "score": {"n_random_poses": 0, "n_perturbed_poses": 0, "n_perturbed_shifts": 0},
            },
            "dual needs score.n_random_poses",
        ),
    ],
)
def test_settings_that_cannot_work_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_config(values)


@pytest.mark.parametrize("rule", RULES)
def test_what_is_usual_for_a_rule_may_be_left_out(rule: str) -> None:
    """And what it would take no notice of is refused, by its name."""
    usual = Select(rule=rule)
    assert usual.value == [*RULES[rule].values.default]
    assert usual.score == (RULES[rule].score or "dual")
    assert usual == Select(rule=rule, value=None, score=None) == Select(**usual.model_dump())
    if RULES[rule].score:
        with pytest.raises(InputError, match=f"score: {rule} takes no notice of zc"):
            checked(Select, {"rule": rule, "score": "zc"})
    for value in (-1e9, math.nan):
        if rule != "threshold" or math.isnan(value):
            with pytest.raises(InputError, match="value"):
                checked(Select, {"rule": rule, "value": value})
