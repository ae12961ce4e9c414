"""Error rates and their intervals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cryocore.log.complete import write_log
from cryocore.log.error_rate import NO_SIGNAL, ErrorRate, disagreement, estimate, resampled, storey
from cryocore.log.evidence import evidence
from cryocore.log.mixture import fit_evidence
from cryocore.tables.io import read_schema, table_metadata, write_table
from tests.select.logs import KINDS, PlantedLog, permuted, planted_log


def of(log: PlantedLog, seed: int = 0):  # type: ignore[no-untyped-def]
    return estimate(log.columns, ids=log.columns["particle_id"], half=log.columns["half"], seed=seed)


def test_interval_covers_the_truth() -> None:
    rates = {"misoriented": 0.15, "junk": 0.1}
    found = [of(planted_log(500, rates, strength=5.0, seed=s)) for s in range(6)]
    assert sum(e.low <= 0.25 <= e.high for e in found) >= 5
    assert max(e.high - e.low for e in found) < 0.2
    assert np.mean([e.value for e in found]) == pytest.approx(0.25, abs=0.025)


def test_interval_allows_for_what_weak_scores_leave_open() -> None:
    """Estimates are 0.23 to 0.30 where 0.3 is true; resampling alone would allow for 0.03."""
    found = [of(planted_log(8000, {"misoriented": 0.3}, strength=1.5, seed=s)) for s in range(3)]
    assert all(e.low <= 0.3 <= e.high for e in found)
    assert max(e.high - e.low for e in found) < 0.3


def test_no_error_is_within_the_interval() -> None:
    rate = of(planted_log(1000, {}))
    assert rate.low == 0.0
    assert rate.value < 0.02
    assert rate.high < 0.08


def test_more_particles_narrow_the_interval() -> None:
    widths = [(e.high - e.low) for e in (of(planted_log(n, {"misoriented": 0.3}, strength=3.0)) for n in (300, 6000))]
    assert widths[1] < 0.8 * widths[0]  # what the model itself may be wrong by stays


def test_copies_of_an_image_are_drawn_together() -> None:
    """Four copies of each say no more than one: the estimate spreads twice as far as that of so many images."""
    log = planted_log(200, {"misoriented": 0.3}, strength=4.0)
    columns = {name: np.repeat(values, 4, axis=0) for name, values in log.columns.items()}
    data, own = evidence(columns), np.arange(800, dtype=np.uint64)
    model = fit_evidence(data, ids=own, seed=0)
    spread = [
        np.std(resampled(data, model, ids=ids, half=columns["half"], seed=1)) for ids in (own, columns["particle_id"])
    ]
    # each of the two from 50 draws, whose spread is known to 10 %
    assert spread[1] / spread[0] == pytest.approx(2.0, rel=0.35)


def test_second_opinion_sees_misoriented_and_junk_only() -> None:
    for kind in ("misoriented", "junk"):
        assert storey(planted_log(4000, {kind: 0.3}, strength=5.0).columns) == pytest.approx(0.3, abs=0.03)
    rate = of(planted_log(2000, {"slightly_misoriented": 0.3}, strength=5.0))
    assert rate.second_opinion < 0.15 < rate.value
    assert "many errors are small ones" in rate.note


def test_second_opinion_without_zc_is_that_of_the_random_poses() -> None:
    columns = dict(planted_log(4000, {"misoriented": 0.3}, strength=5.0).columns)
    del columns["zc"]
    assert storey(columns) == pytest.approx(0.3, abs=0.04)
    del columns["random_pose_z"]
    assert np.isnan(storey(columns))


def test_a_second_opinion_is_noted_where_it_is_further_off_than_the_interval_is_wide() -> None:
    assert "other poses alone suggest 50 %: scores tell correct from incorrect badly" in disagreement(
        0.2, 0.15, 0.25, 0.5
    )
    assert "other poses alone suggest 5 %: many errors are small ones" in disagreement(0.2, 0.15, 0.25, 0.05)
    for low, high, second in ((0.15, 0.25, 0.28), (0.15, 0.25, 0.12), (0.0, 0.5, 0.6), (0.15, 0.25, np.nan)):
        assert disagreement(0.2, low, high, second) == ""


def test_deterministic_and_independent_of_order() -> None:
    log = planted_log(600, dict.fromkeys(KINDS, 0.1))
    order = np.random.default_rng(5).permutation(600)
    columns = permuted(log, order)
    again = estimate(columns, ids=columns["particle_id"], half=columns["half"])
    assert of(log) == again
    assert of(log, seed=1) != again
    assert json.loads(json.dumps(again.as_dict()))["method"] == "mixture"


def test_too_few_particles_know_nothing() -> None:
    rate = of(planted_log(40, {"misoriented": 0.5}))
    assert (rate.low, rate.high, rate.method) == (0.0, 1.0, "none")


@pytest.mark.parametrize(("rate", "method"), [(1.0, "none"), (0.5, "mixture")])
def test_nothing_is_told_of_images_without_signal(tmp_path: Path, rate: float, method: str) -> None:
    """The model tells chance from chance there."""
    log = planted_log(400, {"junk": rate})
    poses = log.columns["random_pose_z"]
    table = {name: values for name, values in log.columns.items() if values.ndim == 1}
    flat = pa.FixedSizeListArray.from_arrays(pa.array(poses.ravel()), poses.shape[1])
    write_table(tmp_path / "scores.parquet", pa.table(table | {"random_pose_z": flat}))
    write_log(tmp_path / "log.parquet", [tmp_path / "scores.parquet"], seed=0)
    found = ErrorRate.of(table_metadata(read_schema(tmp_path / "log.parquet")))
    assert found is not None and found.method == method
    assert (found.low, found.high) == (0.0, 1.0) if method == "none" else 0.0 < found.low < 0.5 < found.high < 1.0
    assert (NO_SIGNAL in found.note) == (method == "none")


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_images_of_inverted_contrast_are_noted(share: float) -> None:
    log = planted_log(400, {"junk": 0.3})
    columns, turned = dict(log.columns), np.arange(400) < 400 * share
    for name in ("z", "zc", "ldac"):
        columns[name] = np.where(turned, -columns[name], columns[name])
    note = estimate(columns, ids=columns["particle_id"], half=columns["half"]).note
    assert ("% of the images match the map with inverted contrast" in note) == (share > 0)
