"""The stage: one streaming pass that compares every image with its half set's map."""

from __future__ import annotations

import hashlib
import json
import logging
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cryocore import __version__
from cryocore.backend import Backend
from cryocore.cache.file import image_source
from cryocore.config import Score
from cryocore.data import SCORES, FscCurves, Particles, read_weights
from cryocore.files import write_tables
from cryocore.geometry.poses import decoy_rows, hashed_uniform, neighbours
from cryocore.geometry.rotations import quaternion_to_matrix, viewing_direction
from cryocore.images import Source, StackReader, batch_size, batches
from cryocore.imaging.slices import prepare
from cryocore.imaging.volumes import Floats32
from cryocore.maps.fsc import fsc_weight
from cryocore.score.bands import band_means
from cryocore.score.reference import Reference, first_band, load_reference, warn_of_own_share
from cryocore.score.scores import BAND_COLUMNS, BandStatistics, Weighting, named_scores
from cryocore.score.sums import own_sums, pose_sums

log = logging.getLogger(__name__)

CHUNK = 32768
"""Particles whose scores are held at a time: a row group of the log."""
NOISE_SAMPLE = 1000
"""Particles per optics group from which the noise is estimated before the pass."""


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
    cache: Path | None = None,
) -> None:
    """Write the log of a round: every particle against the map of its own half set, its own share taken out.

    Reads half1.mrc, half2.mrc, mask.mrc, fsc.parquet and sampling.npz of ``round_dir``; transforms from
    ``cache`` instead of images, if it is given.
    """
    data = Particles.read(particles)
    weights = read_weights(subset, data)
    curves = FscCurves.read(round_dir / "fsc.parquet")
    reference = load_reference(data, round_dir, settings, backend)
    signal = band_means(fsc_weight(curves.corrected)[: int(reference.edges[-1])], reference.edges)
    source = image_source(cache, data, [frame.limit for frame in reference.frames])
    noise = estimate_noise(data, reference, weights, seed, backend, source)
    warn_of_own_share(reference, weights, data.column("half"))
    cryosieve_band = first_band(reference.edges, data, settings.cryosieve_angstrom)

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
        "noise_power": [[v if np.isfinite(v) else None for v in row] for row in noise.tolist()],
        "signal_share": signal.tolist(),
        "radial_mean": reference.radial_mean.tolist(),
        "coefficients": [s.coefficients.tolist() for s in reference.samples],
    }
    poses = data.quaternions

    def chunk(start: int) -> pa.Table:
        rows = np.arange(start, min(start + CHUNK, len(data)))
        part = data.take(rows)
        sums = chunk_sums(part, weights[rows], poses, reference, settings, seed, backend, source=source)
        group = part.column("optics_group")
        weighting = Weighting(noise[group], signal, reference.radial_mean[part.column("half") - 1])
        scores = named_scores(BandStatistics.of(sums[0]), sums[1], sums[2], weighting, cryosieve_band)
        return log_table(part, round_number, weights[rows], scores, sums[0])

    write_tables(out, (chunk(start) for start in range(0, len(data), CHUNK)), **metadata)
    log.info("scored %d particles in %d bands", len(data), reference.n_bands)


def estimate_noise(
    data: Particles,
    reference: Reference,
    weights: NDArray[np.float32],
    seed: int,
    backend: Backend,
    source: Source = StackReader,
) -> NDArray[np.float64]:
    """Noise power per coefficient, ``(optics groups, bands)``: mean residual of a sample of each group.

    It is infinite in bands beyond the reach of a group's images, which then count for nothing.
    """
    order = np.argsort(hashed_uniform(data.ids, 1, seed=seed, stream=3)[:, 0], kind="stable")
    group = data.column("optics_group")[order]
    chosen = np.sort(np.concatenate([order[group == g][:NOISE_SAMPLE] for g in range(len(data.optics))]))
    none = Score(n_bands=64, n_decoys=0, n_local=0)
    sample = data.take(chosen)
    given = sample, weights[chosen], sample.quaternions, reference, none, seed, backend
    own, _, _ = chunk_sums(*given, progress="noise", source=source)
    s = BandStatistics.of(own)
    residual = s.a - 2 * s.c + s.e
    of_group = sample.column("optics_group")
    coefficients = [samples.coefficients for samples in reference.samples]
    means = [residual[of_group == g].mean(axis=0) / np.maximum(count, 1) for g, count in enumerate(coefficients)]
    return np.where(np.stack(coefficients) > 0, np.stack(means), np.inf)


def chunk_sums(
    part: Particles,
    weights: NDArray[np.float32],
    all_poses: NDArray[np.float64],
    reference: Reference,
    settings: Score,
    seed: int,
    backend: Backend,
    progress: str = "score",
    source: Source = StackReader,
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
    for at, images in batches(part, np.arange(n), size, progress=progress, source=source):
        group = int(groups[at[0]])
        samples = reference.samples[group]
        batch = prepare(images, part.take(at), reference.frames[group], backend)
        own[at] = own_sums(batch, rotations[at], half[at], weights[at], reference, samples, backend)
        if settings.n_decoys:
            rows = decoy_rows(part.ids[at], settings.n_decoys, len(all_poses), seed=seed)
            poses = quaternion_to_matrix(all_poses[rows].reshape(-1, 4)).reshape(*rows.shape, 3, 3)
            decoys[at] = pose_sums(batch, poses, rotations[at], half[at], weights[at], reference, samples, backend)
        if settings.n_local:
            poses = neighbours(part.ids[at], rotations[at], settings.n_local, settings.local_angle_deg, seed=seed)
            near[at] = pose_sums(batch, poses, rotations[at], half[at], weights[at], reference, samples, backend)
    return own, decoys, near


def log_table(
    part: Particles,
    round_number: int,
    weights: NDArray[np.float32],
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
    columns["selected"] = weights > 0
    for name in SCORES:
        columns[name] = scores[name].astype(np.float32)
    for i, name in enumerate(BAND_COLUMNS):
        flat = pa.array(np.ascontiguousarray(sums[:, :, i]).reshape(-1))
        columns[name] = pa.FixedSizeListArray.from_arrays(flat, sums.shape[1])
    return pa.table(columns)
