"""What scores the particles of a round: comparison, noise and weights of bands; it gives the log's rows."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cryocore import __version__
from cryocore.backend import Backend
from cryocore.config.base import per_round
from cryocore.config.score import Score
from cryocore.geometry.symmetry import point_group
from cryocore.imaging.cache import image_source
from cryocore.maps.curves import FscCurves
from cryocore.maps.fsc import above_chance, fsc_weight
from cryocore.score.bands import band_means
from cryocore.score.chunks import chunk_sums
from cryocore.score.comparison import Comparison, informative_bands
from cryocore.score.folds import make_folds, signal_without
from cryocore.score.noise import Noise, estimate_noise, noise_factor
from cryocore.score.reference import first_band, load_reference, warn_of_self_contribution
from cryocore.score.scores import BandStatistics, Weighting, assess
from cryocore.score.table import log_table
from cryocore.tables.particles import Particles


@dataclass(frozen=True)
class Scorer:
    """What the particles of a round are compared with, and how.

    ``noise`` : that of the data set's particles, row by row
    ``signal`` : ``(bands,)``, share of the half maps that is signal
    ``cryosieve_band`` : the first one of CryoSieve's score
    ``agreement`` : of the half maps, in standard deviations of that of noise
    """

    comparison: Comparison
    noise: Noise
    signal: NDArray[np.float64]
    cryosieve_band: int
    round_number: int
    symmetry: str
    agreement: float

    @classmethod
    def of(
        cls,
        data: Particles,
        weights: NDArray[np.float32],
        round_dir: Path,
        settings: Score,
        *,
        symmetry: str,
        round_number: int,
        seed: int,
        backend: Backend,
        cache: Path | None = None,
        noise: Noise | None = None,
        poses: NDArray[np.float64] | None = None,
    ) -> Self:
        """From half1.mrc, half2.mrc, mask.mrc, fsc.parquet and sampling.npz of ``round_dir``.

        Parameters
        ----------
        data, weights : the particles and their weights ``(n,)`` in the half maps
        cache : transforms to read instead of images
        noise : that of these particles; None: it is estimated from a sample of them
        poses : quaternions ``(m, 4)`` of the data set, where ``data`` is a part of it
        """
        curves = FscCurves.read(round_dir / "fsc.parquet")
        reference = load_reference(data, round_dir, settings, backend)
        signal = band_means(fsc_weight(curves.corrected)[: int(reference.edges[-1])], reference.edges)
        source = image_source(cache, data, [frame.limit for frame in reference.frames])
        given = reference, settings, seed, backend, source
        comparison = Comparison(*given, poses=data.quaternions if poses is None else poses, group=point_group(symmetry))
        if settings.leave_one_out == "folds":
            comparison = replace(comparison, folds=make_folds(data, weights, round_dir, comparison))
            signal = signal_without(signal, 1.0 / settings.n_folds)
        else:
            warn_of_self_contribution(reference, weights, data.column("half"))
        noise = estimate_noise(data, weights, comparison) if noise is None else noise
        comparison = replace(comparison, alternative_bands=informative_bands(signal, reference.power, noise.groups))
        band = first_band(reference.edges, data, per_round(settings.cryosieve_angstrom, round_number + 1))
        agreement = above_chance(curves.unmasked[: reference.edges[-1]], len(comparison.group))
        return cls(comparison, noise, signal, band, round_number, symmetry, agreement)

    def table(
        self,
        data: Particles,
        rows: NDArray[np.intp],
        weights: NDArray[np.float32],
        progress: str = "score",
        selected: NDArray[np.bool_] | None = None,
    ) -> pa.Table:
        """The log's rows for some rows of the data set.

        Parameters
        ----------
        weights : (n,) of its particles in the half maps
        selected : (n,) those on the round's list; None: those with a weight
        """
        part, reference, settings = data.take(rows), self.comparison.reference, self.comparison.settings
        sums = chunk_sums(part, weights[rows], self.comparison, progress)
        own, half = BandStatistics.of(sums.own), part.column("half") - 1
        sigma2 = self.noise.of(rows)
        factor = noise_factor(own, sigma2, self.signal, self.coefficients[part.column("optics_group")])
        scaled = sigma2 * factor[:, None] if settings.noise_per_particle else sigma2
        weighting = Weighting(scaled, self.signal, reference.rotational_average[half], reference.view_correlation[half])
        assessment = assess(own, sums.alternatives, weighting, self.cryosieve_band)
        listed = weights > 0 if selected is None else selected
        local_noise = sigma2 if settings.noise == "micrograph" else None
        return log_table(part, weights[rows], listed[rows], assessment, sums, factor, local_noise)

    @property
    def coefficients(self) -> NDArray[np.int64]:
        """Coefficients of an image ``(optics groups, bands)``."""
        return np.stack([samples.coefficients for samples in self.comparison.reference.samples])

    def metadata(self, data: Particles) -> dict[str, Any]:
        """What the log says about all its rows."""
        reference, settings = self.comparison.reference, self.comparison.settings.model_dump()
        return {
            "round": self.round_number,
            "symmetry": self.symmetry,
            "score_settings": settings,
            "settings_hash": hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16],
            "versions": {"cryocore": __version__, **{name: version(name) for name in ("numpy", "pyarrow")}},
            "box": data.reference_optics.box,
            "pixel_size_angstrom": data.reference_optics.pixel_size_angstrom,
            "n_bands": reference.n_bands,
            "alternative_bands": self.comparison.alternative_bands,
            "band_edges": reference.edges.tolist(),
            "noise_power": [[v if np.isfinite(v) else None for v in row] for row in self.noise.groups.tolist()],
            "signal_share": self.signal.tolist(),
            "half_map_agreement": round(self.agreement, 2),
            "rotational_average": reference.rotational_average.tolist(),
            "neighbour_correlation": reference.view_correlation.tolist(),
            "coefficients": self.coefficients.tolist(),
        }
