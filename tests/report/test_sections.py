"""Sections that are answered from the log, and the chart of the FSC curves."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cryocore.errors import InputError
from cryocore.report.chart import BOTTOM, LEFT, RIGHT, TOP, fsc_chart
from cryocore.report.examined import examined_sections
from cryocore.report.groups import defocus_tables, defocus_warnings, groups_section
from cryocore.report.loss import loss_section
from cryocore.report.orientation import orientation_section
from cryocore.report.summary import read_rounds
from cryocore.tables.io import table_metadata, with_metadata, write_json
from cryocore.validate.figures import Curve


def changed_log(run, folder, **columns):
    """The log of round 2, the truth in it, with other columns; None takes a column away."""
    table = pq.read_table(run.log(2)).append_column("is_correct", pa.array(run.correct))
    for name, values in columns.items():
        at = table.column_names.index(name)
        table = table.remove_column(at) if values is None else table.set_column(at, name, values(table))
    path = folder / "log" / "round=2" / "log.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(table, path)
    return folder


def test_no_dependence_is_found_where_there_is_none(finished_run):
    section = loss_section(finished_run.folder, 2, seed=0)
    assert section.answer == "In round 2, z has one peak. No dependence on the pose is found."
    assert [d.name for d in section.drawings] == ["loss", "loss_direction", "loss_blind"]
    assert "share of variance" in section.details and section.warnings == ()


def test_a_planted_dependence_is_found(finished_run, tmp_path):
    def tilted(table):
        w, x, y, z = (table[f"quat_{c}"].to_numpy() for c in "wxyz")
        up = (w**2 - x**2 - y**2 + z**2) / (w**2 + x**2 + y**2 + z**2)
        return pa.array((table["z"].to_numpy() + 3.0 * up).astype(np.float32))

    def energies(table):
        return pa.array(np.random.default_rng(1).uniform(4.0, 6.0, len(table)).astype(np.float32))

    section = loss_section(changed_log(finished_run, tmp_path, z=tilted, expected_z=energies), 2, seed=0)
    assert [d.name for d in section.drawings] == ["loss", "loss_ranges", "loss_direction", "loss_blind"]
    assert "It depends on the pose, also among particles of the same" in section.answer
    assert any("the mean changes with the view" in point for point in section.points)


def test_a_log_without_losses_is_said_to_have_none(finished_run, tmp_path):
    gone = dict.fromkeys(("z", "l2_loss"))
    section = loss_section(changed_log(finished_run, tmp_path, **gone), 2, seed=0)
    assert section.answer == "Not answered: the log has no loss." and section.drawings == ()


def test_a_bad_micrograph_is_named_and_warned_of(finished_run, tmp_path):
    def flags(table):
        bad = np.array(table["micrograph"].to_pylist()) == "m007.mrc"
        return pa.array(np.where(bad, False, table["is_correct"].to_numpy()))

    section = groups_section(changed_log(finished_run, tmp_path, is_correct=flags, mixture=None), 2)
    assert section.answer == "Worse than chance explains: 1 of 20 micrographs (round 2, by the truth)."
    assert section.warnings == ("1 of 20 micrographs hold more incorrect particles than chance explains.",)
    (table,) = section.tables
    assert table.rows[0][0] == "m007.mrc" and table.rows[0][-1].endswith("◂")
    assert len(table.rows) == 3 and "◂" not in table.rows[1][-1]


def test_micrographs_of_a_wrong_defocus_are_named(finished_run, tmp_path):
    named = [{"name": "m003.mrc", "probability": 0.987, "offset_angstrom": 5200.0}]
    found = {"gain": 9.0, "expected": 1.1, "n_micrographs": 20, "micrographs": named}
    folder = changed_log(finished_run, tmp_path)
    path = folder / "log" / "round=2" / "log.parquet"
    table = pq.read_table(path)
    pq.write_table(with_metadata(table, **{**table_metadata(table.schema), "wrong_defocus": found}), path)
    section = groups_section(folder, 2)
    assert section.warnings[0].startswith("1 of 20 micrographs seems to have a wrong defocus")
    assert section.tables[0].rows == (("m003.mrc", "98.7 %", "5,200 Å"),)
    # one of which chance is not excluded is listed, and not warned of
    assert defocus_warnings({**found, "gain": 2.0}) == [] and len(defocus_tables({**found, "gain": 2.0})) == 1


def test_nobody_knows_who_is_wrong(finished_run, tmp_path):
    section = groups_section(changed_log(finished_run, tmp_path, is_correct=None, mixture=None), 2)
    assert section.answer == "Not answered: the log holds no posterior or flags."


def test_views_are_compared_between_the_first_round_and_the_last(finished_run, tmp_path):
    rounds = read_rounds(finished_run.folder, 2)
    section = orientation_section(finished_run.folder, rounds, seed=0)
    assert [d.name for d in section.drawings] == ["orientation"]
    assert section.answer and "Not answered" not in section.answer
    (table,) = section.tables
    assert [row[1] for row in table.rows] == [f"{m['sampling_compensation_factor']:.3f}" for m in rounds]
    assert orientation_section(finished_run.folder, rounds[:1], seed=0).answer == "Nothing is selected yet."
    assert orientation_section(tmp_path, rounds, seed=0).answer.startswith("Not answered: ")


@pytest.mark.parametrize("with_truth", [True, False])
def test_the_chart_is_to_scale(with_truth):
    resolution = 96.0 / np.maximum(np.arange(25), 1e-9)
    rng = np.random.default_rng(3)
    fsc = [np.linspace(1.0, 0.0, 25) ** power for power in (1.0, 0.5, 0.25)]
    fsc[1][9] = np.nan
    truth = rng.random((3, 25))
    chart = fsc_chart(
        [Curve(r, resolution, f, t if with_truth else None) for r, (f, t) in enumerate(zip(fsc, truth, strict=True))]
    )
    assert [p.threshold and p.threshold.text for p in chart.panels] == ["0.143", *["0.5"] * with_truth, None]
    points = [np.array([p.split(",") for p in line.split()], float) for line in chart.panels[0].lines]
    assert [len(p) for p in points] == [24, 23, 24] and chart.panels[0].values[1][8] is None
    np.testing.assert_allclose(points[0][:, 0], LEFT + (RIGHT - LEFT) * np.arange(1, 25) / 24, atol=0.06)
    level = (BOTTOM - points[2][:, 1]) / (BOTTOM - TOP) * 1.09 - 0.06
    np.testing.assert_allclose(level, fsc[2][1:], atol=1e-3)
    change = np.array(chart.panels[-1].values[2], float)
    expected = (truth[2] - truth[0] if with_truth else fsc[2] - fsc[0])[1:]
    np.testing.assert_allclose(change, expected, atol=1e-4)
    assert all(LEFT <= t.at <= RIGHT for t in chart.x_ticks) and all(
        TOP <= t.at <= BOTTOM for p in chart.panels for t in p.y_ticks
    )


def test_the_point_group_has_a_section_and_a_warning_where_it_is_contradicted(tmp_path):
    def candidate(group, ratio, verdict):
        return {"group": group, "within": "C1", "ratio": ratio, "error": ratio and 0.05, "verdict": verdict}

    assert examined_sections(tmp_path) == []
    answer = {
        "given": "C4",
        "verdict": "contradicted",
        "sentence": "The particles contradict C4.",
        "n_particles": 5000,
        "candidates": [candidate("C2", 0.01, "supported"), candidate("C4", 1.1, "contradicted")],
    }
    write_json(tmp_path / "examine.json", {"point_group": answer})
    (section,) = examined_sections(tmp_path)
    assert section.answer == "The particles contradict C4." and section.warnings == (section.answer,)
    assert section.tables[0].rows[1] == ("C4", "C1", "1.10 ± 0.05", "contradicted ◂")
    unknown = {**answer, "verdict": "undecided", "candidates": [candidate("C4", None, "undecided")]}
    write_json(tmp_path / "examine.json", {"point_group": unknown})
    (section,) = examined_sections(tmp_path)
    assert section.warnings == () and section.tables[0].rows == (("C4", "C1", "–", "undecided ◂"),)
    (tmp_path / "examine.json").write_text("{")
    with pytest.raises(InputError, match=r"examine\.json: not the answers of examine"):
        examined_sections(tmp_path)


def test_duplicates_are_a_section_and_a_warning(tmp_path):
    pair = {"particle_id": 2, "duplicate_of": 1, "micrograph": "a.mrc", "distance_angstrom": 15.42}
    counts = {"n_found": 7, "n_overlapping": 3, "n_compared": 40, "n_candidates": 90, "complete": False}
    answer = {"sentence": "Some are there twice.", "warning": "Leave them out.", "examples": [pair], **counts}
    write_json(tmp_path / "examine.json", {"duplicates": answer})
    (section,) = examined_sections(tmp_path)
    assert (section.answer, section.warnings) == ("Some are there twice.", ("Leave them out.",))
    assert section.tables[0].rows == (("2", "1", "a.mrc", "15.4"),) and "7 pairs" in section.tables[0].title
    assert section.points == (
        "40 of 90 pairs were compared.",
        "The boxes of 3 pairs of different particles overlap.",
    )
    none = answer | {"warning": None, "examples": [], "n_found": 0, "n_overlapping": 0, "complete": True}
    write_json(tmp_path / "examine.json", {"duplicates": none})
    (section,) = examined_sections(tmp_path)
    assert (section.warnings, section.tables, section.points) == ((), (), ())
