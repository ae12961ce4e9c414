"""The verdict on the peaks of a loss is right where the cause is known, and open where it cannot be known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from typer.testing import CliRunner

from cryocore.commands.app import app
from cryocore.errors import InputError
from cryocore.explore.loss import analyse, distribution, read_columns
from cryocore.explore.loss.distribution import BOTH, IMAGING, KINDS, ONE, UNCLEAR, VIEWS
from cryocore.explore.loss.figures import blind_figure, direction_figure, distribution_figure, ridge_figure
from cryocore.explore.loss.variance import decompose
from cryocore.geometry.rotations import matrix_to_quaternion
from cryocore.tables.io import write_table
from tests.explore.loss.laws import law

TWO_VIEWS: dict[str, Any] = {"preference": 12, "contrast": 0.4, "strength": 11}


@pytest.mark.parametrize(
    ("settings", "verdict"),
    [
        (TWO_VIEWS, VIEWS),
        ({"incorrect": 0.3}, KINDS),
        ({**TWO_VIEWS, "incorrect": 0.3}, BOTH),
        ({"incorrect": 0.3, "symmetry": "D7", "loss": "llr"}, KINDS),
        ({**TWO_VIEWS, "loss": "ncc"}, VIEWS),
        ({}, ONE),
        ({"defocus_groups": 0.9}, IMAGING),
    ],
    ids=["geometry", "incorrect", "both", "incorrect, D7, llr", "geometry, ncc", "one", "defocus"],
)
def test_verdict_names_the_cause(settings: dict[str, Any], verdict: str) -> None:
    result = distribution(law(1500, seed=6, **settings))
    assert result.verdict == verdict
    if settings.get("incorrect"):
        assert result.worse_share == pytest.approx(0.3, abs=0.04)
        assert result.agreement is not None and result.agreement > 0.98


def test_views_alone_are_enough_to_tell_geometry_from_errors() -> None:
    geometry = replace(law(1500, **TWO_VIEWS), expected=None)
    assert distribution(geometry).verdict == VIEWS
    assert distribution(replace(law(1500, incorrect=0.3), expected=None)).verdict == KINDS


def test_says_when_it_cannot_tell() -> None:
    columns = law(1500, incorrect=0.3)
    assert distribution(columns.take(np.arange(300))).verdict == UNCLEAR
    assert distribution(replace(columns, expected=None, rotations=None)).verdict == UNCLEAR
    assert columns.micrograph is not None
    by_micrograph = replace(law(1500), loss=law(1500).loss + 6.0 * (columns.micrograph % 3 == 0))
    by_micrograph = replace(by_micrograph, micrograph=columns.micrograph)
    grouped = distribution(by_micrograph)
    assert grouped.verdict == UNCLEAR
    assert "micrograph" in grouped.reasons[-1]


def test_decomposition_is_zero_for_noise_and_adds_up() -> None:
    random = np.random.default_rng(7)
    columns = law(3000, contrast=0.3)
    noise = decompose(columns, random.normal(size=3000))
    assert all(abs(v) < 0.02 for v in [*noise.alone.values(), noise.together])
    assert columns.defocus_angstrom is not None and columns.micrograph is not None
    micrograph_means = random.normal(size=columns.micrograph.max() + 1)[columns.micrograph]
    planted = columns.defocus_angstrom / columns.defocus_angstrom.std() + micrograph_means / micrograph_means.std()
    split = decompose(columns, planted + np.sqrt(2) * random.normal(size=3000))
    assert split.share["defocus"] == pytest.approx(0.25, abs=0.04)
    assert split.share["micrograph"] == pytest.approx(0.25, abs=0.04)
    assert sum(split.share.values()) == pytest.approx(split.together)
    assert split.together + split.rest == pytest.approx(1.0)


def test_same_result_in_any_order_of_rows() -> None:
    columns = law(700, incorrect=0.3)
    mixed = columns.take(np.random.default_rng(8).permutation(700))
    assert distribution(columns, seed=2).as_dict() == distribution(mixed, seed=2).as_dict()


def test_a_log_is_read_and_analysed(tmp_path: Path) -> None:
    columns = law(600, incorrect=0.3, symmetry="C4")
    path = tmp_path / "log" / "round=2" / "log.parquet"
    write_log(path, columns.loss)
    read = read_columns(tmp_path)
    assert (read.name, read.round, read.symmetry, read.n_left_out) == ("z", 2, "C4", 1)
    result = analyse(read, permutations=49)
    said = CliRunner().invoke(app, ["loss-distribution", str(tmp_path), "--permutations", "49", "--json"])
    assert json.loads(said.output) == result.as_dict()
    hidden = CliRunner().invoke(
        app, ["loss-distribution", str(tmp_path), "--blind", "--figures", str(tmp_path / "quiz")]
    )
    assert hidden.exit_code == 0
    panel = json.loads((tmp_path / "quiz" / "blind_answer.json").read_text())["panel"]
    assert panel == blind_figure(read).answer and (tmp_path / "quiz" / "blind.png").exists()
    assert result.as_dict()["distribution"]["verdict"] in result.text
    with pytest.raises(InputError, match="no values of 'nothing'"):
        read_columns(tmp_path, loss="nothing")
    with pytest.raises(InputError, match="no round '5'"):
        read_columns(tmp_path, round_number=5)


def write_log(path: Path, loss: np.ndarray) -> None:
    columns = law(len(loss), incorrect=0.3, symmetry="C4")
    assert columns.rotations is not None and columns.flags is not None
    assert columns.image_energy is not None and columns.micrograph is not None
    quaternions = matrix_to_quaternion(columns.rotations)
    table = {
        "particle_id": columns.ids,
        "half": np.tile(np.array([1, 2], dtype=np.int8), len(loss) // 2),
        "z": np.append(loss[:-1], np.nan).astype(np.float32),
        "expected_z": columns.expected,
        "is_correct": columns.flags == 1,
        "micrograph": pa.array([f"m{code}" for code in columns.micrograph.tolist()]),
        "image_power": pa.FixedSizeListArray.from_arrays(pa.array(np.repeat(columns.image_energy / 2, 2)), 2),
        **{f"quat_{c}": quaternions[:, i] for i, c in enumerate("wxyz")},
    }
    write_table(path, pa.table(table), symmetry="C4", round=2)


def test_figures_draw_and_the_blind_test_hides_its_answer() -> None:
    columns = law(600, incorrect=0.3, symmetry="D7")
    result = analyse(columns, permutations=19)
    assert result.direction is not None
    blind = [blind_figure(columns, seed=s, panels=3) for s in range(8)]
    assert {b.answer for b in blind} == {1, 2, 3}
    again = blind_figure(columns.take(np.arange(600)[::-1]), seed=0, panels=3)
    true = np.sort(drawn(again.figure, again.answer))
    assert again.answer == blind[0].answer
    assert np.allclose(drawn(again.figure, again.answer), drawn(blind[0].figure, again.answer))
    assert all(np.allclose(np.sort(drawn(again.figure, panel)), true) for panel in (1, 2, 3))
    for figure in (
        distribution_figure(columns, result.distribution),
        ridge_figure(columns),
        direction_figure(columns, result.direction),
        again.figure,
    ):
        FigureCanvasAgg(figure).draw()


def drawn(figure: Any, panel: int) -> np.ndarray:
    return np.asarray(figure.axes[panel - 1].collections[0].get_array())
