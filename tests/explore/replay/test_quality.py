"""Replays apply B-factors, leave them out, and cut by quality."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cryocore.errors import InputError
from cryocore.explore.replay import Request, replay
from cryocore.explore.replay.outcome import outcome_text
from cryocore.explore.replay.replay import write_star, write_subset
from cryocore.explore.replay.resolution import Envelope, Envelopes, effective_by_shell, effective_correct, predict
from cryocore.formats.star import read_star
from cryocore.log.quality import quality
from cryocore.log.rounds import open_round
from cryocore.maps.curves import FscCurves
from cryocore.tables.io import read_table, table_metadata, write_table
from cryocore.tables.particles import QUALITY
from tests.ingest.samples import optics_columns, particle_columns, table
from tests.log.test_quality import METADATA, counted_reads, drawn

N = 600
CUT = Request(rule="fraction", values=(0.5,), score="quality")
BEST = Request(rule="fraction", values=(0.5,), score="zc")


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log alone, of particles whose micrographs differ, and the file of the particles beside it."""
    return written(tmp_path_factory.mktemp("uneven"), 80.0)


def written(folder: Path, sd: float) -> Path:
    from cryocore.ingest.particles import particle_ids

    columns = particle_columns(N)
    (folder / "particles.star").write_text(table("optics", optics_columns()) + table("particles", columns))
    micrograph = np.arange(N) % 12
    bfactor = np.random.default_rng(2).normal(0.0, sd, 12)[micrograph] if sd else np.zeros(N)
    log = drawn(bfactor, micrograph.astype(float), 3, strength=8.0)
    log = log.set_column(0, "particle_id", pa.array(particle_ids(columns["rlnImageName"])))
    log = log.append_column("weight", pa.array(np.ones(N, dtype=np.float32)))
    log = log.append_column("zc", pa.array(np.random.default_rng(4).random(N, dtype=np.float32)))
    write_table(folder / "log.parquet", log, **METADATA)
    return folder


def test_a_cut_by_quality_drops_the_dull(uneven: Path) -> None:
    (outcome,) = replay(uneven / "log.parquet", [CUT])
    found = quality(open_round(uneven / "log.parquet"))
    assert found is not None
    for half in (1, 2):
        members = outcome.half == half
        kept, dropped = (found.bfactor_angstrom2[members & rows] for rows in (outcome.kept, ~outcome.kept))
        assert kept.max() <= dropped.min() and len(kept) == len(dropped)
    assert outcome.worst_kept[0] == -found.bfactor_angstrom2[outcome.kept & (outcome.half == 1)].max()
    text = outcome_text(outcome)
    assert "fraction 0.5 of quality" in text
    assert re.search(r"quality +standard deviation of B in Å²: micrograph \d+; in the CTFs\n", text), text
    assert outcome.as_dict()["quality"]["spread_angstrom2"]["micrograph"] > 50.0


def test_particles_of_equal_quality_cannot_be_cut_by_it(tmp_path: Path) -> None:
    folder = written(tmp_path, 0.0)
    with pytest.raises(InputError, match="of equal quality by the log of round 0"):
        replay(folder / "log.parquet", [CUT])
    (outcome,) = replay(folder / "log.parquet", [replace(BEST, quality="auto")])
    assert "no difference between particles is found" in outcome_text(outcome)
    assert outcome.as_dict()["quality"] is None


@pytest.mark.parametrize("wanted", [None, "auto", "none"])
def test_b_factors_are_written_or_left_out(uneven: Path, tmp_path: Path, wanted: str | None) -> None:
    (outcome,) = replay(uneven / "log.parquet", [replace(BEST, quality=wanted)])
    log_round = open_round(uneven / "log.parquet")
    write_subset(outcome, log_round, tmp_path / "subset.parquet")
    write_star(outcome, log_round, tmp_path / "subset.star", uneven / "particles.star")
    subset, star = read_table(tmp_path / "subset.parquet"), read_star(tmp_path / "subset.star").particles
    has = wanted != "none"
    assert ({*QUALITY} <= {*subset.column_names}) is has is ("rlnCtfBfactor" in star)
    made_by = table_metadata(subset.schema)
    assert made_by["settings"]["quality"] == (wanted or "auto") and ("quality" in made_by) is has
    assert ("quality  " in outcome_text(outcome)) is (wanted is not None)


def test_quality_is_estimated_once_and_only_if_asked_for(
    uneven: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = counted_reads(monkeypatch)
    log_round = open_round(uneven / "log.parquet")
    (plain,) = replay(uneven / "log.parquet", [BEST])
    assert reads == [] and plain.as_dict().get("quality") is None
    cuts = replay(uneven / "log.parquet", [CUT, CUT.compact("fraction=0.7@quality")])
    write_subset(cuts[0], log_round, tmp_path / "subset.parquet")
    write_star(cuts[0], log_round, tmp_path / "subset.star", uneven / "particles.star")
    assert reads == [1]


def test_what_b_factors_do_to_a_map_by_shell() -> None:
    """Half of the particles with 200 Å² more: with both B-factors in the CTFs a shell has the sum of q²."""
    frequency = np.array([0.0, 0.1, 0.2])
    bfactor, ones = np.repeat([-100.0, 100.0], 500), np.ones(1000)
    own, none = Envelope(bfactor, ones), Envelope.none(1000)
    q = np.exp(-0.25 * bfactor * frequency[:, None] ** 2)
    even, weighed = (effective_by_shell(ones, ones, own, applied, frequency) for applied in (none, own))
    np.testing.assert_allclose(even, q.sum(axis=1) ** 2 / 1000)
    np.testing.assert_allclose(weighed, (q**2).sum(axis=1))
    assert weighed[0] == even[0] == effective_correct(ones, ones) and weighed[2] > 1.5 * even[2]
    faint = Envelope(np.zeros(1000), np.repeat([0.5, 1.5], 500))
    np.testing.assert_allclose(effective_by_shell(ones, ones, faint, none, frequency), 1000.0)
    np.testing.assert_allclose(effective_by_shell(ones, ones, faint, faint, frequency), np.sum(faint.scale**2))
    good = (bfactor < 0).astype(np.float32)
    assert effective_by_shell(good, ones, own, own, frequency)[2] < weighed[2]

    curve = np.array([1.0, 0.9, 0.4])
    curves = FscCurves(np.arange(3), np.array([np.inf, 10.0, 5.0]), curve, curve, curve, curve, {})
    half = np.arange(1000) % 2 + 1
    w = np.ones(1000, dtype=np.float32)
    same, better = (predict(w, w, w, half, curves, Envelopes(own, none, after)) for after in (none, own))
    assert same.fsc_area_change == pytest.approx(0.0, abs=1e-9)
    gain = (weighed / even)[1:]
    ratio = curve[1:] / (1.0 - curve[1:]) * gain
    expected = np.mean(ratio / (1.0 + ratio) - curve[1:])
    assert better.fsc_area_change == pytest.approx(expected, rel=1e-6) and expected > 0.03
