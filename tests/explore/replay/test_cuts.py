"""What is told of cuts is what replays say."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cryocore.config.rules import RULES
from cryocore.explore.replay import Outcome, Request, replay
from cryocore.explore.replay.cuts import CUTS, PLACES, Cuts, Order, all_cuts
from cryocore.explore.replay.known import SameViews, read_known
from cryocore.log.names import PROBABILITY, SCORES, lower_is_better
from cryocore.log.rounds import find_rounds

PLACES_TRIED = (0.0, 0.3, 0.75, 1.0)


def cuts_of(run: Path) -> list[Cuts]:
    log_round = find_rounds(run)[-1]
    return list(all_cuts(log_round, read_known(log_round, None, SameViews())))


def changed(run: Path, folder: Path, **columns: pa.Array) -> Path:
    """The run's last round with other columns, or more."""
    for name in ("round_0", "round_1", "truth.parquet"):
        source = run / name
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, folder / name)
    path = Path("log/round=1/log.parquet")
    table = pq.read_table(run / path)
    for name, values in columns.items():
        table = table.drop_columns([name] if name in table.column_names else []).append_column(name, values)
    (folder / path).parent.mkdir(parents=True)
    pq.write_table(table, folder / path)
    return folder


def assert_equal(cuts: Cuts, place: int, outcome: Outcome, likely: np.ndarray) -> None:
    what = f"{cuts.rule} {cuts.value[place]} of {cuts.score}"
    kept = [int((outcome.kept & (outcome.half == h)).sum()) for h in (1, 2)]
    assert cuts.kept[place].tolist() == kept, what
    rates, prediction, views = outcome.rates, outcome.prediction, outcome.views
    assert rates is not None and prediction is not None and views is not None
    told = [*cuts.worst_kept[place], cuts.correct_rate[place], cuts.recall[place], cuts.views_moved[place]]
    said = [*outcome.worst_kept, rates.correct_rate, rates.recall, views.total_variation]
    np.testing.assert_allclose(told, said, rtol=1e-9, err_msg=what)
    np.testing.assert_allclose(cuts.least_kept[place], views.least_kept, rtol=1e-9, err_msg=what)
    for name in ("effective_correct", "effective_correct_before", "resolution_angstrom", "fsc_area_change"):
        np.testing.assert_allclose(
            getattr(cuts.predictions[place], name), getattr(prediction, name), rtol=1e-9, atol=1e-12, err_msg=what
        )
    assert cuts.losing[place] == np.count_nonzero(outcome.dropped["micrograph"].share > 0.5), what
    np.testing.assert_allclose(cuts.expected_correct[place], likely[outcome.kept].sum(dtype=np.float64), rtol=1e-9)


def assert_replays(run: Path, found: list[Cuts]) -> None:
    """At some places of every rule and score; all rules replayed in one go."""
    tried = [(cuts, round(part * (len(cuts.value) - 1))) for cuts in found for part in PLACES_TRIED]
    requests = [Request(rule=c.rule, values=(float(c.value[i]),), score=c.score, normalise="none") for c, i in tried]
    likely = find_rounds(run)[-1].posterior()
    assert likely is not None
    for (cuts, place), outcome in zip(tried, replay(run, requests, rounds="last"), strict=True):
        assert_equal(cuts, place, outcome, likely)


def test_every_cut_is_its_replay(small_run: Path) -> None:
    found = cuts_of(small_run)
    of_any = {rule for rule in CUTS if RULES[rule].score is None}
    assert {(c.rule, c.score) for c in found} >= {(rule, s) for rule in of_any for s in (*SCORES, "mixture")}
    assert {"posterior", "mixture"} <= {c.rule for c in found}
    assert_replays(small_run, found)


def test_ties_missing_scores_and_spoilt_images_are_cut_as_the_rules_do(small_run: Path, tmp_path: Path) -> None:
    table = pq.read_table(small_run / "log" / "round=1" / "log.parquet")
    rng = np.random.default_rng(1)
    zc = np.round(table["zc"].to_numpy())
    zc[rng.random(len(zc)) < 0.1] = np.nan
    kinds = np.array(table["likely_kind"].to_pylist(), dtype=object)
    kinds[rng.random(len(zc)) < 0.1] = "spoilt"
    columns = {"zc": zc, "probability": rng.random(len(zc), dtype=np.float32)}
    arrays = {name: pa.array(values) for name, values in columns.items()}
    run = changed(small_run, tmp_path, likely_kind=pa.array(kinds).dictionary_encode(), **arrays)
    found = [c for c in cuts_of(run) if c.score in ("zc", "mixture", PROBABILITY)]
    assert [c.rule for c in found if c.score == PROBABILITY] == ["fraction", "threshold", "probability"]
    whole = {c.rule: int(c.kept[-1].sum()) for c in found if c.score == "mixture"}
    assert whole["mixture"] < whole["fraction"] == len(zc), "spoilt images are left out by the rules of the mixture"
    assert len(next(c for c in found if (c.rule, c.score) == ("threshold", "zc")).value) < PLACES, "ties"
    assert_replays(run, found)


def test_places_go_from_strict_to_loose_and_are_few(small_run: Path) -> None:
    for cuts in cuts_of(small_run):
        assert 1 <= len(cuts.value) <= 2 * PLACES and len(set(cuts.value)) == len(cuts.value)
        assert np.all(np.diff(cuts.kept, axis=0) >= 0) and np.all(np.diff(cuts.kept.sum(axis=1)) > 0)
        assert cuts.kept.min() >= 1
        values = np.array([float(v) for v in cuts.value])
        assert np.all(np.diff(values) > 0) == (cuts.rule == "fraction" or lower_is_better(cuts.score))
        assert cuts.micrographs is not None and np.all(cuts.micrographs.sum(axis=1) == 10)
        assert cuts.fsc is not None and cuts.by_bin is not None
        assert cuts.fsc.shape[0] == cuts.by_bin.shape[0] == len(cuts.value)
    with_zero = [c for c in cuts_of(small_run) if (c.rule, c.score) == ("threshold", "mixture")]
    assert float(next(v for v in with_zero[0].value if float(v) == 0)) == 0


def test_a_score_that_tells_nothing_is_not_cut(small_run: Path, tmp_path: Path) -> None:
    n = pq.read_metadata(small_run / "log" / "round=1" / "log.parquet").num_rows
    run = changed(small_run, tmp_path, zc=pa.array(np.ones(n, np.float32)), z=pa.array(np.full(n, np.nan, np.float32)))
    assert {"zc", "z"} & {c.score for c in cuts_of(run)} == set()
    log_round = find_rounds(run)[-1]
    known = read_known(log_round, None, SameViews())
    assert Order.of("z", np.where(known.half == 1, np.arange(n), 0).astype(np.float32), known) is None
