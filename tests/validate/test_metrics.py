"""metrics.json and the log of a round."""

from __future__ import annotations

import json

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import precision_score, recall_score, roc_auc_score

from cryocore.errors import InputError
from cryocore.geometry.sampling import sampling_of
from cryocore.geometry.symmetry import point_group
from cryocore.log.complete import write_log
from cryocore.log.rounds import open_round
from cryocore.maps import fsc, read_map, resolution_at, write_map
from cryocore.tables.io import read_table, table_metadata, write_table, write_tables


def metrics_of(run, number):
    return json.loads((run.folder / f"round_{number}" / "metrics.json").read_text())


def scores_of(run, number):
    return pq.ParquetFile(run.log(number)).read().to_pandas()


@pytest.mark.parametrize("number", [0, 2])
def test_numbers(finished_run, number):
    found, table, correct = metrics_of(finished_run, number), scores_of(finished_run, number), finished_run.correct
    selected = table.selected.to_numpy()
    assert found["round"] == number and found["n_particles"] == 600
    assert found["n_kept"] == selected.sum()
    assert found["n_kept_half1"] == (selected & (table.half == 1)).sum()
    assert found["n_kept_half1"] + found["n_kept_half2"] == found["n_kept"]
    assert found["correct_rate"] == pytest.approx(correct[selected].mean(), abs=1e-6)
    assert found["precision"] == pytest.approx(precision_score(correct, selected), abs=1e-6)
    assert found["recall"] == pytest.approx(recall_score(correct, selected), abs=1e-6)
    assert list(found["aucs"]) == ["dual", "l2_loss", "mixture", "z"]
    assert found["auc"] == found["aucs"]["dual"] == pytest.approx(roc_auc_score(correct, table.dual), abs=1e-6)
    assert found["aucs"]["l2_loss"] == pytest.approx(roc_auc_score(correct, -table.l2_loss), abs=1e-6)
    assert sum(k["n"] for k in found["error_kinds"].values()) == (~correct).sum()


def test_selection_pays(finished_run):
    rates = [metrics_of(finished_run, r)["correct_rate"] for r in range(3)]
    assert rates[0] == pytest.approx(0.7, abs=0.05) and rates[0] + 0.1 < rates[1] < rates[2]


def test_resolution_and_truth(finished_run):
    found = metrics_of(finished_run, 1)
    folder = finished_run.folder / "round_1"
    made, pixel = read_map(folder / "map.mrc")
    mask, true = read_map(folder / "mask.mrc")[0], read_map(finished_run.true_map)[0]
    curve = fsc(made * mask, true * mask)
    with np.errstate(divide="ignore"):
        shells = 32 * pixel / np.arange(17)
    assert found["fsc_truth_area"] == pytest.approx(curve[1:].mean(), abs=1e-6)
    assert found["fsc_truth_resolution_angstrom"] == pytest.approx(resolution_at(curve, shells, 0.5), abs=1e-3)
    curves = pq.read_table(folder / "fsc.parquet").to_pandas()
    assert found["resolution_angstrom"] == pytest.approx(
        resolution_at(curves.corrected, curves.resolution_angstrom, 0.143), abs=1e-3
    )
    assert found["resolution_angstrom"] < found["resolution_half_angstrom"]


def test_how_evenly_the_views_of_the_map_sample_it(finished_run, one_round):
    log = finished_run.folder / "log" / "round=1" / "log.parquet"
    table = read_table(log)
    views = np.stack([table[f"view_{c}"].to_numpy() for c in "xyz"], axis=1).astype(np.float64)
    weight = table["weight"].to_numpy()
    expected = sampling_of(views[weight > 0], point_group("C1"), weight[weight > 0])
    found = metrics_of(finished_run, 1)
    assert 0 < (weight > 0).sum() < len(weight)
    assert found["sampling_compensation_factor"] == pytest.approx(expected.factor, abs=1e-6)
    assert found["unsampled_share"] == pytest.approx(expected.unsampled, abs=1e-6)
    path = one_round.log(0)
    write_table(path, read_table(path).drop_columns(["view_x"]))
    assert json.loads(one_round.validate(0).read_text())["sampling_compensation_factor"] is None


def test_the_log_is_the_scores_with_their_mixture(finished_run):
    table = read_table(finished_run.log(1))
    assert table.column_names[-2:] == ["mixture", "likely_kind"] and "round" not in table.column_names
    assert table_metadata(table.schema)["config_hash"] == "abc"
    assert pq.ParquetFile(finished_run.log(1)).num_row_groups == 3


def test_the_truth_is_joined_to_the_log(finished_run):
    found = open_round(finished_run.log(1))
    np.testing.assert_array_equal(found.flags() == 1, finished_run.correct)
    table = found.table(["error_kind", "dual", "is_correct"])
    assert table.column_names == ["error_kind", "dual", "is_correct"]
    np.testing.assert_array_equal(table["error_kind"].to_numpy() == "none", finished_run.correct)
    np.testing.assert_array_equal(table["dual"].to_numpy(), scores_of(finished_run, 1).dual)
    assert open_round(finished_run.log(1), beside=[]).flags().max() == -1


def test_a_truth_of_other_particles_is_not_joined(one_round):
    one_round.validate(0)
    known = one_round.folder / "truth.parquet"
    write_table(known, read_table(known).take(pa.array(np.roll(np.arange(120), 1))))
    with pytest.raises(InputError, match=r"truth.parquet, column particle_id: .*same order"):
        open_round(one_round.log(0)).flags()


