from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from cryocore.config.file import read_config
from cryocore.config.run import Config, parse_config
from cryocore.config.select import Select
from cryocore.config.text import config_yaml, configuration_page, configuration_schema, rules_table, with_rules

ROOT = Path(__file__).resolve().parents[2]


def test_config_file_is_the_default_run() -> None:
    assert read_config(ROOT / "config.yaml") == parse_config({}) == Config()
    values = yaml.safe_load((ROOT / "config.yaml").read_text())
    assert values.keys() == Config().model_dump().keys() and values["select"].keys() == Select().model_dump().keys()


def test_another_rule_does_not_take_the_value_of_the_demos() -> None:
    """As ``snakemake --config 'select={rule: fraction}'`` puts it above the values of the file."""
    values = yaml.safe_load((ROOT / "config.yaml").read_text())
    values["select"]["rule"] = "fraction"
    assert parse_config(values).select == Select(rule="fraction")


def test_files_are_up_to_date() -> None:
    fix = "run python -m cryocore.config.text"
    assert (ROOT / "config.yaml").read_text() == config_yaml(), fix
    assert (ROOT / "config.schema.json").read_text() == configuration_schema(), fix
    assert (ROOT / "docs/reference/configuration.md").read_text() == configuration_page(), fix
    rules = (ROOT / "docs/reference/selection-rules.md").read_text()
    assert rules_table() in rules and with_rules(rules) == rules, fix


def test_every_key_is_explained() -> None:
    lines = [line for line in config_yaml().splitlines() if line and not line.startswith("#")]
    assert [line for line in lines if not line.partition("  # ")[2]] == []
    assert max(map(len, lines)) <= 120


def test_page_lists_bounds_and_choices() -> None:
    page = configuration_page()
    assert "| `n_rounds` | `3` | whole, 1 to 99 |" in page
    assert "| `backend` | `auto` | auto, cpu or cuda |" in page
    assert "| `mask` | `null` | text or null |" in page
    assert page.count("## ") == 11


def test_the_schema_takes_what_the_models_take() -> None:
    """That is what an editor shows as an error, and what it completes."""
    schema = json.loads((ROOT / "config.schema.json").read_text())
    text = (ROOT / "config.yaml").read_text()
    assert text.splitlines()[0] == "# yaml-language-server: $schema=config.schema.json"
    jsonschema.validate(yaml.safe_load(text), schema)
    jsonschema.validate({"select": {"rule": "fraction", "value": 0.7, "score": None}}, schema)
    jsonschema.validate({"score": {"cryosieve_angstrom": 30}}, schema)
    for incorrect in ({"n_rouds": 3}, {"select": {"rule": "best"}}, {"input": {"simulate": {"box": "large"}}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(incorrect, schema)
