from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from cryocore.config import Config, parse_config
from cryocore.config_file import read_config
from cryocore.config_text import config_yaml, configuration_page, configuration_schema

ROOT = Path(__file__).resolve().parents[1]


def test_config_file_is_the_default_run() -> None:
    assert yaml.safe_load((ROOT / "config.yaml").read_text()) == Config().model_dump(mode="json")
    assert read_config(ROOT / "config.yaml") == parse_config({})


def test_files_are_up_to_date() -> None:
    remedy = "run python -m cryocore.config_text"
    assert (ROOT / "config.yaml").read_text() == config_yaml(), remedy
    assert (ROOT / "config.schema.json").read_text() == configuration_schema(), remedy
    assert (ROOT / "docs/configuration.md").read_text() == configuration_page(), remedy


def test_every_key_is_explained() -> None:
    lines = [line for line in config_yaml().splitlines() if line and not line.startswith("#")]
    assert [line for line in lines if not line.partition("  # ")[2]] == []
    assert max(map(len, lines)) <= 120


def test_page_lists_bounds_and_choices() -> None:
    page = configuration_page()
    assert "| `n_rounds` | `4` | whole number ≥ 1 and ≤ 99 |" in page
    assert "| `backend` | `auto` | auto, cpu or cuda |" in page
    assert "| `mask` | `null` | text or null |" in page
    assert page.count("## ") == 10


def test_the_schema_takes_what_the_models_take() -> None:
    """That is what an editor shows as an error, and what it completes."""
    schema = json.loads((ROOT / "config.schema.json").read_text())
    text = (ROOT / "config.yaml").read_text()
    assert text.splitlines()[0] == "# yaml-language-server: $schema=config.schema.json"
    jsonschema.validate(yaml.safe_load(text), schema)
    jsonschema.validate({"select": {"rule": "fraction", "fraction": 0.7}, "score": {"cryosieve_angstrom": 30}}, schema)
    for wrong in ({"n_rouds": 3}, {"select": {"rule": "best"}}, {"input": {"simulate": {"box": "large"}}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)
