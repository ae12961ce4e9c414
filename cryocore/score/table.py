"""The log's rows: what describes a particle, what it scores, and its band sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cryocore.geometry.rotations import viewing_direction
from cryocore.log.names import EXPECTED, MEAN_GAIN, SCORES, SUGGESTED_POSE
from cryocore.score.chunks import ChunkSums
from cryocore.score.scores import BAND_COLUMNS, Assessment, best_alternative, mean_gain
from cryocore.tables.particles import GIVEN_SCORES, IMAGE, Particles
from cryocore.types import Floats


def log_table(
    part: Particles,
    weights: NDArray[np.float32],
    selected: NDArray[np.bool_],
    assessment: Assessment,
    sums: ChunkSums,
    factor: Floats,
    noise_power: Floats | None,
) -> pa.Table:
    """The rows of the log for some particles.

    ``factor`` ``(n,)`` is each particle's noise power over that of its set; ``noise_power`` ``(n, bands)`` that of the
    set, where it is not the same for all of an optics group.
    """
    view = viewing_direction(part.rotations)
    columns: dict[str, Any] = {
        "particle_id": part.table.column("particle_id"),
    }
    if part.has_copies:
        columns[IMAGE] = part.table.column(IMAGE)
    for name in ("stack", "slice", "micrograph", "optics_group", "half", "quat_w", "quat_x", "quat_y", "quat_z"):
        columns[name] = part.table.column(name)
    for i, name in enumerate(("view_x", "view_y", "view_z")):
        columns[name] = view[:, i]
    for name in ("defocus_u_angstrom", "defocus_v_angstrom"):
        columns[name] = part.table.column(name)
    columns["weight"] = weights
    columns["selected"] = selected
    for name in SCORES:
        columns[name] = assessment.scores[name].astype(np.float32)
    for name in (n for n in GIVEN_SCORES.values() if n in part.table.column_names):
        columns[name] = part.table.column(name)
    for name in EXPECTED:
        columns[name] = assessment.expected[name].astype(np.float32)
    columns["noise_factor"] = factor.astype(np.float32)
    found = suggested_pose(part, assessment, sums)
    for name in SUGGESTED_POSE:
        columns[name] = found[name].astype(np.float32)
    gains = assessment.perturbed_pose_gain, assessment.shift_gain
    for name, gain in zip(MEAN_GAIN, gains, strict=True):
        columns[name] = mean_gain(gain).astype(np.float32)
    columns["random_pose_z"] = list_column(assessment.random_pose_z)
    for i, name in enumerate(BAND_COLUMNS):
        columns[name] = list_column(sums.own[:, :, i])
    if noise_power is not None:
        columns["noise_power"] = list_column(np.where(np.isfinite(noise_power), noise_power, np.nan))
    return pa.table(columns)


def suggested_pose(part: Particles, assessment: Assessment, sums: ChunkSums) -> dict[str, Floats]:
    """The best perturbed pose and perturbed shift of each particle, and what it gains in log-likelihood ratio.

    NaN where a particle was compared with none. Shifts are those that centre the image, as in the data set.
    """
    none = np.full(len(part), np.nan)
    rows = np.arange(len(part))
    pose, pose_gain = best_alternative(assessment.perturbed_pose_gain)
    move, shift_gain = best_alternative(assessment.shift_gain)
    found = {"suggested_pose_gain": pose_gain, "suggested_shift_gain": shift_gain}
    for i, c in enumerate("wxyz"):
        found[f"suggested_quat_{c}"] = sums.quaternions[rows, pose, i] if sums.quaternions.shape[1] else none
    for i, c in enumerate("xy"):
        displaced = sums.displacements_angstrom
        at = displaced[rows, move, i] if displaced.shape[1] else none
        found[f"suggested_shift_{c}_angstrom"] = part.shifts_angstrom[:, i] + at
    return found


def list_column(values: NDArray[np.floating]) -> pa.Array:
    """A column of lists of floats, all as long as the rows of ``values`` ``(n, k)``."""
    flat = pa.array(np.ascontiguousarray(values, dtype=np.float32).reshape(-1))
    if values.shape[1] == 0:
        return pa.array([[]] * len(values), pa.list_(pa.float32()))
    element = pa.field("element", pa.float32(), nullable=False)
    return pa.FixedSizeListArray.from_arrays(flat, type=pa.list_(element, values.shape[1]))
