"""Large logs without images: band sums drawn from their laws, scores computed from them, in the schema of a run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cryocore.explore.replay.import_log import SCHEMA
from cryocore.geometry.rotations import quaternion_to_matrix, viewing_direction
from cryocore.log.error_rate import ErrorRate
from cryocore.log.names import EXPECTED, MEAN_GAIN, SUGGESTED_POSE
from cryocore.maps.curves import FscCurves
from cryocore.maps.fsc import shell_resolution
from cryocore.score import scores
from cryocore.score.bands import band_edges
from cryocore.score.chunks import CHUNK
from cryocore.score.scores import BAND_COLUMNS, BandStatistics, Weighting
from cryocore.score.table import list_column
from cryocore.select.reasons import reasons
from cryocore.simulate.plant import CORRECT
from cryocore.tables.io import write_tables
from cryocore.types import Floats

BOX, PIXEL_ANGSTROM, N_BANDS, N_ALTERNATIVES = 256, 1.3, 24, 8
INCORRECT, PER_MICROGRAPH, GROUPS = 0.3, 300, 4
ROTATIONAL_AVERAGE = 0.005
EDGES = band_edges(N_BANDS, BOX // 2 - 2)
COEFFICIENTS = np.pi * (EDGES[1:] ** 2 - EDGES[:-1] ** 2)
SHELL = 0.5 * (EDGES[1:] + EDGES[:-1])
FSC = 1.0 / (1.0 + np.exp((np.arange(BOX // 2 + 1) - 85.0) / 6.0))
SIGNAL = FSC[SHELL.astype(int)]
POWER = COEFFICIENTS * 0.0016 * np.exp(-SHELL / 60.0)


def make_log(run_dir: Path, n: int, n_rounds: int = 8, seed: int = 0) -> None:
    """Write ``log/round=r/log.parquet`` and ``round_r/fsc.parquet`` of ``n`` particles, 30 % of them incorrect."""
    metadata = {
        "symmetry": "D2",
        "error_rate": ErrorRate(INCORRECT, INCORRECT - 0.02, INCORRECT + 0.02, "mixture", INCORRECT, "").as_dict(),
        "score_settings": {"noise_per_particle": True},
        "box": BOX,
        "pixel_size_angstrom": PIXEL_ANGSTROM,
        "n_bands": N_BANDS,
        "band_edges": EDGES.tolist(),
        "noise_power": [[1.0] * N_BANDS] * GROUPS,
        "signal_share": SIGNAL.tolist(),
        "rotational_average": [[ROTATIONAL_AVERAGE] * N_BANDS] * 2,
        "neighbour_correlation": [np.linspace(0.95, 0.05, N_BANDS).tolist()] * 2,
        "coefficients": [COEFFICIENTS.tolist()] * GROUPS,
    }
    resolution = shell_resolution(BOX, PIXEL_ANGSTROM)
    for r in range(n_rounds):
        curves = FscCurves(np.arange(len(FSC)), resolution, FSC, FSC, np.zeros_like(FSC), FSC)
        curves.write(run_dir / f"round_{r}" / "fsc.parquet")
        write_tables(run_dir / "log" / f"round={r}" / "log.parquet", _chunks(n, r, seed), round=r, **metadata)


def _chunks(n: int, number: int, seed: int) -> Iterator[pa.Table]:
    for start in range(0, n, CHUNK):
        size = min(CHUNK, n - start)
        fixed = np.random.default_rng((seed, start))
        yield _rows(start, size, number, fixed, np.random.default_rng((seed, start, number)))


def _rows(start: int, n: int, number: int, fixed: np.random.Generator, rng: np.random.Generator) -> pa.Table:
    """Rows of the log: ``fixed`` draws what is the same in all rounds, ``rng`` the rest."""
    place = np.arange(start, start + n)
    micrograph = place // PER_MICROGRAPH
    correct = fixed.random(n) > INCORRECT * np.where(micrograph % 20 == 0, 2.0, 0.95)
    half = (1 + place % 2).astype(np.int8)
    quaternions = fixed.normal(size=(n, 4)) * (1.0, 0.6, 1.0, 1.0)
    quaternions /= np.linalg.norm(quaternions, axis=1, keepdims=True)
    views = viewing_direction(quaternion_to_matrix(quaternions))
    defocus = fixed.uniform(8000, 22000, n)
    factor = fixed.normal(1.0, 0.03, n)
    sums = _sums(n, correct, factor, rng)
    weighting = Weighting(
        factor[:, None] * np.ones(N_BANDS),
        SIGNAL,
        np.full(N_BANDS, ROTATIONAL_AVERAGE),
        np.linspace(0.95, 0.05, N_BANDS),
    )
    centred = scores.centre(sums, weighting.mean)
    llr, z, zc = (
        scores.llr(sums.c, sums.e, weighting),
        scores.z(sums.c, sums.e, weighting),
        scores.z(*centred, weighting),
    )
    expected = [np.sqrt(scores.energy(e, weighting)) for e in (sums.e, centred[1])]
    discerning = replace(weighting, w=weighting.w * (1.0 - weighting.view_correlation))
    weighted = np.sum(weighting.w * discerning.w * centred[1] / weighting.sigma2, axis=1)
    expected.append(weighted / np.sqrt(scores.energy(centred[1], discerning)))
    apart = 0.6 * expected[0]  # of the prediction from its alternative poses, in units of the noise
    local, shift = (np.where(correct, 0.5, -0.5) * apart**2 + apart * rng.normal(size=n) for _ in range(2))
    selected = np.ones(n, dtype=bool) if number == 0 else zc > 0.5 * expected[1]
    kinds = np.where(zc > 0.5 * expected[1], CORRECT, "misoriented").astype(object)
    columns: dict[str, Any] = {
        "particle_id": fixed.integers(1, 2**63, n, dtype=np.uint64),
        "stack": _names("stack_{:05d}.mrcs", micrograph),
        "slice": (place % PER_MICROGRAPH).astype(np.int32),
        "micrograph": _names("micrograph_{:05d}.mrc", micrograph),
        "optics_group": (micrograph % GROUPS).astype(np.int32),
        "half": half,
        **{f"quat_{c}": quaternions[:, i] for i, c in enumerate("wxyz")},
        **{f"view_{c}": views[:, i] for i, c in enumerate("xyz")},
        "defocus_u_angstrom": defocus,
        "defocus_v_angstrom": defocus - 300.0,
        "weight": selected.astype(float),
        "selected": selected,
        "l2_loss": scores.l2_loss(sums),
        "cryosieve": scores.cryosieve(sums, 5),
        "ncc": scores.ncc(sums),
        "llr": llr,
        "z": z,
        "zc": zc,
        "ldac": scores.z(*centred, discerning),
        "contrast": z + 0.3 * rng.normal(size=n),
        "local": local,
        "shift": shift,
        "dual": np.minimum(local, shift),
        **dict(zip(EXPECTED, expected, strict=True)),
        "noise_factor": factor,
        **{name: rng.normal(size=n) for name in (*SUGGESTED_POSE, *MEAN_GAIN)},
        "random_pose_z": list_column(rng.standard_normal((n, N_ALTERNATIVES), dtype=np.float32)),
        **{name: list_column(getattr(sums, letter)) for name, letter in zip(BAND_COLUMNS, "aecbfg", strict=True)},
        "mixture": zc * expected[1] - 0.5 * expected[1] ** 2 + 0.85,
        "reason": reasons(kinds, selected, np.zeros(n, dtype=bool)),
        "likely_kind": pa.array(kinds.astype(str)).dictionary_encode(),
        "is_correct": correct,
    }
    return pa.table({f.name: _typed(columns[f.name], f.type) for f in SCHEMA})


def _sums(n: int, correct: NDArray[np.bool_], factor: Floats, rng: np.random.Generator) -> BandStatistics:
    """Band sums ``(n, bands)`` of correct and incorrect particles, with noise of power ``factor``."""
    e = POWER * np.exp(0.3 * rng.standard_normal((n, 1))) * rng.gamma(8.0, 1.0 / 8.0, (n, N_BANDS))
    g = 0.5 * COEFFICIENTS * np.ones((n, 1))
    noise = factor[:, None]
    f = ROTATIONAL_AVERAGE * g  # what is left of a prediction has nothing of the mean
    c = e * correct[:, None] + np.sqrt(noise * e) * rng.standard_normal((n, N_BANDS), dtype=np.float32)
    b = f * correct[:, None] + np.sqrt(noise * g) * rng.standard_normal((n, N_BANDS), dtype=np.float32)
    residual = noise * (COEFFICIENTS + np.sqrt(2 * COEFFICIENTS) * rng.standard_normal((n, N_BANDS), dtype=np.float32))
    return BandStatistics(*(v.astype(np.float32).astype(np.float64) for v in (residual + 2 * c - e, e, c, b, f, g)))


def _names(pattern: str, numbers: NDArray[np.int64]) -> pa.DictionaryArray:
    found, codes = np.unique(numbers, return_inverse=True)
    return pa.DictionaryArray.from_arrays(codes.astype(np.int32), [pattern.format(i) for i in found])


def _typed(values: Any, kind: pa.DataType) -> pa.Array:
    return values.cast(kind) if isinstance(values, pa.Array) else pa.array(np.asarray(values), kind, safe=False)
