"""Scores of parts of the particles are those of all of them, to the last bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cryocore.backend import get_backend
from cryocore.config.plant import PlantedErrors
from cryocore.config.score import Score
from cryocore.errors import InputError
from cryocore.ingest.cache import cache
from cryocore.log.columns import score_columns
from cryocore.log.gather import gather
from cryocore.score import noise_of_round, score
from cryocore.tables.io import write_table
from cryocore.tables.particles import Particles
from cryocore.tables.shards import Shard
from tests.score.simulated import simulated

K = 3


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    simulated(folder, PlantedErrors(wrong_pose=0.3), n_particles=150, n_micrographs=4)
    return folder


def given(folder: Path, settings: Score, subset: Path | None = None) -> dict[str, Any]:
    files = {"particles": folder / "particles.parquet", "round_dir": folder / "round", "subset": subset}
    return {**files, "settings": settings, "symmetry": "C1", "seed": 0, "backend": get_backend("cpu")}


def scored(folder: Path, settings: Score, *, cached: bool = False, subset: Path | None = None) -> list[Path]:
    """The scores of all shards."""
    how = given(folder, settings, subset)
    noise_of_round(**how, out=folder / "noise.npz")
    for i in range(K):
        part: dict[str, Any] = {"shard": Shard(i, K)}
        if cached:
            part["cache"] = folder / f"transforms_{i}.npz"
            limits = {"max_resolution_angstrom": None, "backend": how["backend"]}
            cache(how["particles"], **limits, out=part["cache"], shard=part["shard"])
        score(**how, **part, round_number=0, out=folder / f"{i}.parquet", noise=folder / "noise.npz")
    return [folder / f"{i}.parquet" for i in range(K)]


@pytest.mark.parametrize("noise", ["optics_group", "micrograph"])
def test_gathered_scores_are_those_of_all_particles_at_once(run: Path, noise: str) -> None:
    settings = Score.model_validate({"noise": noise})
    gather(run / "particles.parquet", scored(run, settings), seed=0, out=run / "gathered.parquet")
    score(**given(run, settings), round_number=0, out=run / "whole.parquet")
    gathered, whole = pq.read_table(run / "gathered.parquet"), pq.read_table(run / "whole.parquet")
    assert gathered.schema.equals(whole.schema, check_metadata=True)
    assert gathered.equals(whole.unify_dictionaries())


def test_shards_predict_with_the_envelopes_of_the_subset(run: Path, tmp_path: Path) -> None:
    """To the last bit what all particles at once are scored by, and what they have in the log."""
    data = Particles.read(run / "particles.parquet")
    bfactor = np.linspace(-60.0, 200.0, len(data)).astype(np.float32)
    said = {"bfactor_angstrom2": bfactor, "bfactor_sd_angstrom2": np.full(len(data), 30.0, np.float32)}
    said["scale"] = np.linspace(0.9, 1.1, len(data)).astype(np.float32)
    subset = tmp_path / "subset.parquet"
    write_table(subset, pa.table({"particle_id": data.ids, "weight": np.ones(len(data), np.float32), **said}))
    gather(run / "particles.parquet", scored(run, Score(), subset=subset), seed=0, out=tmp_path / "gathered.parquet")
    score(**given(run, Score(), subset), round_number=0, out=tmp_path / "whole.parquet")
    score(**given(run, Score()), round_number=0, out=tmp_path / "plain.parquet")
    gathered, whole, plain = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("gathered", "whole", "plain"))
    assert gathered.equals(whole.unify_dictionaries())
    assert np.array_equal(gathered["quality_bfactor_angstrom2"].to_numpy(), bfactor)
    assert set(gathered["quality_bfactor_sd_angstrom2"].to_pylist()) == {30.0}
    assert np.array_equal(gathered["quality_scale"].to_numpy(), said["scale"])
    dull, sharp = (np.stack(table["projection_power"].to_numpy())[:, -4:].sum(axis=1) for table in (gathered, plain))
    assert dull[-1] < 0.8 * sharp[-1] and dull[0] > sharp[0]


def test_shards_read_transforms_of_their_own(run: Path) -> None:
    plain = [pq.read_table(path, columns=["z"])["z"].to_numpy() for path in scored(run, Score())]
    cached = [pq.read_table(path, columns=["z"])["z"].to_numpy() for path in scored(run, Score(), cached=True)]
    for a, b in zip(plain, cached, strict=True):
        assert 0 < abs(a - b).max() < 0.02
    how = given(run, Score())
    with pytest.raises(InputError, match="transforms of other particles"):
        score(**how, round_number=0, out=run / "x.parquet", shard=Shard(0, K), cache=run / "transforms_1.npz")


def test_shards_out_of_order_or_with_other_settings_are_refused(run: Path) -> None:
    first, second, third = scored(run, Score())
    out = run / "refused.parquet"
    with pytest.raises(InputError, match=r"1\.parquet.*are not the 50 particles"):
        gather(run / "particles.parquet", [second, first, third], seed=0, out=out)
    score(
        **given(run, Score(n_perturbed_poses=2)), round_number=0, out=third, shard=Shard(2, K), noise=run / "noise.npz"
    )
    with pytest.raises(InputError, match=r"2\.parquet: scored otherwise than the first shard"):
        gather(run / "particles.parquet", [first, second, third], seed=0, out=out)
    with pytest.raises(InputError, match=r"noise\.npz.*are not the 75 particles"):
        score(**given(run, Score()), round_number=0, out=out, shard=Shard(0, 2), noise=half_noise(run))
    assert not out.exists() and not list(run.glob(".refused*"))


def half_noise(run: Path) -> Path:
    """Noise whose particles are in another order."""
    with np.load(run / "noise.npz") as kept:
        values = dict(kept)
    np.savez(run / "other_noise.npz", **{**values, "ids": values["ids"][::-1]})
    return run / "other_noise.npz"


def test_given_scores_go_into_the_log(run: Path) -> None:
    data = Particles.read(run / "particles.parquet")
    values = pa.array(np.linspace(0, 1, len(data)), pa.float32())
    replace(data, table=data.table.append_column("given_error_loss", values)).write(run / "given.parquet")
    scored(run, Score())
    how = {**given(run, Score()), "particles": run / "given.parquet"}
    score(**how, round_number=0, out=run / "with_given.parquet", shard=Shard(1, K), noise=run / "noise.npz")
    log = pq.read_table(run / "with_given.parquet")
    assert log.column("given_error_loss").to_pylist() == values.to_pylist()[50:100]
    assert "given_error_loss" in score_columns(log.schema)


def test_bfactors_of_a_subset_are_those_of_the_file(run: Path, tmp_path: Path) -> None:
    """Scores, whole and by shards, are those of particles whose file has the B-factors; the log says which they are."""
    data = Particles.read(run / "particles.parquet")
    bfactor = np.linspace(-60, 90, len(data)).astype(np.float32)
    subset = tmp_path / "subset.parquet"
    columns = {"particle_id": data.ids, "weight": np.ones(len(data), np.float32), "bfactor_angstrom2": bfactor}
    write_table(subset, pa.table(columns))
    data.with_quality(subset).write(tmp_path / "dull.parquet")
    settings = Score()
    how = given(run, settings) | {"subset": subset}
    score(**how, round_number=1, out=tmp_path / "added.parquet")
    score(
        **{**how, "particles": tmp_path / "dull.parquet", "subset": None}, round_number=1, out=tmp_path / "own.parquet"
    )
    noise_of_round(**how, out=tmp_path / "noise.npz")
    parts = [tmp_path / f"{i}.parquet" for i in range(K)]
    for i, part in enumerate(parts):
        score(**how, shard=Shard(i, K), round_number=1, out=part, noise=tmp_path / "noise.npz")
    gather(run / "particles.parquet", parts, seed=0, out=tmp_path / "gathered.parquet")
    added, own, gathered = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("added", "own", "gathered"))
    assert np.array_equal(added["quality_bfactor_angstrom2"].to_numpy(), bfactor)
    assert added.drop_columns(["quality_bfactor_angstrom2"]).equals(own)
    assert gathered.equals(added)
    assert "quality_bfactor_angstrom2" not in score_columns(added.schema)
