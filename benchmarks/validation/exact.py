"""The imaging model against closed forms, and the leave-one-out score against taking particles out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.validation.common import host
from cryocore.geometry.rotations import random_rotations
from cryocore.imaging.grid import FourierGrid
from cryocore.imaging.image_geometry import ImageGeometry
from cryocore.imaging.insertion import Insertion
from cryocore.imaging.prepare import prepare
from cryocore.imaging.slices import project
from cryocore.imaging.volumes import fold_friedel, map_to_grid
from cryocore.tables.io import table_metadata, write_table
from tests.phantoms import Blobs, optics, particles, used_samples
from tests.score.test_scores import bands_of, one_round, score_round

BOX = 48


def measure(folder: Path) -> dict[str, Any]:
    """Projection, adjoint and leave-one-out errors."""
    return {
        "projection_error": {f"padding {p}": projection_error(p) for p in (1, 2)},
        "adjoint_error": adjoint_error(),
        "leave_one_out": leave_one_out(folder),
    }


def frame_of(padding: int) -> ImageGeometry:
    """Images of the phantom's box and pixel size."""
    return ImageGeometry.of(optics(BOX), FourierGrid.of(BOX, 2.0, padding))


def projection_error(padding: int) -> float:
    """Relative error (2-norm) of 50 projections of 30 Gaussian blobs against their closed form."""
    blobs = Blobs.random(30, spread=4.0, width=1.8)
    rotations, frame = random_rotations(50, np.random.default_rng(1)), frame_of(padding)
    grid = map_to_grid(blobs.map(BOX), FourierGrid.of(BOX, 2.0, padding))[None]
    used = used_samples(frame.limit)
    found = project(grid, rotations, np.zeros(len(rotations), dtype=np.int32), frame, host())[:, used]
    expected = blobs.slices(rotations, frame.limit, BOX)[:, used]
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def adjoint_error() -> float:
    """Relative difference of <C P v, y> and <v, Pᵀ C y> for random v and y."""
    rng, n, backend, frame = np.random.default_rng(2), 200, host(), frame_of(2)
    rotations, half = random_rotations(n, rng), (np.arange(n) % 2).astype(np.int32)
    shape = (2, *FourierGrid.of(BOX, 2.0, 2).shape)
    values = (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)
    values[:, 0] = [fold_friedel(plane) for plane in values[:, 0]]
    images = rng.normal(size=(n, BOX, BOX)).astype(np.float32)
    batch = prepare(images, particles(rotations, frame.optics), frame, backend)
    slices = project(values, rotations, half, frame, backend).astype(np.complex128)
    left = np.sum((batch.ctf * slices * np.conj(batch.image)).real)
    insertion = Insertion(FourierGrid.of(BOX, 2.0, 2), backend)
    insertion.add(batch, rotations, np.ones(n, dtype=np.float32), half)
    products = (values.astype(np.complex128) * np.conj(insertion.sums().numerator)).real
    right = products.sum() - 0.5 * products[:, 0].sum()
    return float(abs(left - right) / abs(right))


def leave_one_out(folder: Path, n: int = 400, n_removed: int = 40) -> dict[str, float]:
    """Bias of the score of particles that are in the map, with and without their self-contribution taken out.

    Both are relative to the inflation: uncorrected minus true, where true means that the particles were taken out of
    the map and scored again. The score is the noise-weighted inner product of image and prediction.
    """
    closed_form = one_round(folder, n=n)
    removed = np.random.default_rng(0).permutation(n)[:n_removed]
    weight = np.ones(n, dtype=np.float32)
    weight[removed] = 0
    subset = folder / "subset.parquet"
    ids = closed_form.column("particle_id")
    write_table(subset, pa.table({"particle_id": ids, "weight": weight, "selected": weight > 0}))
    uncorrected = score_round(folder, subset)
    noise = np.array(table_metadata(closed_form.schema)["noise_power"])[0]
    true_removal = one_round(folder, subset=subset)
    closed, plain, true = (
        (bands_of(table, "inner_product")[removed] / noise).sum(axis=1)
        for table in (closed_form, uncorrected, true_removal)
    )
    inflation = (plain - true).mean()
    return {
        "inflation": float(inflation),
        "true": float(true.mean()),
        "remaining_bias": float((closed - true).mean() / inflation),
        "remaining_rms": float(np.sqrt(np.mean((closed - true) ** 2)) / inflation),
        "correlation": float(np.corrcoef(closed, true)[0, 1]),
    }
