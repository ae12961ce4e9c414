"""File names of a configuration: the home folder, and what is no name."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryocore.config.run import parse_config
from cryocore.errors import InputError

BASE = {"run": "x", "symmetry": "C1", "n_rounds": 1}


def test_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    given = {
        "star": "~/a.star",
        "root": "~",
        "truth": "~/t.parquet",
        "true_map": "/x/~/map.mrc",
        "simulate": {"volume": "~/v.mrc"},
    }
    config = parse_config({**BASE, "input": given, "reconstruct": {"mask": "~/m.mrc"}})
    assert (config.input.star, config.input.root) == (f"{tmp_path}/a.star", str(tmp_path))
    assert config.input.truth == f"{tmp_path}/t.parquet" and config.input.true_map == "/x/~/map.mrc"
    assert config.input.simulate.volume == f"{tmp_path}/v.mrc" and config.reconstruct.mask == f"{tmp_path}/m.mrc"
    monkeypatch.delenv("HOME")
    assert parse_config({**BASE, "input": {"star": "~/a.star"}}).input.star == str(Path("~/a.star").expanduser())


def test_names_that_only_look_like_it() -> None:
    assert parse_config({**BASE, "input": {"star": "a~b.star", "root": "~draft"}}).input.root == "~draft"
    with pytest.raises(InputError, match="there is no home folder ~nobody_of_this_name; write the whole path"):
        parse_config({**BASE, "input": {"star": "~nobody_of_this_name/a.star"}})
