"""The stage: one streaming pass that compares every image with its half set's map."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from cryocore.backend import Backend
from cryocore.config import Score
from cryocore.data import Particles, read_weights
from cryocore.files import write_tables
from cryocore.score.chunks import CHUNK
from cryocore.score.scorer import Scorer

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
    given: dict[str, Any] = {"symmetry": symmetry, "round_number": round_number, "seed": seed, "cache": cache}
    scorer = Scorer.of(data, weights, round_dir, settings, backend=backend, **given)
    chunks = (np.arange(start, min(start + CHUNK, len(data))) for start in range(0, len(data), CHUNK))
    write_tables(out, (scorer.table(data, rows, weights) for rows in chunks), **scorer.metadata(data))
    log.info("scored %d particles in %d bands", len(data), scorer.comparison.reference.n_bands)
