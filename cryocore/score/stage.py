"""The stage: one streaming pass that compares every image with its half set's map."""

from __future__ import annotations

import hashlib
import json
import logging
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cryocore import __version__
from cryocore.backend import Backend
from cryocore.config import Score
from cryocore.data import FscCurves, Particles, read_weights
from cryocore.files import write_tables
from cryocore.geometry.poses import hashed_uniform
from cryocore.maps.fsc import fsc_weight
from cryocore.score.bands import band_means
from cryocore.score.chunks import chunk_sums
from cryocore.score.reference import Reference, first_band, load_reference, warn_of_own_share
from cryocore.score.scores import BandStatistics, Weighting, judge
from cryocore.score.table import log_table

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
) -> None:
    """Write the log of a round: every particle against the map of its own half set, its own share taken out.

    Reads half1.mrc, half2.mrc, mask.mrc, fsc.parquet and sampling.npz of ``round_dir``.
    """
    data = Particles.read(particles)
    weights = read_weights(subset, data)
    curves = FscCurves.read(round_dir / "fsc.parquet")
    reference = load_reference(data, round_dir, settings, backend)
    signal = band_means(fsc_weight(curves.corrected)[: int(reference.edges[-1])], reference.edges)
    noise = estimate_noise(data, reference, weights, seed, backend)
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
        sums = chunk_sums(part, weights[rows], poses, reference, settings, seed, backend)
        group = part.column("optics_group")
        weighting = Weighting(noise[group], signal, reference.radial_mean[part.column("half") - 1])
        judgement = judge(BandStatistics.of(sums.own), sums.rivals, weighting, cryosieve_band)
        return log_table(part, round_number, weights[rows], judgement, sums)

    write_tables(out, (chunk(start) for start in range(0, len(data), CHUNK)), **metadata)
    log.info("scored %d particles in %d bands", len(data), reference.n_bands)


def estimate_noise(
    data: Particles, reference: Reference, weights: NDArray[np.float32], seed: int, backend: Backend
) -> NDArray[np.float64]:
    """Noise power per coefficient, ``(optics groups, bands)``: mean residual of a sample of each group.

    It is infinite in bands beyond the reach of a group's images, which then count for nothing.
    """
    order = np.argsort(hashed_uniform(data.ids, 1, seed=seed, stream=3)[:, 0], kind="stable")
    group = data.column("optics_group")[order]
    chosen = np.sort(np.concatenate([order[group == g][:NOISE_SAMPLE] for g in range(len(data.optics))]))
    none = Score(n_decoys=0, n_local=0, n_shift=0)
    sample = data.take(chosen)
    sums = chunk_sums(sample, weights[chosen], sample.quaternions, reference, none, seed, backend, "noise")
    s = BandStatistics.of(sums.own)
    residual = s.a - 2 * s.c + s.e
    of_group = sample.column("optics_group")
    coefficients = [samples.coefficients for samples in reference.samples]
    means = [residual[of_group == g].mean(axis=0) / np.maximum(count, 1) for g, count in enumerate(coefficients)]
    return np.where(np.stack(coefficients) > 0, np.stack(means), np.inf)
