"""Held-out likelihood: images that no part of a map was made from, judged under two maps.

A half map of a list is compared with images of the other half set, of which it has none and by which none of its
particles was chosen. An image shows the map at its pose with the probability p that is the list's share of all
particles, or else nothing but noise: its log-likelihood beside noise alone is

    log(1 - p + p exp L),     L = sum over bands of (W c - W² e / 2) / σ²

with the sums c and e of the log, W of the map's own FSC, and the noise σ² of the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.backend import Backend
from cryocore.config.score import Score
from cryocore.explore.audit.ruler import Ruler
from cryocore.formats.stacks import Source
from cryocore.hashing import hashed_order
from cryocore.log.bands import coefficients_noise
from cryocore.log.rounds import LogRound
from cryocore.maps.curves import FscCurves
from cryocore.maps.fsc import fsc_weight
from cryocore.score.bands import band_means
from cryocore.score.chunks import CHUNK, chunk_sums
from cryocore.score.comparison import Comparison
from cryocore.score.reference import load_reference
from cryocore.score.scores import BandStatistics, Weighting, llr
from cryocore.tables.particles import Particles
from cryocore.types import Floats

STREAM = 37
MOST = 2000
"""Images of each half set that are judged, at most."""
ALONE = {"n_random_poses": 0, "n_perturbed_poses": 0, "n_perturbed_shifts": 0, "leave_one_out": "closed_form"}
"""Of the settings of scores: images are compared at their own poses."""


def held_out(
    folders: Mapping[str, Path],
    data: Particles,
    last: LogRound,
    share: float,
    ruler: Ruler,
    source: Source,
    backend: Backend,
) -> dict[str, Any]:
    """Judge particles of each half set by the other half set's map, of two lists.

    Parameters
    ----------
    folders : half maps of ``list`` and ``random`` as :meth:`Ruler.write_round` writes them
    last : log of the round, whose noise counts
    share : of the particles that are on the list

    Returns
    -------
    ``gain`` of the list over the random one, mean per image in nats, its standard error ``sd``, and ``n`` images
    """
    rows = np.sort(
        np.concatenate(
            [
                members[hashed_order(data.ids[members], seed=ruler.seed, stream=STREAM, most=MOST)]
                for members in (np.flatnonzero(data.column("half") == h) for h in (1, 2))
            ]
        )
    )
    sigma2 = noise_of(last, rows)
    settings = Score.model_validate(last.metadata["score_settings"]).model_copy(update=ALONE)
    first, second = (
        log_likelihood(folders[name], data, rows, sigma2, share, settings, ruler, source, backend)
        for name in ("list", "random")
    )
    gain = first - second
    sd = float(gain.std(ddof=1) / np.sqrt(len(gain)))
    return {"gain": round(float(gain.mean()), 6), "sd": round(sd, 6), "n": len(gain), "share": round(share, 6)}


def noise_of(last: LogRound, rows: NDArray[np.intp]) -> Floats:
    """Noise power of the bands of some particles, ``(len(rows), bands)``, as the log has it."""
    names: list[str] = [n for n in ("noise_power", "noise_factor", "optics_group") if n in last.columns]
    return coefficients_noise(last.metadata, {n: values[rows] for n, values in last.read(names).items()})


def log_likelihood(
    folder: Path,
    data: Particles,
    rows: NDArray[np.intp],
    sigma2: Floats,
    share: float,
    settings: Score,
    ruler: Ruler,
    source: Source,
    backend: Backend,
) -> Floats:
    """Log-likelihood of some particles by the other half set's map, beside that of noise, ``(len(rows),)`` in nats.

    ``sigma2`` ``(len(rows), bands)`` is their noise power.
    """
    reference = load_reference(data, folder, settings, backend)
    compared = Comparison(reference, settings, ruler.seed, backend, source, poses=data.quaternions, group=ruler.group)
    curves = FscCurves.read(folder / "fsc.parquet")
    signal = band_means(fsc_weight(curves.corrected)[: int(reference.edges[-1])], reference.edges)
    worth = Weighting(sigma2, signal, np.zeros_like(signal), np.zeros_like(signal))
    found = []
    for start in range(0, len(rows), CHUNK):
        part = other_half(data.take(rows[start : start + CHUNK]))
        sums = BandStatistics.of(chunk_sums(part, np.zeros(len(part), dtype=np.float32), compared, "held out").own)
        of_chunk = replace(worth, sigma2=sigma2[start : start + CHUNK])
        found.append(llr(sums.c, sums.e, of_chunk))
    ratio = np.concatenate(found)
    return np.asarray(np.logaddexp(np.log1p(-share), np.log(share) + ratio))


def other_half(part: Particles) -> Particles:
    """The same particles in the other half set."""
    return part.with_columns({"half": (3 - part.column("half")).astype(np.int8)})
