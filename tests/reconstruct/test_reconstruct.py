"""Maps from noise-free and noisy images against the phantom they were made from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cryocore.backend import get_backend
from cryocore.config.reconstruct import Reconstruct
from cryocore.errors import InputError
from cryocore.formats.stacks import StackReader
from cryocore.geometry.rotations import random_rotations
from cryocore.geometry.symmetry import point_group
from cryocore.imaging.accumulate import accumulate, symmetrise
from cryocore.imaging.grid import FourierGrid, FourierSums
from cryocore.imaging.solve import DAMPING, Solver, own_divisor, sampling_density
from cryocore.imaging.volumes import shell_means
from cryocore.maps.curves import FscCurves
from cryocore.maps.fsc import fsc
from cryocore.maps.mrc import read_map, write_stack
from cryocore.reconstruct import reconstruct
from cryocore.reconstruct.solved import half_maps
from cryocore.tables.io import write_table
from cryocore.tables.particles import Particles
from tests.phantoms import BACKENDS, Blobs, optics, particles, used_samples


def images_of(blobs: Blobs, data: Particles, box: int) -> np.ndarray:
    """Noise-free images with the CTF of the particles, unshifted."""
    from cryocore.imaging.ctf import ctf

    limit = (box - 1) // 2
    slices = blobs.slices(data.rotations, limit, box) * used_samples(limit)
    ky, kx = np.mgrid[-limit : limit + 1, 0 : limit + 1]
    step = 1 / (box * data.optics[0].pixel_size_angstrom)
    out = np.zeros((len(data), box, box // 2 + 1), dtype=complex)
    for i in range(len(data)):
        values = [float(data.column(f"defocus_{c}")[i]) for c in ("u_angstrom", "v_angstrom", "angle_deg")]
        ramp = np.exp(-2j * np.pi * (kx + ky) * (box // 2) / box)
        out[i, ky, kx] = box * slices[i] * ctf(step * kx, step * ky, data.optics[0], *values) * ramp
    out[:, -limit:, 0] += np.conj(out[:, limit:0:-1, 0])
    return np.fft.irfft2(out, s=(box, box)).astype(np.float32)


def data_set(folder: Path, blobs: Blobs, n: int, box: int, noise: float = 0.0, seed: int = 0) -> Particles:
    rng = np.random.default_rng(seed)
    data = particles(random_rotations(n, rng), optics(box))
    images = images_of(blobs, data, box)
    images += noise * images.std() * rng.standard_normal(images.shape, dtype=np.float32)
    write_stack(folder / "stack.mrcs", images, 2.0)
    data = Particles(data.table, data.optics, parent="none.star", root=str(folder))
    data.write(folder / "particles.parquet")
    return data


@pytest.mark.slow
@pytest.mark.usefixtures("undamped")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("symmetry", "box"), [("C1", 40), ("D3", 40), ("O", 30)])
def test_noise_free_map_equals_the_phantom(tmp_path: Path, symmetry: str, box: int, backend: str) -> None:
    group = point_group(symmetry)
    blobs = Blobs.random(25, spread=box / 10, width=1.0).symmetrised(group)
    data_set(tmp_path, blobs, 600, box)
    reconstruct(
        tmp_path / "particles.parquet",
        None,
        None,
        settings=Reconstruct(),
        symmetry=symmetry,
        backend=get_backend(backend),
        out_dir=tmp_path / "out",
    )
    truth = blobs.map(box)
    for name in ("half1", "half2", "map"):
        found, pixel = read_map(tmp_path / "out" / f"{name}.mrc")
        assert pixel == pytest.approx(2.0)
        curve = fsc(found, truth)[1 : box // 2 - 1]
        assert curve.min() > 0.99, (name, curve)
    # amplitudes too: the solution of the normal equations is the density itself
    ball = np.linalg.norm(np.mgrid[0:box, 0:box, 0:box] - box // 2, axis=0) < box // 2 - 4
    shape = truth - truth[ball].mean()
    found = found - found[ball].mean()
    assert (found * shape)[ball].sum() / (shape * shape)[ball].sum() == pytest.approx(1.0, abs=0.03)


def test_half_maps_share_no_particle_and_weights_count(tmp_path: Path) -> None:
    box = 32
    data = data_set(tmp_path, Blobs.random(15, spread=3.0, width=1.6), 80, box, noise=1.0)
    backend, n = get_backend("cpu"), len(data)

    def sums(weights: np.ndarray) -> FourierSums:
        return accumulate(data, weights.astype(np.float32), FourierGrid.of(box, 2.0, 2.0), backend)

    whole = sums(np.ones(n))
    first = sums((data.column("half") == 1).astype(float))
    assert np.array_equal(whole.numerator[0], first.numerator[0])
    assert not first.numerator[1].any()
    rng = np.random.default_rng(1)
    weights = rng.uniform(0, 2, n)
    a, b = sums(weights), sums(2 - weights)
    np.testing.assert_allclose(
        a.numerator + b.numerator, 2 * whole.numerator, atol=2e-4 * np.abs(whole.numerator).max()
    )
    np.testing.assert_allclose(a.denominator + b.denominator, 2 * whole.denominator, rtol=1e-3, atol=1e-4)


def test_sums_of_a_symmetric_set_are_invariant() -> None:
    grid = FourierGrid.of(32, 2.0, 2.0)
    along = np.arange(-(grid.radius + 1), grid.radius + 2)
    squared = along[grid.radius + 1 :, None, None] ** 2 + along[:, None] ** 2 + along**2
    smooth = np.broadcast_to(np.exp(-squared / 200.0).astype(np.float32), (2, *grid.shape))
    sums = FourierSums(smooth.astype(np.complex64, order="C"), smooth.copy(order="C"), grid)
    inside = squared <= grid.radius**2
    for name, order in (("C4", 4), ("D7", 14), ("I2", 60)):
        out = symmetrise(sums, point_group(name))
        np.testing.assert_allclose(out.denominator[0][inside], order * smooth[0][inside], atol=0.02 * order)
        np.testing.assert_allclose(out.numerator[1].real[inside], order * smooth[0][inside], atol=0.02 * order)
        np.testing.assert_allclose(out.numerator[0].imag, 0, atol=1e-6)


def test_phantom_halves_agree_and_resolution_falls_with_noise(tmp_path: Path) -> None:
    box, blobs = 40, Blobs.random(25, spread=4.0, width=1.2)
    found = {}
    for noise in (0.3, 3.0):
        folder = tmp_path / str(noise)
        folder.mkdir()
        data_set(folder, blobs, 400, box, noise=noise)
        reconstruct(
            folder / "particles.parquet",
            None,
            None,
            settings=Reconstruct(),
            symmetry="C1",
            backend=get_backend("cpu"),
            out_dir=folder,
        )
        curves = FscCurves.read(folder / "fsc.parquet")
        found[noise] = curves.unmasked
    assert found[0.3][1:10].min() > 0.9
    assert found[3.0][8:].mean() < found[0.3][8:].mean() - 0.2


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("symmetry", ["C1", "D2"])
def test_half_sets_in_turn_give_the_maps_of_both_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, symmetry: str, name: str
) -> None:
    data_set(tmp_path, Blobs.random(15, spread=3.0, width=1.6), 60, 32, noise=1.0)
    given = {"settings": Reconstruct(), "symmetry": symmetry, "backend": get_backend(name)}
    reconstruct(tmp_path / "particles.parquet", None, None, **given, out_dir=tmp_path / "both")
    monkeypatch.setattr("cryocore.reconstruct.solved.LARGE_SUMS_BYTES", 0)
    reconstruct(tmp_path / "particles.parquet", None, None, **given, out_dir=tmp_path / "turn")
    for file in ("half1.mrc", "half2.mrc", "map.mrc"):
        found, expected = (read_map(tmp_path / folder / file)[0] for folder in ("turn", "both"))
        np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())
    found, expected = (np.load(tmp_path / folder / "sampling.npz")["density"] for folder in ("turn", "both"))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_maps_of_half_sets_in_turn_are_those_of_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box, backend = 32, get_backend("cpu")
    data = data_set(tmp_path, Blobs.random(15, spread=3.0, width=1.6), 60, box, noise=1.0)
    given = np.ones(60, np.float32), FourierGrid.of(box, 2.0, 2.0), point_group("C2"), backend, StackReader
    both = list(half_maps(data, *given))
    monkeypatch.setattr("cryocore.reconstruct.solved.LARGE_SUMS_BYTES", 0)
    for found, expected in zip(half_maps(data, *given), both, strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())
    assert not np.allclose(*both, atol=0.1 * np.abs(both[0]).max())


def test_solver_drops_the_mean_and_keeps_to_the_ball(tmp_path: Path) -> None:
    box = 32
    data = data_set(tmp_path, Blobs.random(15, spread=3.0, width=1.6), 100, box)
    sums = accumulate(data, np.ones(100, np.float32), FourierGrid.of(box, 2.0, 2.0, 10), get_backend("cpu"))
    solver = Solver(sums, point_group("C1"))
    spectrum = np.abs(np.fft.fftn(solver.half(0)))
    shell = np.linalg.norm(np.stack(np.meshgrid(*[np.fft.fftfreq(box, 1 / box)] * 3, indexing="ij")), axis=0)
    assert spectrum[shell > 13].max() < 0.05 * spectrum.max()


def test_damping_helps_where_views_are_uneven(tmp_path: Path) -> None:
    """Nine in ten particles along one axis, within 20°: what few have seen is noise unless it is damped."""
    box, n, blobs, rng = 32, 400, Blobs.random(15, spread=3.0, width=1.2), np.random.default_rng(4)
    rotations = random_rotations(8 * n, rng)
    along = rotations[:, 2, 2] > np.cos(np.deg2rad(20.0))
    rotations = np.concatenate([rotations[along][: 9 * n // 10], rotations[~along][: n // 10]])
    data = particles(rotations, optics(box))
    images = images_of(blobs, data, box)
    images += 4.0 * images.std() * rng.standard_normal(images.shape, dtype=np.float32)
    write_stack(tmp_path / "stack.mrcs", images, 2.0)
    data = Particles(data.table, data.optics, parent="none.star", root=str(tmp_path))
    sums = accumulate(data, np.ones(len(data), np.float32), FourierGrid.of(box, 2.0, 2.0), get_backend("cpu"))
    solver, truth = Solver(sums, point_group("C1")), blobs.map(box)

    def area(*, damped: bool) -> float:
        return float(fsc(sum(solver.half(h, damped=damped) for h in (0, 1)), truth)[1:].mean())

    assert area(damped=True) > area(damped=False) + 0.02


def test_what_own_samples_are_divided_by() -> None:
    """Even sums: the denominators. Of a single plane: what is there, not its mean with the nothing beside it."""
    grid = FourierGrid.of(32, 2.0, 2.0)
    coarse = FourierGrid(32, 2.0, 32, grid.last_shell)
    even = np.full((2, *grid.shape), 3.0, dtype=np.float32)
    sums = FourierSums(np.zeros(even.shape, np.complex64), even, grid)
    ball = shell_means(own_divisor(sums)[0], coarse)[1:-2]
    np.testing.assert_allclose(ball, 3.0, rtol=1e-3)
    plane = np.zeros_like(even)
    plane[:, :, grid.radius + 1] = 3.0
    sums = FourierSums(np.zeros(even.shape, np.complex64), plane, grid)
    on_it = own_divisor(sums, damped=False)[0, 2:8, coarse.radius + 1, coarse.radius + 4]
    np.testing.assert_allclose(on_it, 3.0, rtol=1e-5)
    np.testing.assert_allclose(sampling_density(sums)[0, 2:8, coarse.radius + 1, coarse.radius + 4], 1.5, rtol=1e-5)
    added = DAMPING * shell_means(plane[0], grid)[np.rint(np.hypot(np.arange(2, 8), 3)).astype(int)]
    damped = own_divisor(sums)[0, 2:8, coarse.radius + 1, coarse.radius + 4]
    np.testing.assert_allclose(damped, (3.0 + added) / (1.0 + DAMPING), rtol=0.02)


def test_an_empty_half_set_is_refused(tmp_path: Path) -> None:
    data = data_set(tmp_path, Blobs.random(5, spread=3.0, width=1.6), 20, 32)
    weights = (data.column("half") == 1).astype(np.float32)
    table = pa.table({"particle_id": data.ids, "weight": weights, "selected": weights > 0})
    write_table(tmp_path / "subset.parquet", table)
    with pytest.raises(InputError, match=r"subset\.parquet: half set 2 has no particles"):
        reconstruct(
            tmp_path / "particles.parquet",
            tmp_path / "subset.parquet",
            None,
            settings=Reconstruct(),
            symmetry="C1",
            backend=get_backend("cpu"),
            out_dir=tmp_path,
        )


def test_half_maps_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    data = data_set(tmp_path, Blobs.random(5, spread=3.0, width=1.6), 20, 32)
    images = np.zeros((len(data), 32, 32), dtype=np.float32)
    images[7, 3, 5] = np.nan
    write_stack(tmp_path / "stack.mrcs", images, 2.0)
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"particles\.parquet: the half maps are not finite\. Check the images"):
        reconstruct(
            tmp_path / "particles.parquet",
            None,
            None,
            settings=Reconstruct(),
            symmetry="C1",
            backend=get_backend("cpu"),
            out_dir=out,
        )
    assert not list(out.glob("*.mrc"))


def test_nothing_is_reported_beyond_the_resolution_limit(tmp_path: Path) -> None:
    data_set(tmp_path, Blobs.random(25, spread=4.0, width=1.0), 200, 40, noise=1.0)
    reconstruct(
        tmp_path / "particles.parquet",
        None,
        None,
        settings=Reconstruct(max_resolution_angstrom=8.0),
        symmetry="C1",
        backend=get_backend("cpu"),
        out_dir=tmp_path,
    )
    curves = FscCurves.read(tmp_path / "fsc.parquet")
    assert curves.corrected[10] > 0.5
    for curve in (curves.unmasked, curves.masked, curves.corrected):
        assert not curve[11:].any()
