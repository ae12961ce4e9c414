"""What a classifier reads of a particle besides pictures: the log's columns made comparable, and moments of images.

Features have no unit and their number does not depend on the data set, so that a model serves others as well. Bands
are put into groups of equal information (sum of w² e / sigma2 over particles): within each of them a correct
particle scores as much as in any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import healpix
import numpy as np
import scipy.fft
from numpy.typing import NDArray

from cryocore.geometry.sphere import in_asymmetric_unit
from cryocore.geometry.symmetry import point_group
from cryocore.log.evidence import evidence
from cryocore.log.mixture import Mixture, evidence_log_odds, fit_evidence
from cryocore.score.images import Pairs
from cryocore.score.scores import BAND_COLUMNS, BandStatistics, residual
from cryocore.score.weighting import weighting
from cryocore.select.groups import Level, defocus_edges, view_nside
from cryocore.types import Floats

Columns = Mapping[str, NDArray[Any]]

GROUPS = 6
LARGEST = 20.0
"""Log odds of the mixture beyond which no difference is made."""
LOG_ODDS = ("contrast", "local", "shift", "dual", "llr", "suggested_pose_gain", "suggested_shift_gain")
"""Columns with long tails, which enter by their inverse hyperbolic sine."""
PLAIN = ("z", "zc", "ldac", "expected_z", "expected_zc", "expected_ldac")
RELATIVE = ("zc", "ldac", "ncc")
"""Scores that enter once more relative to particles of like defocus and of like view."""
COLUMNS = (
    *("particle_id", "half", "optics_group", "noise_factor", "random_pose_z", "view_x", "view_y", "view_z"),
    *("defocus_u_angstrom", "defocus_v_angstrom", "ncc", *PLAIN, *LOG_ODDS, *BAND_COLUMNS),
)
"""Of the log; ``noise_power`` besides, where there is one."""


@dataclass(frozen=True)
class Context:
    """What a data set's particles are like, so that one of them can be compared with the others.

    ``groups`` : ``(GROUPS, bands)``, the share of each band in each group
    ``defocus_edges`` : ascending; ``nside`` of the view bins
    ``levels`` : of each score in ``RELATIVE``, by defocus and by view
    ``mixture`` : the model by which the log's scores alone tell correct from incorrect
    """

    metadata: Mapping[str, Any]
    groups: Floats
    defocus_edges: Floats
    nside: int
    levels: Mapping[str, tuple[Level, Level]]
    mixture: Mixture

    @classmethod
    def of(cls, columns: Columns, metadata: Mapping[str, Any], *, seed: int) -> Context:
        """From all particles of a log, or a fair sample of them."""
        n = len(columns["half"])
        information = _energy(columns, metadata).mean(axis=0)
        total = np.cumsum(information) / information.sum()
        edges = np.linspace(0, 1, GROUPS + 1)
        start, size = np.append(0, total[:-1]), np.maximum(np.diff(np.append(0, total)), 1e-12)
        below = np.clip((edges[1:, None] - start) / size, 0, 1)
        groups = np.diff(np.vstack([np.zeros(len(total)), below]), axis=0)
        edges_angstrom = defocus_edges(_defocus(columns))
        nside = view_nside(n, point_group(str(metadata["symmetry"])))
        mixture = fit_evidence(evidence(columns), ids=columns["particle_id"], seed=seed)
        context = cls(metadata, groups, edges_angstrom, nside, {}, mixture)
        by_defocus, by_view = context.bins(columns)
        sizes = len(edges_angstrom) + 1, 12 * nside**2
        levels = {}
        for name in RELATIVE:
            values = np.nan_to_num(columns[name].astype(np.float64))
            levels[name] = (Level.of(values, by_defocus, sizes[0]), Level.of(values, by_view, sizes[1]))
        return replace(context, levels=levels)

    def bins(self, columns: Columns) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The bin of defocus and that of view of particles, ``(n,)`` each."""
        view = np.stack([columns[f"view_{c}"].astype(np.float64) for c in "xyz"], axis=1)
        at = in_asymmetric_unit(view, point_group(str(self.metadata["symmetry"])))
        pixel = np.asarray(healpix.vec2pix(self.nside, *at.T), dtype=np.int64)
        return np.searchsorted(self.defocus_edges, _defocus(columns), side="right"), pixel


