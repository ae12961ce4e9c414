"""Replays do what the workflow does, and say what follows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from cryocore.config.rules import RULES
from cryocore.config.select import Select
from cryocore.errors import InputError
from cryocore.explore.replay import Request, replay
from cryocore.explore.replay.bands import RECOMPUTABLE, BandLimit, band_range, recomputed
from cryocore.explore.replay.figures import cut_figure
from cryocore.explore.replay.outcome import outcome_text, outcomes_table
from cryocore.explore.replay.replay import write_star, write_subset
from cryocore.explore.replay.resolution import effective_correct, predict, scaled_fsc
from cryocore.explore.replay.views import view_shift
from cryocore.geometry.symmetry import point_group
from cryocore.log.names import PROBABILITY
from cryocore.log.rounds import aligned, find_rounds
from cryocore.maps.curves import FscCurves
from cryocore.select.groups import view_bins
from cryocore.select.stage import select
from cryocore.tables.io import read_table, table_metadata
from cryocore.tables.particles import Particles
from tests.explore.replay.conftest import SEED

ROOT = Path(__file__).resolve().parents[3]
VALUES = {"fraction": 0.6, "count": 300, "threshold": 1.0, "trimmed": 1.0, "balanced": 0.6, "micrograph": 0.7}


def test_the_runs_own_rule_gives_the_next_rounds_subset(small_run: Path, tmp_path: Path) -> None:
    (outcome,) = replay(small_run, [Request()], rounds="0")
    write_subset(outcome, find_rounds(small_run)[0], tmp_path / "subset.parquet")
    write_star(outcome, find_rounds(small_run)[0], tmp_path / "subset.star")
    own, again = read_table(small_run / "round_1" / "subset.parquet"), read_table(tmp_path / "subset.parquet")
    assert again.equals(own)
    assert table_metadata(again.schema)["seed"] == table_metadata(own.schema)["seed"] == SEED
    here, there = ((d / "subset.star").read_bytes().split(b"\n") for d in (tmp_path, small_run / "round_1"))
    assert here[1:] == there[1:]  # the first line says where images lie as seen from the file
    assert all(lines[0].startswith(b"# image paths start from ") for lines in (here, there))
    assert outcome.overlap is not None and outcome.overlap.jaccard == 1.0
    assert 0 < outcome.overlap.both < len(outcome.ids)


def test_a_rule_whose_score_the_log_lacks_is_refused(small_run: Path) -> None:
    with pytest.raises(InputError, match=r"no column 'probability'"):
        replay(small_run, [Request(rule="probability")], rounds="last")


@pytest.mark.parametrize("rule", [name for name, rule in RULES.items() if rule.score != PROBABILITY])
def test_every_rule_keeps_what_the_select_stage_keeps(rule: str, small_run: Path, tmp_path: Path) -> None:
    values = (VALUES[rule],) if rule in VALUES else None
    score = RULES[rule].score or "zc"
    asked = Request(rule=rule, values=values, score=score, seed=SEED)
    settings = Select(rule=rule, score=score, minimum=1, value=VALUES.get(rule))
    outs = {"out_table": tmp_path / "subset.parquet", "out_star": tmp_path / "subset.star"}
    how = {"settings": settings, "symmetry": "C1", "seed": SEED, "round_number": 2}
    select(small_run / "particles.parquet", small_run / "log" / "round=1" / "log.parquet", **how, **outs)
    (outcome,) = replay(small_run, [asked], rounds="last")
    write_subset(outcome, find_rounds(small_run)[-1], tmp_path / "again.parquet")
    wanted, again = (read_table(tmp_path / f"{name}.parquet") for name in ("subset", "again"))
    assert again.equals(wanted) and "posterior" in wanted.column_names
    np.testing.assert_array_equal(outcome.selection.weights, wanted.column("weight").to_numpy())
    assert outcome.selection.weights.std() > 0


@pytest.mark.parametrize("name", RECOMPUTABLE)
def test_scores_from_band_sums_are_those_of_the_log(name: str, small_run: Path) -> None:
    limit = BandLimit(40.0) if name == "cryosieve" else BandLimit()
    for log_round in find_rounds(small_run):
        stored = log_round.column(name)
        assert stored is not None and stored.std() > 0
        np.testing.assert_allclose(recomputed(log_round, name, limit), stored, rtol=2e-6, atol=2e-6 * stored.std())


def test_a_band_limit_takes_the_bands_within_it(small_run: Path) -> None:
    log_round = find_rounds(small_run)[1]
    edges, side = np.array(log_round.metadata["band_edges"]), 40 * 5.0
    bands = band_range(log_round.metadata, BandLimit(40.0, 15.0))
    assert edges[bands.start] >= side / 40 > edges[bands.start - 1]
    assert edges[bands.stop] - 1 <= side / 15 < edges[bands.stop + 1] - 1
    columns = log_round.read(["image_power", "projection_power", "inner_product"])
    a, e, c = (columns[n][:, bands].astype(float).sum(axis=1) for n in columns)
    found = recomputed(log_round, "ncc", BandLimit(40.0, 15.0))
    np.testing.assert_allclose(found, c / np.sqrt(a * e), rtol=1e-5)
    (outcome,) = replay(
        small_run,
        [Request(rule="fraction", values=(0.5,), score="ncc", limit=BandLimit(40.0, 15.0))],
        rounds="1",
    )
    half = outcome.half == 1
    best = np.argsort(-found[half])[: round(half.sum() / 2)]
    np.testing.assert_array_equal(np.flatnonzero(outcome.kept[half]), np.sort(best))


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        (Request(rule="fraction", score="dual", limit=BandLimit(40.0)), "no sum over bands"),
        (Request(rule="mixture", limit=BandLimit(40.0)), "no band limit"),
        (Request(rule="fraction", score="z", limit=BandLimit(19.5, 19.1)), "no band of the log"),
        (Request(rule="best"), "there is no rule 'best'"),
        (Request(score="best"), "score"),
        (Request(rule="threshold", score="l2_loss"), "say which l2_loss"),
        (Request(rule="threshold", score="zc", values=(99.0,)), "keeps 0 of"),
    ],
)
def test_what_cannot_be_replayed_is_refused_in_words(asked: Request, problem: str, small_run: Path) -> None:
    with pytest.raises(InputError, match=problem):
        replay(small_run, [asked])


def test_rounds_are_chosen_by_number(small_run: Path) -> None:
    assert [o.round for o in replay(small_run / "log", [Request()], rounds="1,0")] == [1, 0]
    with pytest.raises(InputError, match="there is no round '7'"):
        replay(small_run, [Request()], rounds="7")
    with pytest.raises(InputError, match="there is no log"):
        replay(small_run / "round_0", [Request()])


def test_rates_and_the_table_of_several_rules(small_run: Path) -> None:
    requests = [Request().compact(text) for text in ("mixture", "fraction=0.7@zc", "fraction=0.7@l2_loss")]
    outcomes = replay(small_run, requests, rounds="all")
    assert [(o.round, o.plan.settings.rule) for o in outcomes] == [
        (r, rule) for r in (0, 1) for rule in ("mixture", "fraction", "fraction")
    ]
    metrics = json.loads((small_run / "round_1" / "metrics.json").read_text())
    assert outcomes[0].rates is not None
    assert outcomes[0].rates.correct_rate == pytest.approx(metrics["correct_rate"], abs=1e-6)
    assert outcomes[3].rates is not None
    assert outcomes[3].rates.auc == pytest.approx(metrics["aucs"]["mixture"], abs=1e-4)
    good, bad = (o.rates.correct_rate for o in outcomes[1:3] if o.rates)
    assert good > bad > 0.6
    table = outcomes_table(outcomes).splitlines()
    assert len(table) == 7 and "fraction 0.7 of zc" in table[2] and table[2].split()[0] == "1"
    text = outcome_text(outcomes[1])
    assert "Jaccard" in text and "micrograph" in text and "predicted" in text
    json.dumps([o.as_dict() for o in outcomes], allow_nan=False)
    assert len(cut_figure(outcomes[1]).axes) == 2


def test_a_log_alone_is_enough(small_run: Path, tmp_path: Path) -> None:
    file = small_run / "log" / "round=0" / "log.parquet"
    alone = tmp_path / "log.parquet"
    alone.write_bytes(file.read_bytes())
    (outcome,) = replay(alone, [Request(rule="fraction", values=(0.7,), score="zc")])
    (inside,) = replay(small_run, [Request(rule="fraction", values=(0.7,), score="zc")], rounds="0")
    np.testing.assert_array_equal(outcome.kept, inside.kept)
    assert outcome.overlap is None and outcome.prediction is not None
    assert outcome.prediction.resolution_angstrom is None and outcome.prediction.effective_correct > 0
    star = tmp_path / "kept.star"
    with pytest.raises(InputError, match="in no run"):
        write_star(outcome, find_rounds(alone)[0], star)
    parent = Particles.read(small_run / "particles.parquet").parent
    write_star(outcome, find_rounds(alone)[0], star, Path(parent))
    n_rows = sum("@" in line for line in star.read_text().splitlines())
    assert n_rows == outcome.kept.sum()


def test_a_star_file_of_other_particles_is_refused(small_run: Path, tmp_path: Path) -> None:
    (outcome,) = replay(small_run, [Request()], rounds="0")
    other = tmp_path / "other.star"
    other.write_bytes((small_run / "round_1" / "subset.star").read_bytes())
    with pytest.raises(InputError, match="are not the"):
        write_star(outcome, find_rounds(small_run)[0], tmp_path / "out.star", other)


def test_weights_are_matched_by_id_where_rows_differ() -> None:
    ids, wanted = np.array([5, 9, 2], dtype=np.uint64), np.array([2, 7, 5], dtype=np.uint64)
    assert aligned(np.array([0.5, 0.9, 0.2]), ids, wanted).tolist() == [0.2, 0.0, 0.5]


def test_a_random_selection_moves_views_as_far_as_chance_and_a_lost_view_further() -> None:
    rng = np.random.default_rng(1)
    directions = rng.normal(size=(20_000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    views = view_bins(directions, point_group("C4"))
    p_values = [view_shift(views, (rng.random(20_000) < 0.6).astype(np.float32), seed=i).p_value for i in range(40)]
    assert 0.25 < np.mean(p_values) < 0.75
    assert np.mean(np.array(p_values) < 0.05) <= 0.15
    lost = view_shift(views, (np.abs(directions[:, 2]) < 0.98).astype(np.float32))
    assert lost.total_variation == pytest.approx(0.02, abs=0.005) and lost.p_value == pytest.approx(1 / 101)
    assert lost.least_kept < 0.2 and abs(lost.least_kept_view[2]) > 0.95


def test_symmetry_equivalents_under_the_point_group_are_one_view() -> None:
    rng = np.random.default_rng(2)
    directions = rng.normal(size=(5000, 3)) * (1.0, 1.0, 0.3)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    turned = directions[:, [1, 0, 2]] * (-1.0, 1.0, 1.0)
    side = (directions[:, 0] > 0).astype(np.float32)
    assert view_shift(view_bins(directions, point_group("C1")), side).total_variation > 0.3
    for symmetry in ("C4", "D4"):
        group = point_group(symmetry)
        views = view_bins(directions, group)
        again = view_bins(np.where(rng.random((5000, 1)) < 0.5, directions, turned), group)
        np.testing.assert_array_equal(views.bin_index, again.bin_index)
        assert view_shift(views, side).p_value > 0.02


def test_wrong_particles_cost_as_their_share_squared() -> None:
    correct = np.repeat([1.0, 0.0], [700, 300])
    assert effective_correct(np.ones(1000), correct) == pytest.approx(490.0)
    assert effective_correct(correct, correct) == pytest.approx(700.0)
    assert effective_correct(np.full(1000, 0.3), np.full(1000, 0.8)) == pytest.approx(640.0)
    curve = np.array([1.0, 0.9, 0.5, 0.143, 0.0, -0.1])
    np.testing.assert_allclose(scaled_fsc(scaled_fsc(curve, 3.0, 3.0), 1 / 3, 1 / 3), np.clip(curve, 0, 1), atol=1e-5)
    assert scaled_fsc(curve, 2.0, 0.5)[2] == pytest.approx(np.sqrt(2 / 3 * 1 / 3))


def test_the_prediction_is_what_the_next_round_measures(small_run: Path) -> None:
    (outcome,) = replay(small_run, [Request()], rounds="0")
    before, after = (FscCurves.read(small_run / f"round_{r}" / "fsc.parquet") for r in (0, 1))
    found = float(np.mean(np.clip(after.corrected, 0, 1)[1:] - np.clip(before.corrected, 0, 1)[1:]))
    predicted = outcome.prediction
    assert predicted is not None and predicted.fsc_area_change is not None
    assert found > 0.005 and predicted.fsc_area_change == pytest.approx(found, abs=0.015)
    assert predicted.effective_correct > 1.05 * predicted.effective_correct_before
    none = predict(
        np.zeros(4, np.float32), np.ones(4, np.float32), np.ones(4, np.float32), np.array([1, 1, 2, 2]), before
    )
    assert none.resolution_angstrom is None


def test_only_the_columns_that_are_asked_for_are_read(small_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import cryocore.log.rounds as module

    seen: set[str] = set()

    def spy(path: Path, columns: list[str]) -> object:
        seen.update(columns)
        return read_table(path, columns)

    monkeypatch.setattr(module, "read_table", spy)
    replay(small_run, [Request(rule="fraction", values=(0.7,), score="zc")], rounds="0")
    assert "zc" in seen and not seen & {"image_power", "random_pose_z", "local", "suggested_quat_w", "llr"}
    assert seen < {*pq.read_schema(small_run / "log" / "round=0" / "log.parquet").names, "is_correct"}


def test_a_replay_starts_no_pandas(small_run: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from cryocore.explore.replay import Request, replay\n"
        f"replay(Path({str(small_run)!r}), [Request(rule='fraction', score='zc', limit=None)], rounds='0')\n"
        "print('pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True, cwd=ROOT)
    assert done.stdout == "False\n"
