"""Incremental reconstruction: the same sums as in full, and refusals where kept sums do not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cryocore.backend import get_backend, host
from cryocore.errors import InputError
from cryocore.geometry.rotations import matrix_to_quaternion, random_rotations, rotations_by_angle
from cryocore.imaging.accumulate import accumulate
from cryocore.imaging.grid import FourierGrid, FourierSums
from cryocore.imaging.solve import own_divisor
from cryocore.maps.mrc import write_stack
from cryocore.reconstruct.sums import merged_sums, read_sums, round_sums, worth_keeping, write_sums
from cryocore.tables.io import write_table
from cryocore.tables.particles import Particles
from tests.phantoms import BACKENDS, optics, particles

BOX, N = 32, 120
GRID = FourierGrid.of(BOX, 2.0, 2.0)


@pytest.fixture
def data(tmp_path: Path) -> Particles:
    rng = np.random.default_rng(0)
    write_stack(tmp_path / "stack.mrcs", rng.standard_normal((N, BOX, BOX), dtype=np.float32) + 5, 2.0)
    return replace(particles(random_rotations(N, rng), optics(BOX)), root=str(tmp_path))


def distance(found: FourierSums, expected: FourierSums) -> float:
    """Largest of the relative distances of numerators and denominators."""
    found, expected = found.on(host()), expected.on(host())
    pairs = (found.numerator, expected.numerator), (found.denominator, expected.denominator)
    return max(float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in pairs)


@pytest.mark.parametrize("name", BACKENDS)
def test_rounds_by_difference_equal_rounds_in_full(tmp_path: Path, data: Particles, name: str) -> None:
    rng, backend = np.random.default_rng(1), get_backend(name)
    weights = rng.uniform(0.5, 1.5, N).astype(np.float32)
    sums = round_sums(data, weights, GRID, backend)
    for r in range(6):
        path = tmp_path / f"sums_{r}.npz"
        write_sums(path, sums, GRID, weights, data)
        chosen = rng.permutation(N)[: N // 5]
        weights[chosen] = np.where(weights[chosen] > 0, 0, rng.uniform(0.5, 1.5, len(chosen)))
        sums = round_sums(data, weights, GRID, backend, path)
    expected = accumulate(data, weights, GRID, backend)
    assert 0 < distance(sums, expected) < 1e-5
    denominator = sums.on(host()).denominator
    assert denominator.min() > -1e-5 * denominator.max()


def test_only_what_changed_is_read(tmp_path: Path, data: Particles, monkeypatch: pytest.MonkeyPatch) -> None:
    backend, weights = get_backend("cpu"), np.ones(N, np.float32)
    path = tmp_path / "sums.npz"
    write_sums(path, accumulate(data, weights, GRID, backend), GRID, weights, data)
    seen: list[int] = []

    def counted(*args: object, **kwargs: object) -> object:
        from cryocore.formats.stacks import batches

        for rows, images in batches(*args, **kwargs):  # type: ignore[arg-type]
            seen.extend(rows)
            yield rows, images

    monkeypatch.setattr("cryocore.imaging.accumulate.batches", counted)
    weights[[3, 40, 77]] = (0.0, 0.5, 2.0)
    round_sums(data, weights, GRID, backend, path)
    assert sorted(seen) == [3, 40, 77]
    seen.clear()
    weights[: N // 2 + 1] = 0
    full = round_sums(data, weights, GRID, backend, path)
    assert len(seen) == N - N // 2 - 1
    assert np.array_equal(full.numerator, accumulate(data, weights, GRID, backend).numerator)


def test_sums_that_cost_more_than_they_save_are_not_kept(tmp_path: Path, data: Particles) -> None:
    backend, weights, path = get_backend("cpu"), np.ones(N, np.float32), tmp_path / "sums.npz"
    assert not worth_keeping(weights, GRID)
    assert worth_keeping(np.ones(10_000, np.float32), GRID)
    sums = accumulate(data, weights, GRID, backend)
    write_sums(path, None, GRID, weights, data)
    assert path.stat().st_size < 0.01 * sums.numerator.nbytes
    weights[3] = 0.0
    found = round_sums(data, weights, GRID, backend, path)
    assert np.array_equal(found.numerator, accumulate(data, weights, GRID, backend).numerator)


@pytest.mark.parametrize("kind", ["bfactor", "scale"])
def test_other_envelopes_are_summed_in_full(tmp_path: Path, data: Particles, kind: str) -> None:
    """A subset joins them with those of the file; sums of particles with other CTFs are never changed."""
    backend, weights, path = get_backend("cpu"), np.ones(N, np.float32), tmp_path / "sums.npz"
    write_sums(path, accumulate(data, weights, GRID, backend), GRID, weights, data)
    bfactor, scale = (np.linspace(*ends, N).astype(np.float32) for ends in ((-40, 90), (0.5, 1.5)))
    said = {"bfactor_angstrom2": bfactor} if kind == "bfactor" else {"scale": scale}
    write_table(tmp_path / "subset.parquet", pa.table({"particle_id": data.ids, **said}))
    dull = data.with_quality(tmp_path / "subset.parquet").with_quality(tmp_path / "subset.parquet")
    expected_column = 2 * bfactor if kind == "bfactor" else data.column("ctf_scale") * scale * scale
    np.testing.assert_array_equal(dull.column(f"ctf_{kind}"), expected_column)
    weights[3] = 0.0
    found, expected = round_sums(dull, weights, GRID, backend, path), accumulate(dull, weights, GRID, backend)
    assert np.array_equal(found.numerator, expected.numerator)
    assert distance(expected, accumulate(data, weights, GRID, backend)) > 0.01
    with pytest.raises(InputError, match="Fourier sums with other B-factors"):
        merged_sums([path], dull, np.ones(N, np.float32), GRID)


@pytest.mark.parametrize(("name", "wrong"), [("bfactor_angstrom2", np.nan), ("scale", np.nan), ("scale", 0.0)])
def test_an_envelope_that_is_none_is_refused(tmp_path: Path, data: Particles, name: str, wrong: float) -> None:
    values = np.where(np.arange(N) == 6, wrong, 1.0).astype(np.float32)
    write_table(tmp_path / "subset.parquet", pa.table({"particle_id": data.ids, name: values}))
    with pytest.raises(InputError, match=rf"subset\.parquet, row 7, column {name}"):
        data.with_quality(tmp_path / "subset.parquet")


def test_sums_of_other_particles_grids_or_broken_files_are_refused(tmp_path: Path, data: Particles) -> None:
    backend, weights, path = get_backend("cpu"), np.ones(N, np.float32), tmp_path / "sums.npz"
    write_sums(path, accumulate(data, weights, GRID, backend), GRID, weights, data)
    with pytest.raises(InputError, match=r"sums\.npz: Fourier sums of other particles"):
        round_sums(data.take(np.arange(N)[::-1]), weights, GRID, backend, path)
    with pytest.raises(InputError, match="another grid"):
        read_sums(path, FourierGrid.of(BOX, 2.0, 1.5))
    with pytest.raises(InputError, match="sums cannot be read"):
        round_sums(data, weights, GRID, backend, tmp_path / "none.npz")
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    with pytest.raises(InputError, match=r"sums\.npz.*cannot be read.*CRC"):
        read_sums(path, GRID)


@pytest.mark.parametrize("name", BACKENDS)
def test_what_is_left_of_particles_that_were_taken_away_is_divided_by_nothing(data: Particles, name: str) -> None:
    """Near the poles of one view rounding leaves denominators about 0, of either sign."""
    turns = rotations_by_angle(np.tile([0.0, 0.0, 1.0], (N, 1)), np.linspace(0.0, 350.0, N))
    tilted = turns @ rotations_by_angle(np.tile([1.0, 0.0, 0.0], (N, 1)), np.linspace(-3.0, 3.0, N))
    one_view = np.arange(N) < 0.8 * N
    poses = matrix_to_quaternion(
        np.where(one_view[:, None, None], tilted, random_rotations(N, np.random.default_rng(1)))
    )
    data = data.with_columns({f"quat_{c}": poses[:, i] for i, c in enumerate("wxyz")})
    backend, ones = get_backend(name), np.ones(N, dtype=np.float32)
    everything = accumulate(data, ones, GRID, backend)
    left = accumulate(data, one_view - ones, GRID, backend, everything)
    expected = own_divisor(accumulate(data, one_view.astype(np.float32), GRID, backend))
    found = own_divisor(left)
    known = expected > 1e-2 * expected.mean()
    assert found.min() > 1e-9 * expected.max()
    np.testing.assert_allclose(found[known], expected[known], rtol=1e-2)
