"""A run on one slide."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cryocore.commands.app import app
from cryocore.errors import InputError
from cryocore.maps.curves import FscCurves
from cryocore.maps.fsc import resolution_at
from cryocore.report.slide import draw, read_slide
from tests.explore.conftest import run

__all__ = ["run"]


def test_a_run_on_a_slide(run: Path, tmp_path: Path) -> None:
    found = read_slide(run)
    assert (found.number, len(found.kept), int(found.kept.sum())) == (1, 600, 420)
    curves = FscCurves.read(run / "round_1" / "fsc.parquet")
    assert found.resolutions[1] == resolution_at(curves.corrected, curves.resolution_angstrom)
    assert sum(found.kinds.values()) == 600
    texts = [text.get_text() for axes in draw(found).axes for text in axes.texts]
    assert f"{max(found.kinds.values()):,}" in texts


def test_the_verb_writes_it(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "slide.png"
    result = CliRunner().invoke(app, ["slide", str(run), "--out", str(out), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["n_kept"] == 420
    with Image.open(out) as picture:
        width, height = picture.size
        assert width / height == pytest.approx(16 / 9, rel=0.01)
        assert np.asarray(picture.convert("L")).std() > 10


def test_a_run_without_maps(run: Path, tmp_path: Path) -> None:
    kept = tmp_path / "run"
    shutil.copytree(run, kept)
    (kept / "round_1" / "map.mrc").unlink()
    with pytest.raises(InputError, match=r"map\.mrc: the file does not exist"):
        read_slide(kept)
