"""What a run leaves out, for its report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from cryocore.commands.app import app
from cryocore.explore.left_out import FIGURE, FILE, TITLES
from cryocore.explore.look import EACH, look
from cryocore.report.left_out import left_out_section
from cryocore.report.page import figure_file
from cryocore.report.summary import keep
from tests.explore.runs import CPU


def test_pictures_and_the_map_of_what_is_left_out(run: Path, tmp_path: Path) -> None:
    look(run, tmp_path, number="last", seed=0, backend=CPU)
    told = json.loads((tmp_path / FILE).read_text())
    assert told["round"] == 1 and told["groups"]["selected"] == 420
    assert told["map"]["n_left_out"] == 180 and len(told["map"]["sets"]) == 3
    sizes = set()
    for name in told["groups"]:
        with Image.open(tmp_path / f"{name}.png") as picture:
            sizes.add(picture.width)
    assert len(sizes) == 1, "all groups are drawn alike"
    section = left_out_section(tmp_path)
    assert section is not None and section.answer == f"Round 1: {told['map']['verdict']}"
    assert [d.name for d in section.drawings] == [
        *(f"particles_{name}" for name in TITLES if name in told["groups"]),
        FIGURE,
    ]
    for drawing in section.drawings:
        keep(drawing, tmp_path / "figures")
        assert (tmp_path / "figures" / figure_file(drawing.name)).stat().st_size > 5000
    assert EACH * len(told["groups"]) <= 48


def test_too_few_for_a_map(run: Path, tmp_path: Path) -> None:
    """Pictures are drawn all the same, and the report says why."""
    called = CliRunner().invoke(app, ["gallery", str(run), "--round", "0", "--out", str(tmp_path / "gallery")])
    assert called.exit_code == 0, called.output
    look(run, tmp_path, number="0", seed=0, backend=CPU)
    section = left_out_section(tmp_path)
    assert section is not None and "too few for a map" in section.answer
    assert FIGURE not in [d.name for d in section.drawings] and not (tmp_path / f"{FIGURE}.svg").exists()


def test_a_run_without_pictures_has_no_section(tmp_path: Path) -> None:
    assert left_out_section(tmp_path) is None
    (tmp_path / FILE).write_text("{}")
    with pytest.raises(ValueError, match="not what look writes"):
        left_out_section(tmp_path)
