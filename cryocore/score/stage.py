"""The stage: one streaming pass that compares every image with its half set's map."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cryocore import __version__
from cryocore.backend import Backend
from cryocore.config import Score
from cryocore.data import FscCurves, Grid, Particles, require_same_particles
from cryocore.files import atomic_path, read_table, with_metadata
from cryocore.geometry.poses import decoy_rows, hashed_uniform, neighbours
from cryocore.geometry.rotations import quaternion_to_matrix, viewing_direction
from cryocore.images import batch_size, batches
from cryocore.imaging.slices import Frame, Prepared, prepare, slice_basis
from cryocore.imaging.volumes import Floats32, grid_shells, map_to_grid, shell_means
from cryocore.maps.fsc import fsc_weight
from cryocore.maps.mrc import read_map
from cryocore.score.bands import BandSamples, band_edges, band_means, band_samples
from cryocore.score.scores import BAND_COLUMNS, SCORES, BandStatistics, Weighting, named_scores

log = logging.getLogger(__name__)

CHUNK = 32768
"""Particles whose scores are held at a time: a row group of the log."""
NOISE_SAMPLE = 1000
"""Particles per optics group from which the noise is estimated before the pass."""


@dataclass(frozen=True)
class Reference:
    """What images are compared with: the grids of both halves, and how much each particle shaped them."""

    grids: Any
    inverse_density: Any
    leverage: float
    radial_mean: NDArray[np.float64]
    edges: NDArray[np.int32]
    frames: tuple[Frame, ...]
    samples: tuple[BandSamples, ...]

    @property
    def n_bands(self) -> int:
        """Number of resolution bands."""
        return len(self.edges) - 1


def score(
    particles: Path,
    round_dir: Path,
    subset: Path | None,
    *,
    settings: Score,
    symmetry: str,
    round_number: int,
    seed: int,
    backend: Backend,
    out: Path,
) -> None:
    """Write the log of a round: every particle against the map of its own half set, its own share taken out.

    Reads half1.mrc, half2.mrc, mask.mrc, fsc.parquet and sampling.npz of ``round_dir``.
    """
    data = Particles.read(particles)
    weights, selected = _weights(subset, data)
    curves = FscCurves.read(round_dir / "fsc.parquet")
    reference = load_reference(data, round_dir, settings, backend)
    signal = band_means(fsc_weight(curves.corrected)[: int(reference.edges[-1])], reference.edges)
    noise = estimate_noise(data, reference, weights, seed, backend)
    cryosieve_band = first_band(reference.edges, data, settings.cryosieve_angstrom)

    schema: pa.Schema | None = None
    metadata = {
        "round": round_number,
        "symmetry": symmetry,
        "score_settings": settings.model_dump(),
        "settings_hash": hashlib.sha256(json.dumps(settings.model_dump(), sort_keys=True).encode()).hexdigest()[:16],
        "versions": {"cryocore": __version__, **{name: version(name) for name in ("numpy", "pyarrow")}},
        "box": data.reference_optics.box,
        "pixel_size_angstrom": data.reference_optics.pixel_size_angstrom,
        "n_bands": reference.n_bands,
        "band_edges": reference.edges.tolist(),
        "noise_power": noise.tolist(),
        "signal_share": signal.tolist(),
        "radial_mean": reference.radial_mean.tolist(),
        "coefficients": [s.coefficients.tolist() for s in reference.samples],
    }
    poses = data.quaternions
    with atomic_path(out) as temporary:
        writer: pq.ParquetWriter | None = None
        for start in range(0, len(data), CHUNK):
            rows = np.arange(start, min(start + CHUNK, len(data)))
            part = data.take(rows)
            sums = chunk_sums(part, weights[rows], poses, reference, settings, seed, backend)
            group = part.column("optics_group")
            weighting = Weighting(noise[group], signal, reference.radial_mean[part.column("half") - 1])
            own = BandStatistics.of(sums[0])
            scores = named_scores(own, sums[1], sums[2], weighting, cryosieve_band)
            table = log_table(part, round_number, weights[rows], selected[rows], scores, sums[0])
            if writer is None:
                schema = with_metadata(table, **metadata).schema
                writer = pq.ParquetWriter(temporary, schema, compression="zstd")
            writer.write_table(table.replace_schema_metadata(schema.metadata if schema else None))
        if writer is not None:
            writer.close()
    log.info("scored %d particles in %d bands", len(data), reference.n_bands)


def _weights(subset: Path | None, data: Particles) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    if subset is None:
        return np.ones(len(data), dtype=np.float32), np.ones(len(data), dtype=bool)
    table = read_table(subset)
    require_same_particles(table.column("particle_id").to_numpy(), data.ids, file=subset)
    selected = table.column("selected").to_numpy(zero_copy_only=False)
    return table.column("weight").to_numpy().astype(np.float32), selected.astype(bool)


def load_reference(data: Particles, round_dir: Path, settings: Score, backend: Backend) -> Reference:
    """Mask the half maps of a round and put them, and the density of their samples, on grids."""
    optics = data.reference_optics
    mask, _ = read_map(round_dir / "mask.mrc")
    with np.load(round_dir / "sampling.npz", allow_pickle=False) as file:
        density, padding = file["density"], float(file["padding"])
    grid = Grid.of(optics.box, optics.pixel_size_angstrom, padding, density.shape[1] - 2)
    grids = np.stack([map_to_grid(read_map(round_dir / f"half{h}.mrc")[0] * mask, grid) for h in (1, 2)])
    # the outermost shell is cut by the ball of the grid, and its density with it
    edges = band_edges(settings.n_bands, grid.last_shell - 1)
    frames = tuple(Frame.of(o, grid) for o in data.optics)
    shells = grid_shells(grid)
    return Reference(
        grids=backend.to_device(grids),
        inverse_density=backend.to_device(np.float32(1.0) / density),
        leverage=float(mask.mean()) / grid.padding**3,
        radial_mean=np.stack([band_means(radial_mean(g, shells, grid), edges) for g in grids]),
        edges=edges,
        frames=frames,
        samples=tuple(band_samples(f, edges) for f in frames),
    )


def radial_mean(values: NDArray[np.complex64], shells: NDArray[np.int32], grid: Grid) -> NDArray[np.float64]:
    """Mean of a grid over each shell, which is real: the projection that all poses have in common."""
    return shell_means(values.real, shells, grid.last_shell)


def first_band(edges: NDArray[np.int32], data: Particles, resolution_angstrom: float) -> int:
    """The first band that lies wholly above a resolution."""
    optics = data.reference_optics
    shell = optics.box * optics.pixel_size_angstrom / resolution_angstrom
    return min(int(np.searchsorted(edges, shell)), len(edges) - 2)


def estimate_noise(
    data: Particles, reference: Reference, weights: NDArray[np.float32], seed: int, backend: Backend
) -> NDArray[np.float64]:
    """Noise power per coefficient, ``(optics groups, bands)``: mean residual of a sample of each group."""
    order = np.argsort(hashed_uniform(data.ids, 1, seed=seed, stream=3)[:, 0], kind="stable")
    group = data.column("optics_group")[order]
    chosen = np.sort(np.concatenate([order[group == g][:NOISE_SAMPLE] for g in range(len(data.optics))]))
    none = Score(n_bands=64, n_decoys=0, n_local=0)
    sample = data.take(chosen)
    own, _, _ = chunk_sums(sample, weights[chosen], sample.quaternions, reference, none, seed, backend, "noise")
    s = BandStatistics.of(own)
    residual = s.a - 2 * s.c + s.e
    of_group = sample.column("optics_group")
    return np.stack(
        [
            residual[of_group == g].mean(axis=0) / np.maximum(samples.coefficients, 1)
            for g, samples in enumerate(reference.samples)
        ]
    )


def chunk_sums(
    part: Particles,
    weights: NDArray[np.float32],
    all_poses: NDArray[np.float64],
    reference: Reference,
    settings: Score,
    seed: int,
    backend: Backend,
    progress: str = "score",
) -> tuple[Floats32, Floats32, Floats32]:
    """Band sums of some particles: own pose ``(n, bands, 6)``, decoys and neighbours ``(n, k, bands, 2)``.

    ``all_poses`` are the quaternions ``(m, 4)`` of the whole data set, from which decoys are drawn.
    """
    n, bands = len(part), reference.n_bands
    own = np.empty((n, bands, 6), dtype=np.float32)
    decoys = np.empty((n, settings.n_decoys, bands, 2), dtype=np.float32)
    near = np.empty((n, settings.n_local, bands, 2), dtype=np.float32)
    half, groups, rotations = part.column("half").astype(np.int32) - 1, part.column("optics_group"), part.rotations
    size = batch_size(max(o.box for o in part.optics))
    for at, images in batches(part, np.arange(n), size, progress=progress):
        group = int(groups[at[0]])
        samples = reference.samples[group]
        batch = prepare(images, part.take(at), reference.frames[group], backend)
        own[at] = own_sums(batch, rotations[at], half[at], weights[at], reference, samples, backend)
        if settings.n_decoys:
            rows = decoy_rows(part.ids[at], settings.n_decoys, len(all_poses), seed=seed)
            poses = quaternion_to_matrix(all_poses[rows].reshape(-1, 4)).reshape(*rows.shape, 3, 3)
            decoys[at] = pose_sums(batch, poses, half[at], reference, samples, backend)
        if settings.n_local:
            poses = neighbours(part.ids[at], rotations[at], settings.n_local, settings.local_angle_deg, seed=seed)
            near[at] = pose_sums(batch, poses, half[at], reference, samples, backend)
    return own, decoys, near


def own_sums(
    batch: Prepared,
    rotations: NDArray[np.float64],
    half: NDArray[np.int32],
    weights: NDArray[np.float32],
    reference: Reference,
    samples: BandSamples,
    backend: Backend,
) -> Floats32:
    """Band sums of a batch at its own poses, ``(n, bands, 6)``."""
    n, frame = len(batch), batch.frame
    sums = backend.xp.empty((n, reference.n_bands, 6), dtype=np.float32)
    args = (
        batch.image,
        batch.ctf,
        *(backend.to_device(a) for a in (samples.pairs, samples.start, slice_basis(rotations, frame), half)),
        backend.to_device((weights * reference.leverage).astype(np.float32)),
        reference.grids,
        reference.grids.shape[1] - 2,
        reference.inverse_density,
        reference.inverse_density.shape[1] - 2,
        1.0 / frame.padding,
        *(n, frame.limit, reference.n_bands, sums),
    )
    backend.launch("score_slices", args, items=n)
    return np.asarray(backend.to_host(sums))


def pose_sums(
    batch: Prepared,
    poses: NDArray[np.float64],
    half: NDArray[np.int32],
    reference: Reference,
    samples: BandSamples,
    backend: Backend,
) -> Floats32:
    """Band sums e and c of a batch at other poses ``(n, k, 3, 3)``: ``(n, k, bands, 2)``."""
    n, k, frame = len(batch), poses.shape[1], batch.frame
    sums = backend.xp.empty((n, k, reference.n_bands, 2), dtype=np.float32)
    args = (
        batch.image,
        batch.ctf,
        *(backend.to_device(a) for a in (samples.pairs, samples.start, slice_basis(poses, frame), half)),
        reference.grids,
        reference.grids.shape[1] - 2,
        *(n, k, frame.limit, reference.n_bands, sums),
    )
    backend.launch("score_poses", args, items=n * k)
    return np.asarray(backend.to_host(sums))


def log_table(
    part: Particles,
    round_number: int,
    weights: NDArray[np.float32],
    selected: NDArray[np.bool_],
    scores: dict[str, NDArray[np.float64]],
    sums: Floats32,
) -> pa.Table:
    """The rows of the log for some particles."""
    view = viewing_direction(part.rotations)
    columns: dict[str, Any] = {
        "particle_id": part.table.column("particle_id"),
        "round": pa.array(np.full(len(part), round_number, dtype=np.int32)),
    }
    for name in ("stack", "slice", "micrograph", "optics_group", "half", "quat_w", "quat_x", "quat_y", "quat_z"):
        columns[name] = part.table.column(name)
    for i, name in enumerate(("view_x", "view_y", "view_z")):
        columns[name] = view[:, i]
    for name in ("defocus_u_angstrom", "defocus_v_angstrom"):
        columns[name] = part.table.column(name)
    columns["weight"] = weights
    columns["selected"] = selected
    for name in SCORES:
        columns[name] = scores[name].astype(np.float32)
    for i, name in enumerate(BAND_COLUMNS):
        flat = pa.array(np.ascontiguousarray(sums[:, :, i]).reshape(-1))
        columns[name] = pa.FixedSizeListArray.from_arrays(flat, sums.shape[1])
    return pa.table(columns)
