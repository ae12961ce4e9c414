"""How much a round changes, and what becomes of one that changes little."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from cryocore.config.select import Select
from cryocore.log.bands import mean_squared_frequency
from cryocore.log.rounds import open_round
from cryocore.reconstruct.stage import stays
from cryocore.select.convergence import LEAST_SIGNAL, change
from cryocore.select.stage import select
from cryocore.tables.io import read_table, table_metadata, write_table
from cryocore.tables.particles import UNCHANGED_SINCE, unchanged_since
from tests.ingest.samples import load, noise_images, particle_columns, write_data_set, write_mrc
from tests.log.test_quality import METADATA, drawn

N = 200
HALF = 1 + np.arange(N) % 2


def subset(weight: Any, **columns: Any) -> pa.Table:
    values = {"weight": np.broadcast_to(np.asarray(weight, dtype=np.float32), (N,)), **columns}
    return pa.table({name: np.array(v, dtype=np.float32) for name, v in values.items()})


def test_the_change_is_that_of_the_worse_half_set() -> None:
    now = np.ones(N)
    now[0] = 0.0
    assert change(subset(now), subset(1.0), HALF, METADATA) == pytest.approx(np.sqrt(1 / 100))
    assert change(subset(1.0), subset(1.0), HALF, METADATA) == 0.0
    assert change(subset(1.0), subset(np.where(HALF == 1, 0.0, 1.0)), HALF, METADATA) == np.inf


def test_envelopes_count_where_the_map_has_signal() -> None:
    bfactor = np.zeros(N)
    bfactor[1] = 400.0
    same = np.ones(N)
    dull, even = (subset(1.0, bfactor_angstrom2=b, scale=same) for b in (bfactor, np.zeros(N)))
    last = np.flatnonzero(np.asarray(METADATA["signal_share"]) > LEAST_SIGNAL)[-1]
    lost = 1.0 - np.exp(-0.25 * 400.0 * mean_squared_frequency(METADATA)[last])
    assert change(dull, even, HALF, METADATA) == pytest.approx(np.sqrt(lost**2 / 100))
    assert change(dull, subset(1.0), HALF, METADATA) == change(dull, even, HALF, METADATA)
    faint = subset(1.0, bfactor_angstrom2=np.zeros(N), scale=0.5 * same)
    assert change(faint, even, HALF, METADATA) == pytest.approx(0.5)


@pytest.fixture
def selected(tmp_path: Path) -> Any:
    """A function that selects by a log of some seed, with the tolerance and the last subset given."""
    star = write_data_set(tmp_path, particles=particle_columns(N))
    write_mrc(tmp_path / "a.mrcs", noise_images(N))
    data = load(star)
    data.write(tmp_path / "particles.parquet")

    def run(
        name: str, seed: int, tolerance: float = 0.02, last: str | None = None, shift: float = 0.0, rule: str = "soft"
    ) -> Path:
        rng = np.random.default_rng(seed)
        log = drawn(np.zeros(N), np.zeros(N), 0)
        odds = 4.0 + shift + 0.05 * rng.normal(size=N)
        odds[:20] = -6.0
        columns = {"particle_id": data.ids, "half": data.column("half"), "mixture": odds.astype(np.float32)}
        for column, values in columns.items():
            log = log.set_column(log.schema.get_field_index(column), column, pa.array(values))
        weights = pa.array(np.ones(N, dtype=np.float32))
        log = log.append_column("dual", pa.array(odds.astype(np.float32))).append_column("weight", weights)
        write_table(tmp_path / "log.parquet", log, **METADATA)
        out = tmp_path / name
        select(
            tmp_path / "particles.parquet",
            tmp_path / "log.parquet",
            settings=Select(rule=rule, tolerance=tolerance, quality="none", guard_rare_views=False, minimum=10),
            symmetry="C1",
            seed=0,
            round_number=2,
            out_table=out,
            out_star=out.with_suffix(".star"),
            last_subset=None if last is None else tmp_path / last,
        )
        return out

    return run


def test_a_round_stays_as_it_was_where_weights_hardly_change(selected: Any) -> None:
    first = selected("first.parquet", 1)
    assert unchanged_since(first) is None
    second = selected("second.parquet", 2, last="first.parquet")
    assert unchanged_since(second) == 1
    assert read_table(second).equals(read_table(first))
    # what is compared with is what is in the maps, so that small steps do not add up
    third = selected("third.parquet", 3, last="second.parquet", shift=0.1)
    assert unchanged_since(third) == 1
    assert table_metadata(read_table(third).schema)["settings"]["tolerance"] == 0.02


@pytest.mark.parametrize("given", [{"tolerance": 0.0}, {"shift": -3.0}, {"last": None}])
def test_a_round_is_made_anew_where_it_changes_or_is_told_to(selected: Any, given: dict[str, Any]) -> None:
    first = selected("first.parquet", 1)
    second = selected("second.parquet", 2, **{"last": "first.parquet", **given})
    assert unchanged_since(second) is None
    assert not read_table(second)["weight"].equals(read_table(first)["weight"])
    assert open_round(second.parent / "log.parquet") is not None


def test_rules_that_go_on_from_the_last_weights_take_every_step(selected: Any) -> None:
    first = selected("first.parquet", 1, rule="absolute")
    assert unchanged_since(selected("second.parquet", 2, last="first.parquet", rule="absolute")) is None
    assert read_table(first).num_rows == N


@pytest.mark.parametrize("lost", ["half1.mrc", "sums.npz"])
def test_a_round_whose_files_are_lost_is_made_anew(tmp_path: Path, lost: str) -> None:
    write_table(tmp_path / "subset.parquet", subset(1.0), **{UNCHANGED_SINCE: 1})
    names = ["half1.mrc", "map.mrc", "sums.npz"]
    for name in names:
        (tmp_path / name).touch()
    assert stays(tmp_path / "subset.parquet", tmp_path, names) and not stays(None, tmp_path, names)
    (tmp_path / lost).unlink()
    assert not stays(tmp_path / "subset.parquet", tmp_path, names)
