"""Sums of parts of the particles: put together they are those of all, in one order, of the weights they should have."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cryocore.backend import get_backend
from cryocore.config.reconstruct import Reconstruct
from cryocore.errors import InputError
from cryocore.geometry.rotations import random_rotations
from cryocore.imaging.accumulate import accumulate
from cryocore.imaging.grid import FourierGrid
from cryocore.maps.mrc import write_stack
from cryocore.reconstruct import sum_shard
from cryocore.reconstruct.stage import sums_grid
from cryocore.reconstruct.sums import merged_sums, read_sums
from cryocore.tables.io import write_table
from cryocore.tables.particles import Particles
from cryocore.tables.shards import Shard
from tests.phantoms import optics, particles

BOX, N, K = 32, 90, 4
SETTINGS = Reconstruct()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    write_stack(tmp_path / "stack.mrcs", rng.standard_normal((N, BOX, BOX), dtype=np.float32) + 5, 2.0)
    replace(particles(random_rotations(N, rng), optics(BOX)), root=str(tmp_path)).write(tmp_path / "particles.parquet")
    return tmp_path


def weighted(folder: Path, weights: np.ndarray) -> tuple[Particles, Path]:
    data = Particles.read(folder / "particles.parquet")
    write_table(folder / "subset.parquet", pa.table({"particle_id": data.ids, "weight": weights}))
    return data, folder / "subset.parquet"


def summed(folder: Path, subset: Path | None, **given: Path) -> list[Path]:
    """The sums of all shards, the last one first."""
    paths = [folder / f"{i}.npz" for i in range(K)]
    for i in reversed(range(K)):
        how = {"settings": SETTINGS, "backend": get_backend("cpu")}
        sum_shard(folder / "particles.parquet", subset, Shard(i, K), **how, out=paths[i], **given)
    return paths


def grid_of(data: Particles) -> FourierGrid:
    return sums_grid(data, SETTINGS)


def test_shards_have_the_bfactors_of_the_subset(folder: Path) -> None:
    weights = np.ones(N, dtype=np.float32)
    data, subset = weighted(folder, weights)
    bfactor = np.linspace(-50.0, 120.0, N).astype(np.float32)
    columns = {"particle_id": data.ids, "weight": weights, "bfactor_angstrom2": bfactor}
    write_table(subset, pa.table(columns))
    paths, grid, dull = summed(folder, subset), grid_of(data), data.with_quality(subset)
    merged = merged_sums(paths, dull, weights, grid)
    expected = accumulate(dull, weights, grid, get_backend("cpu"))
    assert np.linalg.norm(merged.numerator - expected.numerator) < 1e-5 * np.linalg.norm(expected.numerator)
    with pytest.raises(InputError, match="Fourier sums with other B-factors"):
        merged_sums(paths, data, weights, grid)


def test_merged_shards_are_the_double_precision_sum_of_their_files(folder: Path) -> None:
    weights = np.random.default_rng(1).uniform(0.5, 1.5, N).astype(np.float32)
    weights[: N // K] = 0  # nothing of the first shard is in use
    data, subset = weighted(folder, weights)
    grid, paths = grid_of(data), summed(folder, subset)
    merged = merged_sums(paths, data, weights, grid)
    parts = [read_sums(path, grid) for path in paths]
    assert not parts[0].denominator.any() and parts[1].denominator.any()
    for name, kind in (("numerator", np.complex128), ("denominator", np.float64)):
        exact = np.sum([getattr(part, name).astype(kind) for part in parts], axis=0)
        found = getattr(merged, name)
        assert np.array_equal(found, exact.astype(found.dtype))
        whole = getattr(accumulate(data, weights, grid, get_backend("cpu")), name)
        assert np.linalg.norm(found - whole) < 1e-6 * np.linalg.norm(whole)


def test_shards_of_another_order_or_other_weights_are_refused(folder: Path) -> None:
    ones = np.ones(N, dtype=np.float32)
    data, _ = weighted(folder, ones)
    paths = summed(folder, None)
    with pytest.raises(InputError, match=r"0\.npz: Fourier sums with other weights"):
        merged_sums(paths, data, 0.5 * ones, grid_of(data))
    with pytest.raises(InputError, match=r"1\.npz: Fourier sums of other particles"):
        merged_sums([paths[1], paths[0], *paths[2:]], data, ones, grid_of(data))
    with pytest.raises(InputError, match=r"0\.npz: Fourier sums of another grid"):
        merged_sums(paths, data, ones, sums_grid(data, Reconstruct(padding=1.5)))


def test_a_damaged_shard_is_named_before_anything_is_made_of_it(folder: Path) -> None:
    data, _ = weighted(folder, np.ones(N, dtype=np.float32))
    paths = summed(folder, None)
    raw = bytearray(paths[2].read_bytes())
    raw[len(raw) // 2] ^= 1
    paths[2].write_bytes(raw)
    with pytest.raises(
        InputError, match=r"2\.npz: the Fourier sums cannot be read .*Delete it and run snakemake again"
    ):
        merged_sums(paths, data, np.ones(N, dtype=np.float32), grid_of(data))
    paths[1].write_bytes(paths[1].read_bytes()[:-5000])
    with pytest.raises(InputError, match=r"1\.npz: the Fourier sums cannot be read"):
        merged_sums(paths, data, np.ones(N, dtype=np.float32), grid_of(data))


def test_the_next_round_changes_the_sums_of_each_shard(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    data, subset = weighted(folder, np.ones(N, dtype=np.float32))
    before = summed(folder, subset)
    weights = np.ones(N, dtype=np.float32)
    weights[::5] = 0
    data, subset = weighted(folder, weights)
    after = folder / "after.npz"
    rows = Shard(2, K).row_range(N)
    with caplog.at_level("INFO", logger="cryocore"):
        how = {"settings": SETTINGS, "backend": get_backend("cpu")}
        sum_shard(folder / "particles.parquet", subset, Shard(2, K), **how, out=after, previous_sums=before[2])
    assert f"incremental: {np.count_nonzero(weights[rows] == 0)} of {rows.stop - rows.start} particles" in caplog.text
    part = Particles.read(folder / "particles.parquet", Shard(2, K))
    exact = accumulate(part, weights[rows], grid_of(data), get_backend("cpu"))
    found = read_sums(after, grid_of(data))
    assert np.linalg.norm(found.numerator - exact.numerator) < 1e-5 * np.linalg.norm(exact.numerator)


@pytest.mark.parametrize("count", [1, 2, 7, N])
def test_shards_are_ranges_that_leave_nothing_out(folder: Path, count: int) -> None:
    whole = Particles.read(folder / "particles.parquet").ids
    parts = [Particles.read(folder / "particles.parquet", Shard(i, count)).ids for i in range(count)]
    assert np.array_equal(np.concatenate(parts), whole)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    with pytest.raises(InputError, match=r"a shard is empty.* lower n_shards"):
        Particles.read(folder / "particles.parquet", Shard(0, N + 1))


@pytest.mark.parametrize("text", ["", "1", "3/3", "-1/3", "a/b", "1/0"])
def test_a_shard_is_an_index_below_its_count(text: str) -> None:
    with pytest.raises(InputError, match="no shard"):
        Shard.parse(text)