def log_features(columns: Columns, context: Context) -> dict[str, NDArray[np.float32]]:
    """Features of particles from their rows of a log, ``(n,)`` each; what is not known there is 0."""
    sums, weights = _statistics(columns), weighting(context.metadata, columns, slice(None))
    grouped = context.groups.T
    energy = (weights.w**2 * sums.e / weights.sigma2) @ grouped
    matched = (weights.w * sums.c / weights.sigma2) @ grouped
    coefficients = np.asarray(context.metadata["coefficients"], dtype=np.float64)[columns["optics_group"]]
    reached = np.isfinite(weights.sigma2)
    counted = np.maximum(np.where(reached, coefficients, 0.0) @ grouped, 1.0)
    found: dict[str, Floats] = {}
    for i in range(GROUPS):
        root = np.sqrt(np.maximum(energy[:, i], 1e-12))
        found[f"cross_term_{i}"] = matched[:, i] / root
        found[f"excess_{i}"] = matched[:, i] / root - root
        found[f"projection_power_{i}"] = np.log(root)
    for name, power in (("residual", residual(sums)), ("image", sums.a)):
        relative = np.where(reached, power / weights.sigma2, 0.0) @ grouped
        for i in range(GROUPS):
            found[f"{name}_power_{i}"] = (relative[:, i] - counted[:, i]) / np.sqrt(2.0 * counted[:, i])
    low = context.groups[0] > 0
    power = np.sqrt(sums.a[:, low].sum(axis=1) * sums.e[:, low].sum(axis=1))
    found["low_frequency_correlation"] = sums.c[:, low].sum(axis=1) / np.maximum(power, 1e-12)
    for name in (*PLAIN, *LOG_ODDS):
        values = columns[name].astype(np.float64)
        found[name] = np.arcsinh(values) if name in LOG_ODDS else values
    found["mixture"] = np.clip(evidence_log_odds(context.mixture, evidence(columns)), -LARGEST, LARGEST)
    for name in ("z", "zc", "ldac"):
        found[f"{name}_excess"] = found[name] - found[f"expected_{name}"]
    found["noise_factor"] = np.log(np.maximum(columns["noise_factor"].astype(np.float64), 1e-6))
    random_poses = columns["random_pose_z"].astype(np.float64)
    found["random_poses"] = random_poses.mean(axis=1) if random_poses.shape[1] else np.zeros(len(random_poses))
    by_defocus, by_view = context.bins(columns)
    for name, levels in context.levels.items():
        for kind, level, bin_index in zip(("defocus", "view"), levels, (by_defocus, by_view), strict=True):
            values = np.nan_to_num(columns[name].astype(np.float64))
            found[f"{name}_for_{kind}"] = level.relative(values, bin_index)
    return {name: np.nan_to_num(v, nan=0.0, posinf=0.0, neginf=0.0).astype(np.float32) for name, v in found.items()}


RINGS, HARMONICS, BLOCKS = 4, 3, 4


