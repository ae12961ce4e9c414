"""The stage: one streaming pass that compares every image with its half set's map."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa

from cryocore import __version__
from cryocore.backend import Backend
from cryocore.cache.file import image_source
from cryocore.config import Score, per_round
from cryocore.data import FscCurves, Particles, read_weights
from cryocore.files import write_tables
from cryocore.geometry.symmetry import point_group
from cryocore.maps.fsc import fsc_weight
from cryocore.score.bands import band_means
from cryocore.score.chunks import CHUNK, chunk_sums
from cryocore.score.comparison import Comparison
from cryocore.score.folds import make_folds, signal_without_a_fold
from cryocore.score.noise import estimate_noise, noise_factor
from cryocore.score.reference import first_band, load_reference, warn_of_own_share
from cryocore.score.scores import BandStatistics, Weighting, judge
from cryocore.score.table import log_table

log = logging.getLogger(__name__)


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
    """Write the log of a round: every particle against the map of its own half set, without its own share in it.

    Reads half1.mrc, half2.mrc, mask.mrc, fsc.parquet and sampling.npz of ``round_dir``; transforms from
    ``cache`` instead of images, if it is given.
    """
    data = Particles.read(particles)
    weights = read_weights(subset, data)
    curves = FscCurves.read(round_dir / "fsc.parquet")
    reference = load_reference(data, round_dir, settings, backend)
    signal = band_means(fsc_weight(curves.corrected)[: int(reference.edges[-1])], reference.edges)
    source = image_source(cache, data, [frame.limit for frame in reference.frames])
    last = int(np.max(np.flatnonzero(signal), initial=0)) + 1
    given = reference, settings, seed, backend, source
    comparison = Comparison(*given, poses=data.quaternions, group=point_group(symmetry), rival_bands=last)
    if settings.leave_one_out == "folds":
        comparison = replace(comparison, folds=make_folds(data, weights, round_dir, comparison))
        signal = signal_without_a_fold(signal, settings.n_folds)
    else:
        warn_of_own_share(reference, weights, data.column("half"))
    noise = estimate_noise(data, weights, comparison)
    cryosieve_band = first_band(reference.edges, data, per_round(settings.cryosieve_angstrom, round_number + 1))

    coefficients = np.stack([s.coefficients for s in reference.samples])
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
        "noise_power": [[v if np.isfinite(v) else None for v in row] for row in noise.groups.tolist()],
        "signal_share": signal.tolist(),
        "radial_mean": reference.radial_mean.tolist(),
        "neighbour_correlation": reference.likeness.tolist(),
        "coefficients": coefficients.tolist(),
    }

    def chunk(start: int) -> pa.Table:
        rows = np.arange(start, min(start + CHUNK, len(data)))
        part = data.take(rows)
        sums = chunk_sums(part, weights[rows], comparison)
        own, half = BandStatistics.of(sums.own), part.column("half") - 1
        sigma2 = noise.of(rows)
        factor = noise_factor(own, sigma2, signal, coefficients[part.column("optics_group")])
        scaled = sigma2 * factor[:, None] if settings.noise_per_particle else sigma2
        weighting = Weighting(scaled, signal, reference.radial_mean[half], reference.likeness[half])
        judgement = judge(own, sums.rivals, weighting, cryosieve_band)
        local_noise = sigma2 if settings.noise == "micrograph" else None
        return log_table(part, round_number, weights[rows], judgement, sums, factor, local_noise)

    write_tables(out, (chunk(start) for start in range(0, len(data), CHUNK)), **metadata)
    log.info("scored %d particles in %d bands", len(data), reference.n_bands)