def test_the_error_rate_and_the_log_odds(finished_run):
    incorrect = 1.0 - finished_run.correct.mean()
    found = metrics_of(finished_run, 2)
    rate = found["error_rate"]
    assert rate["low"] <= incorrect <= rate["high"] and abs(rate["value"] - incorrect) < 0.1
    table = read_table(finished_run.folder / "log" / "round=2" / "log.parquet")
    assert table_metadata(table.schema)["error_rate"] == rate
    odds = table["mixture"].to_numpy()
    assert found["aucs"]["mixture"] == pytest.approx(roc_auc_score(finished_run.correct, odds), abs=1e-6)
    assert found["aucs"]["mixture"] > 0.85


def test_the_logs_open_as_one_data_set(finished_run):
    folder = finished_run.folder / "log"
    expected = {0: 600, 1: 600, 2: 600}
    frame = pd.read_parquet(folder)
    assert frame.groupby("round", observed=True).size().to_dict() == expected
    lazy = pl.scan_parquet(folder).group_by("round").len().collect()
    assert dict(lazy.iter_rows()) == expected
    rows = duckdb.read_parquet(f"{folder}/*/*.parquet", hive_partitioning=True).aggregate("round, count(*)").fetchall()
    assert dict(rows) == expected


@pytest.fixture
def one_round(make_run, tmp_path):
    return make_run(tmp_path, n=120, n_rounds=0)


def test_nothing_known(one_round):
    found = json.loads(one_round.validate(0, truth=False, true_map=False).read_text())
    assert [found[n] for n in ("correct_rate", "precision", "recall", "auc", "fsc_truth", "fsc_truth_area")] == [
        None
    ] * 6
    assert found["aucs"] == {} and found["n_kept"] == 120
    assert (open_round(one_round.log(0)).flags() == -1).all()


def test_partly_known(one_round):
    flags = pa.array(one_round.correct, mask=np.arange(120) < 20)
    ids = read_table(one_round.truth)["particle_id"]
    write_table(one_round.truth, pa.table({"particle_id": ids, "is_correct": flags}))
    found = json.loads(one_round.validate(0, true_map=False).read_text())
    assert found["n_flagged"] == 100
    assert found["correct_rate"] == pytest.approx(one_round.correct[20:].mean(), abs=1e-6)
    assert list(found["error_kinds"]) == ["incorrect"]
    assert (open_round(one_round.log(0)).flags() == -1).sum() == 20


def test_scores_that_are_missing(one_round):
    path = one_round.log(0)
    table = pq.ParquetFile(path).read()
    values = table["dual"].to_numpy().copy()
    values[:10] = np.nan
    meta = table.schema.metadata
    table = table.set_column(table.column_names.index("dual"), "dual", pa.array(values))
    pq.write_table(table.replace_schema_metadata(meta), path)
    found = json.loads(one_round.validate(0).read_text())
    assert found["n_unscored"] == 10
    assert found["auc"] == pytest.approx(roc_auc_score(one_round.correct[10:], values[10:]), abs=1e-6)


def test_same_input_same_bytes(one_round):
    first = one_round.validate(0).read_bytes()
    assert one_round.validate(0).read_bytes() == first


def shuffle_truth(run):
    table = read_table(run.truth)
    write_table(run.truth, table.take(pa.array(np.roll(np.arange(120), 1))))


def drop_flags(run):
    write_table(run.truth, read_table(run.truth).drop_columns(["is_correct"]))


def text_flags(run):
    table = read_table(run.truth)
    write_table(run.truth, table.set_column(1, "is_correct", pa.array(["yes"] * 120)))


@pytest.mark.parametrize(
    "fault, message",
    [
        (shuffle_truth, "truth.parquet, column particle_id: .*same order"),
        (drop_flags, "column is_correct: the column is missing"),
        (text_flags, "column is_correct: it holds texts where flags are expected"),
        (lambda run: run.truth.write_bytes(b""), "truth.parquet: not a readable Parquet"),
        (lambda run: write_map(run.true_map, np.zeros((16, 16, 16)), 3.0), "true map has box 16 at 3 Å"),
        (lambda run: write_map(run.true_map, np.zeros((32, 32, 32)), 4.0), "true map has box 32 at 4 Å"),
        (lambda run: run.log(0).write_bytes(b"PAR1"), "not a readable Parquet"),
        (lambda run: (run.folder / "round_0" / "mask.mrc").unlink(), "mask.mrc: file does not exist"),
    ],
)
def test_refusals(one_round, fault, message):
    fault(one_round)
    with pytest.raises(InputError, match=message):
        one_round.validate(0)
    assert not (one_round.folder / "round_0" / "metrics.json").exists()


def test_unknown_score(one_round):
    with pytest.raises(InputError, match="no such score; it holds l2_loss, z, dual"):
        one_round.validate(0, score="best")


def test_the_log_is_completed_row_group_by_row_group(make_run, tmp_path):
    """Of all particles only what the mixture reads is in memory, a fraction of what is written."""
    run = make_run(tmp_path, n=20_000, n_rounds=0, row_group=1_000)
    pool, previous = pa.proxy_memory_pool(pa.default_memory_pool()), pa.default_memory_pool()
    pa.set_memory_pool(pool)
    try:
        write_log(tmp_path / "out.parquet", [without_mixture(run.log(0), tmp_path / "scores.parquet")], seed=0)
    finally:
        pa.set_memory_pool(previous)
    assert pool.max_memory() < 0.5 * read_table(run.log(0)).nbytes


def without_mixture(log, out):
    """The scores that a log was made of, in its row groups."""
    with pq.ParquetFile(log) as file:
        groups = (file.read_row_group(g).drop_columns(["mixture", "likely_kind"]) for g in range(file.num_row_groups))
        write_tables(out, groups)
    return out
