"""A particle is not its own reference: the closed form against true removal, and rounds of selection on pure noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cryocore.backend import get_backend
from cryocore.config.plant import PlantedErrors
from cryocore.config.reconstruct import Reconstruct
from cryocore.config.score import Score
from cryocore.config.select import Select
from cryocore.geometry.rotations import random_rotations
from cryocore.log.columns import table_columns
from cryocore.maps.curves import FscCurves
from cryocore.maps.fsc import fsc
from cryocore.maps.mrc import read_map, write_map, write_stack
from cryocore.reconstruct import reconstruct
from cryocore.score import score
from cryocore.select.choose import choose, columns_needed
from cryocore.tables.io import table_metadata, write_table
from cryocore.tables.particles import Particles
from tests.phantoms import Blobs, optics, particles
from tests.reconstruct.test_reconstruct import data_set
from tests.score.simulated import logged, simulated

pytestmark = pytest.mark.slow

BOX, N, GROUPS, GROUP_SIZE = 40, 400, 8, 25
ALONE = Score(n_random_poses=0, n_perturbed_poses=0, n_perturbed_shifts=0)


class Run:
    """Maps and logs of the particles in a folder, at any weights, under one mask."""

    def __init__(self, folder: Path, mask: np.ndarray, symmetry: str = "C1") -> None:
        self.symmetry = symmetry
        self.folder, self.mask, self.maps = folder, folder / "mask.mrc", folder / "round"
        self.data = Particles.read(folder / "particles.parquet")
        write_map(self.mask, mask, 2.0)

    def subset(self, weights: np.ndarray) -> Path:
        weights = weights.astype(np.float32)
        table = pa.table({"particle_id": self.data.ids, "weight": weights, "selected": weights > 0})
        write_table(self.folder / "subset.parquet", table)
        return self.folder / "subset.parquet"

    def reconstruct(self, weights: np.ndarray) -> None:
        common = {"settings": Reconstruct(), "symmetry": self.symmetry, "backend": get_backend("cpu")}
        file = self.folder / "particles.parquet"
        reconstruct(file, self.subset(weights), self.mask, out_dir=self.maps, **common)

    def score(self, weights: np.ndarray, settings: Score = ALONE) -> pa.Table:
        """The log of the maps that are there, as if particles had been part of them with these weights."""
        out = self.folder / "scores.parquet"
        common = {"settings": settings, "symmetry": self.symmetry, "backend": get_backend("cpu"), "out": out}
        score(self.folder / "particles.parquet", self.maps, self.subset(weights), round_number=0, seed=0, **common)
        return pq.read_table(out)


def ball(box: int, radius: float) -> np.ndarray:
    along = np.arange(box) - box // 2
    distance = np.sqrt(along[:, None, None] ** 2 + along[None, :, None] ** 2 + along[None, None, :] ** 2)
    return np.clip((radius + 1.5 - distance) / 3.0, 0.0, 1.0).astype(np.float32)


def kept_weights(case: str) -> np.ndarray:
    rng = np.random.default_rng(2)
    if case == "kept set":
        return (rng.random(N) < 0.65).astype(np.float32)
    return rng.choice([0.3, 0.6, 1.0], N).astype(np.float32) if case == "weights" else np.ones(N, dtype=np.float32)


def statistics(log: pa.Table, noise: np.ndarray) -> dict[str, np.ndarray]:
    """Sums over all bands of e and c over the noise power, per particle."""
    names = {"e": "projection_power", "c": "inner_product"}
    columns = {k: log.column(n).combine_chunks().flatten().to_numpy().reshape(len(log), -1) for k, n in names.items()}
    return {k: (v / noise).sum(axis=1) for k, v in columns.items()}


@pytest.mark.parametrize("case", ["all", "kept set", "weights"])
def test_closed_form_matches_true_removal(tmp_path: Path, case: str) -> None:
    """Of 200 particles; without it the score is inflated, the more the larger the weight."""
    data_set(tmp_path, Blobs.random(25, spread=4.0, width=1.0), N, BOX, noise=4.0)
    run, weights = Run(tmp_path, ball(BOX, 14.0)), kept_weights(case)
    run.reconstruct(weights)
    closed_form = run.score(weights)
    noise = np.array(table_metadata(closed_form.schema)["noise_power"])[0]
    closed, plain = statistics(closed_form, noise), statistics(run.score(np.zeros(N)), noise)
    inside = np.random.default_rng(0).permutation(np.flatnonzero(weights))[: GROUPS * GROUP_SIZE]
    true = {k: np.zeros(N) for k in closed}
    for group in np.array_split(inside, GROUPS):
        without = weights.copy()
        without[group] = 0
        run.reconstruct(without)
        found = statistics(run.score(without), noise)
        for k in true:
            true[k][group] = found[k][group]

    c = [s["c"][inside] for s in (closed, plain, true)]
    inflation = (c[1] - c[2]).mean()
    assert inflation > 5 * (c[1] - c[2]).std() / np.sqrt(len(inside))
    assert abs((c[0] - c[2]).mean()) < 0.1 * inflation
    assert np.sqrt(np.mean((c[0] - c[2]) ** 2)) < 0.3 * inflation
    assert np.corrcoef(c[0], c[2])[0, 1] > 0.95
    # true removal takes 25 particles at a time, whose map is noisier
    e = [s["e"][inside] for s in (closed, true)]
    assert abs((e[0] - e[1]).mean()) < 0.03 * e[1].mean()
    for weight in np.unique(weights[inside]):
        same = weights[inside] == weight
        left = (c[0] - c[2])[same].mean() / (c[1] - c[2])[same].mean()
        assert abs(left) < 0.25, (weight, left)
    outside = weights == 0
    np.testing.assert_array_equal(closed["c"][outside], plain["c"][outside])


NOISE_BOX, NOISE_N, ROUNDS = 44, 1000, 3


def agreement(run: Run) -> float:
    """Correlation of the half maps within the mask: the FSC, shells by their number of coefficients."""
    mask, halves = read_map(run.mask)[0], [read_map(run.maps / f"half{h}.mrc")[0] for h in (1, 2)]
    curve = fsc(*(h * mask for h in halves))[: NOISE_BOX // 2]
    return float(np.average(curve, weights=np.arange(len(curve)) ** 2))


def noise_rounds(folder: Path, seed: int, column: str, scorer: str, **how: object) -> Iterator[float]:
    """Agreement of the half maps of pure noise, from round 1 on, the better half of each half set being kept.

    ``how`` are settings of the score.

    Score ``own``: as the workflow does; ``other``: by the other half's map, which is forbidden. Maps are taken for half
    signal in all shells, as no run would do.
    """
    rng = np.random.default_rng(seed)
    data = particles(random_rotations(NOISE_N, rng), optics(NOISE_BOX), seed=seed)
    images = rng.standard_normal((NOISE_N, NOISE_BOX, NOISE_BOX), dtype=np.float32)
    write_stack(folder / "stack.mrcs", images, 2.0)
    Particles(data.table, data.optics, parent="none.star", root=str(folder)).write(folder / "particles.parquet")
    run, weights = Run(folder, ball(NOISE_BOX, 0.42 * NOISE_BOX)), np.ones(NOISE_N, dtype=np.float32)
    run.reconstruct(weights)
    select = Select(score=column, rule="fraction", value=[0.5])
    alternatives = 0 if column == "zc" else 4
    settings = Score.model_validate(
        {"n_random_poses": alternatives, "n_perturbed_poses": alternatives, "n_perturbed_shifts": alternatives, **how}
    )
    for _ in range(ROUNDS):
        curves = FscCurves.read(run.maps / "fsc.parquet")
        replace(curves, corrected=np.full(len(curves.shell), 0.5)).write(run.maps / "fsc.parquet")
        if scorer == "other":
            halves = [read_map(run.maps / f"half{h}.mrc")[0] for h in (2, 1)]
            for h, volume in enumerate(halves, 1):
                write_map(run.maps / f"half{h}.mrc", volume, 2.0)
        part = np.zeros(NOISE_N) if scorer == "other" else weights
        log = run.score(part, settings)
        weights = choose(table_columns(log.select(columns_needed(select, log.column_names))), select, 1).weights
        run.reconstruct(weights)
        yield agreement(run)


@pytest.mark.parametrize("column", ["zc", "dual", "mixture"])
def test_selection_on_noise_does_not_raise_the_fsc(tmp_path: Path, column: str) -> None:
    found = {}
    for scorer, seeds in (("own", (0, 1, 2)), ("other", (0,))):
        values = []
        for seed in seeds:
            folder = tmp_path / f"{scorer}{seed}"
            folder.mkdir()
            values.append(list(noise_rounds(folder, seed, column, scorer)))
        found[scorer] = np.mean(values, axis=0)
    assert found["own"].mean() <= 0.005, found
    assert found["other"].min() > 0.03, found


def test_noise_is_unlike_its_own_map_from_any_view(tmp_path: Path) -> None:
    """Once its own part is taken out, an image of noise does not match the map, whether many look there or few."""
    simulated(tmp_path, PlantedErrors(), n_particles=1500, snr=1e-6, orientations="preferred")
    log = logged(tmp_path, Score(n_random_poses=0, n_perturbed_poses=0, n_perturbed_shifts=0)).to_pandas()
    inner, power, noise = (np.stack(log[name]) for name in ("inner_product", "projection_power", "image_power"))
    coefficients = np.array(table_metadata(pq.read_schema(tmp_path / "scores.parquet"))["coefficients"][0])
    z = inner.sum(axis=1) / np.sqrt((power * noise.mean(axis=0) / coefficients).sum(axis=1))
    views = Particles.read(tmp_path / "particles.parquet").rotations[:, 2]
    around = (np.abs(views @ views.T) > np.cos(np.deg2rad(12.0))).sum(axis=1)
    rare = around < np.quantile(around, 0.15)
    assert abs(z[rare].mean()) < 0.3  # of 225 particles it is known to 0.07
    assert abs(z[~rare].mean()) < 0.2
