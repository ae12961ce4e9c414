"""A run without images for tests: noisy half maps of Gaussian blobs and scores drawn at random."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cryocore.log.complete import write_log
from cryocore.maps import automatic_mask, half_map_fsc, write_map
from cryocore.tables.io import write_table
from cryocore.validate import validate_round

PIXEL = 3.0
KINDS = ("none", "wrong_pose", "local_pose", "junk")


@dataclass(frozen=True)
class SyntheticRun:
    folder: Path
    truth: Path
    true_map: Path
    correct: np.ndarray
    n: int

    def validate(self, number: int, *, truth: bool = True, true_map: bool = True, score: str = "dual") -> Path:
        out = self.folder / f"round_{number}" / "metrics.json"
        known = self.folder / "truth.parquet"
        known.unlink(missing_ok=True)
        if truth:
            shutil.copyfile(self.truth, known)
        validate_round(
            self.log(number),
            self.folder / f"round_{number}",
            self.truth if truth else None,
            self.true_map if true_map else None,
            score_name=score,
            out_metrics=out,
        )
        return out

    def log(self, number: int) -> Path:
        return self.folder / "log" / f"round={number}" / "log.parquet"


ALL = "# all\n\ndata_\n\nloop_\n_rlnImageName #1\n1@a.mrcs\n2@a.mrcs\n"
"""The file of all particles, of which reports copy the text."""


def blobs(box: int, rng: np.random.Generator) -> np.ndarray:
    grid = np.indices((box, box, box)) - box // 2
    volume = np.zeros((box, box, box))
    for position, width in zip(rng.normal(0, box / 9, (40, 3)), rng.uniform(0.9, 1.8, 40), strict=True):
        volume += np.exp(-np.sum((grid - position[:, None, None, None]) ** 2, axis=0) / (2 * width**2))
    return volume.astype(np.float32)


@pytest.fixture(scope="session")
def make_run() -> Callable[..., SyntheticRun]:
    """A factory: (folder, n, n_rounds, box) -> a run with the rounds 0 to ``n_rounds``, 30 % incorrect."""

    def make(folder: Path, *, n: int = 600, n_rounds: int = 2, box: int = 32, row_group: int = 250) -> SyntheticRun:
        rng = np.random.default_rng(5)
        volume = blobs(box, rng)
        mask = automatic_mask(volume, PIXEL)
        kinds = rng.choice(KINDS, n, p=(0.7, 0.15, 0.1, 0.05))
        correct = kinds == "none"
        write_map(folder / "true_map.mrc", volume, PIXEL)
        ids = rng.integers(1, 2**63, n, dtype=np.uint64)
        write_table(
            folder / "simulated" / "truth.parquet",
            pa.table({"particle_id": ids, "is_correct": correct, "error_kind": kinds.astype(object)}),
        )
        views = rng.normal(size=(n, 3)) * (1.0, 1.0, 0.4)
        views /= np.linalg.norm(views, axis=1, keepdims=True)
        half = np.tile([1, 2], n // 2 + 1)[:n].astype(np.int8)
        selected = np.ones(n, dtype=bool)
        for r in range(n_rounds + 1):
            if r:
                selected = dual >= np.quantile(dual, 0.25)  # noqa: F821 (of the round before)
            sigma = volume.std() * (3.0 - 0.6 * r)
            halves = [volume + sigma * rng.normal(size=volume.shape) for _ in range(2)]
            into = folder / f"round_{r}"
            for name, values in (
                ("half1", halves[0]),
                ("half2", halves[1]),
                ("map", np.mean(halves, axis=0)),
                ("mask", mask),
            ):
                write_map(into / f"{name}.mrc", values, PIXEL)
            half_map_fsc(*halves, mask, PIXEL).write(into / "fsc.parquet")
            dual = rng.normal(size=n) + (1.5 + 0.5 * r) * correct
            table = score_table(ids, r, half, views, selected, dual, rng)
            with_groups(into / "scores.parquet", table, row_group, r)
            write_log(folder / "log" / f"round={r}" / "log.parquet", [into / "scores.parquet"], seed=0)
            (into / "scores.parquet").unlink()
            if r:
                (into / "subset.star").write_text(f"round {r}\n")
        (folder / "particles.star").write_text(ALL)
        return SyntheticRun(folder, folder / "simulated" / "truth.parquet", folder / "true_map.mrc", correct, n)

    return make


def score_table(ids, number, half, views, selected, dual, rng) -> pa.Table:
    n = len(ids)
    names = np.array([f"m{i // 30:03d}.mrc" for i in range(n)], dtype=object)
    columns = {
        "particle_id": pa.array(ids),
        "stack": pa.array(names).dictionary_encode(),
        "slice": pa.array(np.arange(n, dtype=np.int32)),
        "micrograph": pa.array(names).dictionary_encode(),
        "optics_group": pa.array(np.zeros(n, np.int32)),
        "half": pa.array(half),
        **{f"quat_{c}": pa.array(rng.normal(size=n)) for c in "wxyz"},
        **{f"view_{c}": pa.array(views[:, i].astype(np.float32)) for i, c in enumerate("xyz")},
        "defocus_u_angstrom": pa.array(np.full(n, 1e4, np.float32)),
        "defocus_v_angstrom": pa.array(np.full(n, 1e4, np.float32)),
        "weight": pa.array(selected.astype(np.float32)),
        "selected": pa.array(selected),
        "l2_loss": pa.array((rng.normal(size=n) - 0.2 * dual).astype(np.float32)),
        "z": pa.array((dual + 0.5 * rng.normal(size=n)).astype(np.float32)),
        "expected_z": pa.array(np.full(n, 1.5 + 0.5 * number, np.float32)),
        "dual": pa.array(dual.astype(np.float32)),
        "image_power": pa.FixedSizeListArray.from_arrays(pa.array(rng.random(4 * n, dtype=np.float32)), 4),
    }
    return pa.table(columns)


def with_groups(path: Path, table: pa.Table, rows: int, number: int) -> None:
    """Written in several row groups, as the score stage does."""
    import pyarrow.parquet as pq

    from cryocore.tables.io import with_metadata

    versions = {"cryocore": "0.0.0"}
    pq.write_table(
        with_metadata(table, round=number, versions=versions, config_hash="abc"),
        path,
        row_group_size=rows,
    )


@pytest.fixture(scope="session")
def finished_run(make_run, tmp_path_factory) -> SyntheticRun:
    """Three validated rounds; read only."""
    run = make_run(tmp_path_factory.mktemp("run"))
    for r in range(3):
        run.validate(r)
    return run