def image_features(pairs: Pairs) -> dict[str, NDArray[np.float32]]:
    """Radial and angular moments of whitened images, ``(n,)`` each: where in the image the evidence is.

    The product y x sums up to the inner product; it is taken in rings of equal area, in blocks, and in harmonics of
    the polar angle; the power of the residual likewise.
    """
    x, y, r = pairs.prediction, pairs.image, pairs.residual
    n, side = x.shape[:2]
    at = np.arange(side) - side // 2
    radius, angle = np.hypot(*np.meshgrid(at, at)), np.arctan2(*np.meshgrid(at, at, indexing="ij"))
    ring = np.minimum((radius**2 / (side / 2) ** 2 * RINGS).astype(int), RINGS)
    product, size = (x * y).reshape(n, -1), np.maximum((x * x).reshape(n, -1), 0)
    found: dict[str, Floats] = {}
    for i in range(RINGS):
        inside = (ring == i).ravel()
        power = np.sqrt(np.maximum(size[:, inside].sum(axis=1), 1e-12))
        found[f"ring_product_{i}"] = product[:, inside].sum(axis=1) / power
        residual_power = np.square(r.reshape(n, -1)[:, inside])
        found[f"ring_residual_{i}"] = (residual_power.mean(axis=1) - 1.0) * np.sqrt(inside.sum() / 2.0)
    disc = radius < side / 2
    excess = np.square(r[:, disc]).astype(np.float64)
    excess -= excess.mean(axis=1, keepdims=True)
    for m in range(1, HARMONICS + 1):
        wave = np.exp(1j * m * angle[disc])
        found[f"residual_harmonic_{m}"] = np.abs(excess @ wave) / np.sqrt(2.0 * disc.sum())
    cut = side // BLOCKS * BLOCKS
    blocks = [
        np.add.reduceat(np.add.reduceat(v.reshape(n, side, side)[:, :cut, :cut], np.arange(0, cut, cut // BLOCKS), 1),
                        np.arange(0, cut, cut // BLOCKS), 2).reshape(n, -1)
        for v in (product, size)
    ]  # fmt: skip
    share = blocks[1] / np.maximum(blocks[1].sum(axis=1, keepdims=True), 1e-12)
    slope = blocks[0].sum(axis=1, keepdims=True) / np.maximum(blocks[1].sum(axis=1, keepdims=True), 1e-12)
    off = (blocks[0] - slope * blocks[1]) / np.sqrt(np.maximum(blocks[1], 1e-12))
    found["uneven"] = np.sum(share * off**2, axis=1)
    found.update(_peak(x, y))
    values = r.reshape(n, -1).astype(np.float64)
    spread = np.maximum(values.std(axis=1), 1e-12)
    centred = (values - values.mean(axis=1, keepdims=True)) / spread[:, None]
    found["residual_skewness"], found["residual_kurtosis"] = (centred**3).mean(axis=1), (centred**4).mean(axis=1) - 3.0
    found["residual_largest"] = np.abs(centred).max(axis=1)
    return {name: np.asarray(v, dtype=np.float32) for name, v in found.items()}


def _peak(x: NDArray[np.float32], y: NDArray[np.float32]) -> dict[str, Floats]:
    """Where the cross-correlation of prediction and image is highest, and by how much it exceeds that at the shift."""
    n, side = x.shape[:2]
    spectrum = scipy.fft.rfft2(x, workers=-1).conj() * scipy.fft.rfft2(y, workers=-1)
    correlation = scipy.fft.irfft2(spectrum, s=(side, side), workers=-1).reshape(n, -1).astype(np.float64)
    correlation /= np.sqrt(np.maximum(np.square(x).reshape(n, -1).sum(axis=1), 1e-12))[:, None]
    best = np.argmax(correlation, axis=1)
    row, column = best // side, best % side
    distance = np.hypot(np.minimum(row, side - row), np.minimum(column, side - column))
    height = correlation[np.arange(n), best]
    return {
        "peak_distance": np.log1p(distance),
        "peak_height": height,
        "peak_excess": height - correlation[:, 0],
        "peak_ratio": (correlation[:, 0] - correlation.mean(axis=1)) / np.maximum(correlation.std(axis=1), 1e-12),
    }


def _statistics(columns: Columns) -> BandStatistics:
    return BandStatistics(*(columns[name].astype(np.float64) for name in BAND_COLUMNS))


def _energy(columns: Columns, metadata: Mapping[str, Any]) -> Floats:
    """Information of each band of each particle, ``(n, bands)``."""
    weights = weighting(metadata, columns, slice(None))
    return np.asarray(weights.w**2 * columns["projection_power"] / weights.sigma2, dtype=np.float64)


def _defocus(columns: Columns) -> Floats:
    return 0.5 * (columns["defocus_u_angstrom"].astype(np.float64) + columns["defocus_v_angstrom"])
