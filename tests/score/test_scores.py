"""Scores against direct formulas, and the leave-one-out share against true removal."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cryocore.backend import get_backend
from cryocore.config.reconstruct import Reconstruct
from cryocore.config.score import Score
from cryocore.geometry.rotations import random_rotations
from cryocore.imaging.grid import FourierGrid
from cryocore.imaging.image_geometry import ImageGeometry
from cryocore.imaging.prepare import prepare
from cryocore.imaging.slices import project
from cryocore.imaging.volumes import map_to_grid
from cryocore.log import error_rate
from cryocore.log.names import SCORES
from cryocore.maps.mrc import read_map, write_stack
from cryocore.reconstruct import reconstruct
from cryocore.score import score
from cryocore.score.bands import band_edges, band_means, band_samples
from cryocore.score.reference import PADDING, warn_of_self_contribution
from cryocore.score.scores import BAND_COLUMNS
from cryocore.tables.io import table_metadata, write_table
from cryocore.tables.particles import Particles
from tests.phantoms import Blobs, in_half_precision, optics, used_samples
from tests.reconstruct.test_reconstruct import data_set

BOX = 40


def one_round(folder: Path, n: int = 300, noise: float = 4.0, subset: Path | None = None) -> pa.Table:
    """The log of a map made from ``subset`` (None: all particles)."""
    file = folder / "particles.parquet"
    if not file.exists():
        data_set(folder, Blobs.random(25, spread=4.0, width=1.0), n, BOX, noise=noise)
    reconstruct(
        file,
        subset,
        None,
        settings=Reconstruct(),
        symmetry="C1",
        backend=get_backend("cpu"),
        out_dir=folder / "round",
    )
    return score_round(folder, subset)


def score_round(folder: Path, subset: Path | None, backend: str = "cpu", settings: Score | None = None) -> pa.Table:
    """The log of the map that is there, as if ``subset`` had made it."""
    out = folder / "round" / "scores.parquet"
    score(
        folder / "particles.parquet",
        out.parent,
        subset,
        settings=settings or Score(),
        symmetry="C1",
        round_number=0,
        seed=0,
        backend=get_backend(backend),
        out=out,
    )
    return pq.read_table(out)


def bands_of(table: pa.Table, name: str) -> np.ndarray:
    column = table.column(name).combine_chunks()
    return column.flatten().to_numpy().reshape(len(table), -1)


def test_band_statistics_match_a_direct_computation(tmp_path: Path) -> None:
    subset = tmp_path / "subset.parquet"
    data = data_set(tmp_path, Blobs.random(25, spread=4.0, width=1.0), 120, BOX, noise=2.0)
    inside = np.arange(120) < 80
    table = pa.table({"particle_id": data.ids, "weight": inside.astype(np.float32), "selected": inside})
    write_table(subset, table)
    log = one_round(tmp_path, subset=subset)
    assert log.column("particle_id").to_numpy().tolist() == data.ids.tolist()
    # particles outside the map need no correction: their statistics are plain sums over slices of the masked half map
    mask, _ = read_map(tmp_path / "round" / "mask.mrc")
    grid = FourierGrid.of(BOX, 2.0, PADDING)
    halves = (read_map(tmp_path / "round" / f"half{h}.mrc")[0] for h in (1, 2))
    grids = np.stack([in_half_precision(map_to_grid(half * mask, grid)) for half in halves])
    outside = np.flatnonzero(~inside)
    part = data.take(outside)
    frame = ImageGeometry.of(data.optics[0], grid)
    images = np.concatenate([image for _, image in _images(data, outside)])
    backend = get_backend("cpu")
    batch = prepare(images, part, frame, backend)
    half = part.column("half").astype(np.int32) - 1
    x = batch.ctf * project(grids, part.rotations, half, frame, backend)
    y = batch.image
    edges = np.array(table_metadata(log.schema)["band_edges"])
    ky, kx = np.mgrid[-frame.limit : frame.limit + 1, 0 : frame.limit + 1]
    shell = np.rint(np.hypot(kx, ky))
    for band in range(len(edges) - 1):
        use = used_samples(frame.limit) & (shell >= edges[band]) & (shell < edges[band + 1])
        a, e, c = (np.abs(y) ** 2)[:, use], (np.abs(x) ** 2)[:, use], (np.conj(y) * x).real[:, use]
        for name, values in zip(BAND_COLUMNS, (a, e, c), strict=False):
            expected = 2 * values.sum(axis=1)
            np.testing.assert_allclose(
                bands_of(log, name)[outside, band], expected, rtol=2e-4, atol=1e-4 * np.abs(expected).max()
            )


def _images(data: Particles, rows: np.ndarray) -> object:
    from cryocore.formats.stacks import batches

    return batches(data, rows, 1000, progress=None)


def leave_out(folder: Path, ids: np.ndarray, n_removed: int) -> tuple[np.ndarray, Path]:
    """Rows drawn at random, and the subset of all the others."""
    removed = np.random.default_rng(0).permutation(len(ids))[:n_removed]
    weight = np.ones(len(ids), dtype=np.float32)
    weight[removed] = 0
    subset = folder / "subset.parquet"
    write_table(subset, pa.table({"particle_id": ids, "weight": weight, "selected": weight > 0}))
    return removed, subset


def test_every_score_separates_wrong_poses(tmp_path: Path) -> None:
    data = data_set(tmp_path, Blobs.random(25, spread=4.0, width=1.0), 600, BOX, noise=3.0)
    rng = np.random.default_rng(5)
    incorrect = rng.permutation(600)[:150]
    poses = data.rotations
    poses[incorrect] = random_rotations(150, rng)
    from cryocore.geometry.rotations import matrix_to_quaternion

    quaternions, table = matrix_to_quaternion(poses), data.table
    for i, c in enumerate("wxyz"):
        name = f"quat_{c}"
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(quaternions[:, i]))
    Particles(table, data.optics, data.parent, data.root).write(tmp_path / "particles.parquet")
    log = one_round(tmp_path)
    correct = np.ones(600, dtype=bool)
    correct[incorrect] = False
    for name in SCORES:
        values = log.column(name).to_numpy() * (-1 if name.endswith("_loss") else 1)
        assert np.isfinite(values).all()
        rank = np.argsort(np.argsort(values))
        auc = (rank[correct].sum() - correct.sum() * (correct.sum() - 1) / 2) / (correct.sum() * 150)
        assert auc > (0.6 if name == "l2_loss" else 0.9), (name, auc)


def test_z_of_pure_noise_has_unit_variance(tmp_path: Path) -> None:
    """Images that hold no signal: z is a standard normal variable when they are not part of the map."""
    n = 600
    data = data_set(tmp_path, Blobs.random(25, spread=4.0, width=1.0), n, BOX, noise=3.0)

    rng = np.random.default_rng(6)
    noise_rows = np.arange(n) >= 400
    images = np.concatenate([image for _, image in _images(data, np.arange(n))])  # type: ignore[attr-defined]
    sigma = images.std()
    images[noise_rows] = sigma * rng.standard_normal((200, BOX, BOX), dtype=np.float32)
    write_stack(tmp_path / "stack.mrcs", images, 2.0)
    weight = (~noise_rows).astype(np.float32)
    write_table(
        tmp_path / "subset.parquet", pa.table({"particle_id": data.ids, "weight": weight, "selected": weight > 0})
    )
    log = one_round(tmp_path, subset=tmp_path / "subset.parquet")
    z = log.column("z").to_numpy()[noise_rows]
    assert abs(z.mean()) < 0.3
    assert z.std() == pytest.approx(1.0, abs=0.15)
    assert log.column("z").to_numpy()[~noise_rows].mean() > 5


def test_log_does_not_depend_on_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = one_round(tmp_path, n=200)
    monkeypatch.setattr("cryocore.score.stage.CHUNK", 64)
    parts = one_round(tmp_path)
    assert pq.ParquetFile(tmp_path / "round" / "scores.parquet").num_row_groups == 4
    for name in whole.schema.names:
        assert whole.column(name).to_pylist() == parts.column(name).to_pylist(), name


def test_bands_cover_every_shell_once() -> None:
    for n_bands, last in ((24, 63), (24, 200), (8, 15), (32, 20)):
        edges = band_edges(n_bands, last)
        assert edges[0] == 1
        assert edges[-1] == last + 1
        assert np.all(np.diff(edges) >= 1)
        assert len(edges) - 1 == min(n_bands, last)
    widths = np.diff(band_edges(24, 200))
    assert widths[:8].tolist() == [1] * 8, "the innermost shells have bands of their own"
    assert set(widths[8:].tolist()) == {12}, "16 bands share 192 shells"
    frame = ImageGeometry.of(optics(40), FourierGrid.of(40, 2.0, 2.0))
    edges = band_edges(8, frame.limit)
    samples = band_samples(frame, edges)
    assert samples.start[-1] == len(samples.pairs) == used_samples(frame.limit).sum()
    assert samples.coefficients.sum() == 2 * len(samples.pairs)
    values = np.arange(20.0)
    means = band_means(values, edges)
    assert means[0] == 1.0
    assert np.all((means >= edges[:-1]) & (means < edges[1:]))


@pytest.mark.gpu
@pytest.mark.parametrize("way", ["closed_form", "folds"])
def test_gpu_and_cpu_write_the_same_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: Literal["closed_form", "folds"]
) -> None:
    monkeypatch.setattr(error_rate, "BOOTSTRAP", 2)  # the interval of the error rate is no matter of the GPU
    one_round(tmp_path, n=100)
    settings = Score(leave_one_out=way, n_folds=2, n_bands=8, n_random_poses=3, n_perturbed_poses=3)
    cpu, gpu = (score_round(tmp_path, None, backend, settings) for backend in ("cpu", "cuda"))
    for name in (*SCORES, *BAND_COLUMNS):
        first, second = (bands_of(t, name) if name in BAND_COLUMNS else t.column(name).to_numpy() for t in (cpu, gpu))
        np.testing.assert_allclose(first, second, rtol=2e-3, atol=2e-3 * np.abs(first).max())


def test_neighbouring_poses_are_not_scored_by_the_particles_own_noise(tmp_path: Path) -> None:
    """Particles that stay in the map and particles that were taken out of it score alike by ``local``."""
    n = 400
    whole = one_round(tmp_path, n=n, noise=4.0)
    ids = whole.column("particle_id").to_numpy()
    removed, subset = leave_out(tmp_path, ids, 60)
    without = one_round(tmp_path, subset=subset)
    for name in ("local", "dual", "z"):
        closed, true = (t.column(name).to_numpy()[removed] for t in (whole, without))
        assert abs((closed - true).mean()) < 0.35 * true.std(), name


def test_a_group_that_ends_early_is_scored_by_the_bands_it_has(tmp_path: Path) -> None:
    data = data_set(tmp_path, Blobs.random(25, spread=4.0, width=1.0), 120, BOX, noise=2.0)
    # the second half of the particles are binned: box 20 at twice the pixel size, cropped in Fourier space
    images = np.concatenate([image for _, image in _images(data, np.arange(120))])  # type: ignore[attr-defined]
    spectrum = np.fft.fftshift(np.fft.fft2(images[60:]), axes=(1, 2))[:, 10:30, 10:30]
    small = np.fft.ifft2(np.fft.ifftshift(spectrum, axes=(1, 2))).real / 2
    write_stack(tmp_path / "stack.mrcs", images[:60], 2.0)
    write_stack(tmp_path / "small.mrcs", small.astype(np.float32), 4.0)
    table = data.table
    group = (np.arange(120) >= 60).astype(np.int32)
    for name, values in (
        ("optics_group", pa.array(group)),
        ("stack", pa.array(np.where(group, "small.mrcs", "stack.mrcs")).dictionary_encode()),
        ("slice", pa.array((np.arange(120) % 60).astype(np.int32))),
    ):
        table = table.set_column(table.schema.get_field_index(name), name, values)
    Particles(table, (data.optics[0], optics(20, 4.0)), data.parent, data.root).write(tmp_path / "particles.parquet")
    one_round(tmp_path)
    for noise in ("optics_group", "micrograph"):
        log = score_round(tmp_path, None, settings=Score(noise=noise))
        z = log.column("z").to_numpy()
        assert np.isfinite(z).all()
        assert z[60:].mean() > 5
        assert np.isfinite(log.column("dual").to_numpy()).all()
        assert log.column("noise_factor").to_numpy()[60:].mean() == pytest.approx(1.0, abs=0.1)
    reached = np.isfinite(bands_of(log, "noise_power"))
    assert reached[:60].all()
    assert not reached[60:, -1].any()


def test_too_few_particles_for_leave_one_out_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one_round(tmp_path, n=400)
    assert "too few" not in caplog.text
    few = tmp_path / "few"
    few.mkdir()
    one_round(few, n=16)
    for half in (1, 2):
        assert f"a particle of half set {half} makes up some" in caplog.text


def test_a_share_of_more_than_a_tenth_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """Half of self-contribution times density, for the mean weight of those in the map."""
    half, weights = np.array([1, 1, 1, 2, 2, 2]), np.array([2.0, 2.0, 0.0, 2.0, 2.0, 0.0], dtype=np.float32)
    reference = SimpleNamespace(self_contribution=0.5, mean_inverse_density=[0.24, 0.16])
    warn_of_self_contribution(reference, weights, half)  # type: ignore[arg-type]
    assert [r.getMessage().split(" of the map")[0] for r in caplog.records] == [
        "a particle of half set 1 makes up some 12 %"
    ]
