"""The program cryocore: verbs, help, JSON, exit codes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from cryocore.commands.app import app
from cryocore.commands.replay import RULES_HELP, SCORES_HELP
from cryocore.config.rules import RULES
from cryocore.explore.replay.bands import RECOMPUTABLE
from cryocore.log.rounds import find_rounds
from tests.explore.replay.test_text_log import written

ROOT = Path(__file__).resolve().parents[3]


def call(*arguments: object, code: int = 0) -> str:
    """Standard output of a verb that ends with an exit code."""
    done = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert done.exit_code == code
    return done.stdout


def program(*arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-P", "-m", "cryocore", *map(str, arguments)]
    return subprocess.run(command, env=environment, text=True, capture_output=True, check=False)


def test_help_is_quick_and_names_every_choice() -> None:
    code = "import sys, cryocore.commands.app; print([m for m in ('numpy', 'pyarrow', 'scipy') if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], env=environment, text=True, capture_output=True, check=True
    )
    assert done.stdout == "[]\n"
    assert all(rule in RULES_HELP for rule in RULES) and all(name in SCORES_HELP for name in RECOMPUTABLE)
    verbs = (
        "replay",
        "micrograph-quality",
        "orientation",
        "residuals",
        "train",
        "import-log",
        "convert",
        "info",
        "transfer-selection",
    )
    assert all(verb in call("--help") for verb in verbs)
    assert call("--version").startswith("cryocore ")


def test_exit_codes(tmp_path: Path) -> None:
    done = program("replay", tmp_path)
    assert done.returncode == 2
    assert done.stderr.strip().startswith("cryocore: error: ") and "there is no log" in done.stderr
    assert program("replay").returncode == 2


def test_replay_writes_text_json_and_files(small_run: Path, tmp_path: Path) -> None:
    table = call("replay", small_run)
    assert len(table.splitlines()) == 3
    chosen = ("replay", small_run, "--round", 0, "--rule", "fraction", "--value", 0.6, "--score", "zc")
    files = {"--star": "out.star", "--out": "out.parquet", "--plot": "out.png"}
    options = [part for option, name in files.items() for part in (option, tmp_path / name)]
    (value,) = json.loads(call(*chosen, *options, "--json"))
    assert value["selection"]["rule"] == "fraction" and value["n_kept"] == 480
    assert value["rates"]["correct_rate"] > 0.8 and value["prediction"]["correct_from"] == "flags"
    assert all((tmp_path / name).stat().st_size > 0 for name in files.values())
    limited = call(*chosen, "--first-angstrom", 40, "--last-angstrom", 12)
    assert "zc, 40 to 12 Å" in limited
    assert len(call("replay", small_run, "--compare", "soft", "--compare", "fraction=0.5@z").splitlines()) == 5


def test_groups(small_run: Path, tmp_path: Path) -> None:
    text = call(
        "micrograph-quality", small_run, "--rows", 3, "--out", tmp_path / "g.parquet", "--plot", tmp_path / "g.svg"
    )
    assert "posterior" in text and text.count("micrograph_") == 3
    value = json.loads(call("micrograph-quality", small_run, "--kind", "micrograph", "--by", "flags", "--json"))
    assert value["by"] == "flags" and len(value["groups"]["micrograph"]["groups"]) == 10
    assert (tmp_path / "g.svg").exists() and (tmp_path / "g.parquet").exists()


def test_import_log_then_replay(tmp_path: Path) -> None:
    written(tmp_path / "old.log")
    assert "round 0: 200 particles" in call("import-log", tmp_path / "old.log", tmp_path / "new")
    value = json.loads(
        call("replay", tmp_path / "new", "--rule", "fraction", "--value", 0.7, "--score", "l2_loss", "--json")
    )
    assert value[0]["rates"]["correct_rate"] > 0.9


def test_orientation_is_answered_from_the_log_alone(small_run: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    shutil.copytree(small_run / "log", log)
    value = json.loads(call("orientation", log, "--json"))
    last = max(r.number for r in find_rounds(log))
    assert value["rounds"] == [0, last] and value["n_after"] < value["n_before"] == 800
    assert 0 < value["sampling"]["after"]["factor"] < 1 and value["directional_fsc"] is None
    text = call("orientation", log, "--round", last, "--plot", tmp_path / "views.png")
    assert text.startswith(f"Round {last}: {value['n_after']} of 800 particles") and "Empty views" in text
    assert (tmp_path / "views.png").stat().st_size > 0
    assert "selection" not in call("orientation", log, "--round", 0)
    assert program("orientation", log, "--round", 9).returncode == 2


@pytest.mark.slow
def test_residuals_and_a_classifier_from_a_finished_run(small_run: Path, tmp_path: Path) -> None:
    chosen = ("residuals", small_run, "--which", "incorrect", "--count", 5, "--out", tmp_path / "incorrect")
    assert json.loads(call(*chosen, "--format", "npy", "--json"))["images"] == 5
    image, residual = (np.load(tmp_path / "incorrect" / f"{name}.npy") for name in ("image", "residual"))
    assert image.shape == residual.shape == (5, 40, 40)
    flags = pq.read_table(tmp_path / "incorrect" / "particles.parquet").column("is_correct").to_pylist()
    assert flags == [False] * 5

    text = call("train", small_run, "--round", 0, "--folds", 3, "--out", tmp_path / "model")
    assert text.startswith("# Logistic regression") and "wrong_pose" in text and "The errors are planted" in text
    assert json.loads((tmp_path / "model" / "model.json").read_text())["labels"] == "truth"
    done = program("train", small_run, "--model", "tree", "--out", tmp_path / "model")
    assert done.returncode == 2 and "Choose one of logistic, boosting, cnn" in " ".join(done.stderr.split())
