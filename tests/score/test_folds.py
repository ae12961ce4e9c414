"""Folds of a half set: each is scored by the map of the others, kept or not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cryocore.config.score import Score
from cryocore.errors import InputError
from cryocore.geometry.rotations import random_rotations
from cryocore.maps.mrc import write_stack
from cryocore.score.comparison import fold_of
from cryocore.score.scores import BAND_COLUMNS
from cryocore.tables.io import table_metadata
from cryocore.tables.particles import Particles
from tests.phantoms import Blobs, optics, particles
from tests.reconstruct.test_reconstruct import data_set
from tests.score.test_leave_one_out import ALONE, BOX, Run, ball, noise_rounds

N, K = 300, 3
FOLDS = Score(leave_one_out="folds", n_folds=K, n_random_poses=2, n_perturbed_poses=2, n_perturbed_shifts=2)
BY_MAPS_ALONE = ("l2_loss", "cryosieve", "ncc")


def blobs_run(folder: Path, symmetry: str = "C1") -> tuple[Run, np.ndarray]:
    """Particles of which a third is dropped, and a third kept in part."""
    data_set(folder, Blobs.random(25, spread=4.0, width=1.0), N, BOX, noise=4.0)
    weights = np.random.default_rng(3).choice([0.0, 0.5, 1.0], N).astype(np.float32)
    run = Run(folder, ball(BOX, 12.0), symmetry)
    run.reconstruct(weights)
    return run, weights


def bands_of(log: pa.Table, name: str) -> np.ndarray:
    return log.column(name).combine_chunks().flatten().to_numpy().reshape(len(log), -1)


@pytest.mark.slow
@pytest.mark.parametrize("symmetry", ["C1", "D2"])
def test_particles_are_scored_by_a_map_from_which_their_fold_was_taken(tmp_path: Path, symmetry: str) -> None:
    run, weights = blobs_run(tmp_path, symmetry)
    found = run.score(weights, FOLDS)
    fold = fold_of(run.data.ids, K, seed=0)
    for f in range(K):
        others = np.where(fold == f, 0.0, weights)
        run.reconstruct(others)
        expected, rows = run.score(np.zeros(N)), fold == f
        for name in BAND_COLUMNS:
            one, two = bands_of(found, name)[rows], bands_of(expected, name)[rows]
            np.testing.assert_allclose(one, two, rtol=1e-3, atol=2e-5 * np.abs(two).max(), err_msg=name)
        for name in BY_MAPS_ALONE:
            one, two = found.column(name).to_numpy()[rows], expected.column(name).to_numpy()[rows]
            # a fold taken out of float32 sums leaves their rounding, which is much of what few particles put there
            np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-3 * np.std(two), err_msg=name)
    # and not by the map of all
    run.reconstruct(weights)
    whole = run.score(np.zeros(N)).column("cryosieve").to_numpy()
    assert np.std(whole - found.column("cryosieve").to_numpy()) > 0.05 * np.std(whole)


@pytest.mark.usefixtures("undamped")  # damping takes power from where there are few
def test_kept_and_dropped_particles_see_maps_of_one_quality(tmp_path: Path) -> None:
    """Noise adds to the power of predictions; in the map of all, kept particles are where there is less of it."""
    run, weights = blobs_run(tmp_path)

    def dropped_over_kept(log: pa.Table) -> float:
        power = bands_of(log, "projection_power")[:, 8:].sum(axis=1)
        return float(power[weights == 0].mean() / power[weights == 1].mean())

    assert dropped_over_kept(run.score(weights, FOLDS)) == pytest.approx(1.0, abs=0.1)
    assert dropped_over_kept(run.score(np.zeros(N))) > 1.15


def test_folds_are_dealt_by_id() -> None:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 2**63, 20000).astype(np.uint64)
    fold = fold_of(ids, 5, seed=1)
    shuffled = rng.permutation(len(ids))
    np.testing.assert_array_equal(fold_of(ids[shuffled], 5, seed=1), fold[shuffled])
    np.testing.assert_allclose(np.bincount(fold, minlength=5), 4000, atol=5 * np.sqrt(4000))
    agreement = np.mean(fold_of(ids, 5, seed=2) == fold)
    assert agreement == pytest.approx(0.2, abs=0.02)


def test_the_log_does_not_depend_on_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, weights = blobs_run(tmp_path)
    whole = run.score(weights, FOLDS)
    monkeypatch.setattr("cryocore.score.stage.CHUNK", 64)
    parts = run.score(weights, FOLDS)
    assert pq.ParquetFile(tmp_path / "scores.parquet").num_row_groups == 5
    assert parts.equals(whole)
    assert whole.column("particle_id").to_pylist() == run.data.ids.tolist()


def test_less_of_a_map_without_a_fold_is_signal(tmp_path: Path) -> None:
    run, weights = blobs_run(tmp_path)
    by_folds, closed = (table_metadata(run.score(weights, s).schema) for s in (FOLDS, ALONE))
    share, whole = (np.array(m["signal_share"]) for m in (by_folds, closed))
    share, whole = share[(whole > 0.01) & (whole < 0.99)], whole[(whole > 0.01) & (whole < 0.99)]
    # as many particles less, as much less signal over noise
    ratio = share / (1 - share) / (whole / (1 - whole))
    np.testing.assert_allclose(ratio, 1 - 1 / K, rtol=1e-6)
    np.testing.assert_allclose(by_folds["noise_power"], closed["noise_power"], rtol=0.1)


def test_half_sets_too_small_for_their_folds_are_refused(tmp_path: Path) -> None:
    run, weights = blobs_run(tmp_path)
    weights[(run.data.column("half") == 2).nonzero()[0][5:]] = 0
    message = r"score\.n_folds: the \d particles in the map of half set 2 are too few for 3 folds\. Lower it"
    with pytest.raises(InputError, match=message):
        run.score(weights, FOLDS)
    assert [p.name for p in tmp_path.glob(".*")] == []


def test_noise_in_the_map_scores_as_noise_outside_it(tmp_path: Path) -> None:
    n, rng = 600, np.random.default_rng(0)
    data = particles(random_rotations(n, rng), optics(BOX))
    write_stack(tmp_path / "stack.mrcs", rng.standard_normal((n, BOX, BOX), dtype=np.float32), 2.0)
    Particles(data.table, data.optics, parent="none.star", root=str(tmp_path)).write(tmp_path / "particles.parquet")
    run, weights = Run(tmp_path, ball(BOX, 16.0)), (rng.random(n) < 0.5).astype(np.float32)
    run.reconstruct(weights)
    kept = weights > 0

    def inflation(log: pa.Table) -> float:
        """How much more of an image its map explains where it is in the map, in standard errors."""
        inner = bands_of(log, "inner_product").sum(axis=1)
        error = np.sqrt(inner[kept].var() / kept.sum() + inner[~kept].var() / (~kept).sum())
        return float((inner[kept].mean() - inner[~kept].mean()) / error)

    assert abs(inflation(run.score(weights, FOLDS))) < 3
    assert inflation(run.score(np.zeros(n))) > 10


@pytest.mark.slow
def test_selection_on_noise_by_folds_does_not_raise_the_fsc(tmp_path: Path) -> None:
    """That the other half set's map would is shown in ``test_leave_one_out``."""
    values = []
    for seed in (0, 1):
        folder = tmp_path / str(seed)
        folder.mkdir()
        values += list(noise_rounds(folder, seed, "zc", "own", leave_one_out="folds", n_folds=2))
    assert np.mean(values) <= 0.005, values
