"""A body of the molecule that is displaced in some particles: who finds them, by the whole and by its region."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import scipy.ndimage as ndimage

from benchmarks.machine import made_by
from benchmarks.validation.common import ROOT
from cryocore.backend import get_backend
from cryocore.config.plant import PlantedErrors
from cryocore.config.reconstruct import Reconstruct
from cryocore.config.score import Score
from cryocore.config.simulate import Simulate
from cryocore.formats.stacks import read_images
from cryocore.ingest.particles import ingest
from cryocore.log.rates import auc
from cryocore.maps.mrc import read_map, write_map
from cryocore.reconstruct import reconstruct
from cryocore.score import score
from cryocore.simulate.stage import STACK, simulate
from cryocore.tables.io import as_numpy, read_table, write_json
from cryocore.tables.particles import Particles
from cryocore.types import Bools, Floats32
from experiments.selectors.methods import Method, call, read_methods, scores_of, setup
from experiments.selectors.sets import ONE_TABLE, WORK, write_one_table

Values = dict[str, Any]

STORE = ROOT / "benchmarks" / "results" / "region"
BOX, PIXEL_ANGSTROM, N = 64, 2.5, 1500
SNRS, SEEDS = (0.05, 0.02), 5
SHARE, MASS, MOVED_ANGSTROM = 0.3, 1 / 6, 8.0
"""Of the particles, of the molecule, and how far."""
SIDEWAYS = (1.0, 0.0, 0.3)
MARGIN_PIXELS, EDGE_PIXELS = 3.0, 3.0
"""Of the region's mask about the body."""
SCORES = ("zc", "dual", "local", "mixture")
JANAS = "janas"


@dataclass(frozen=True)
class Body:
    """A molecule with a body at its place and displaced ``(n, n, n)``, and the mask of where it should be."""

    at: Floats32
    off: Floats32
    region: Floats32

    @classmethod
    def of(cls, whole: Floats32) -> Body:
        """A ball that holds ``MASS`` of the molecule, most of the way out to its farthest part."""
        solid = np.argwhere(whole > 0.25 * whole.max())
        centre = solid.mean(axis=0)
        far = solid[np.argmax(((solid - centre) ** 2).sum(axis=1))]
        middle = centre + 0.75 * (far - centre)
        grid = np.indices(whole.shape)
        distance = np.linalg.norm(np.moveaxis(grid, 0, -1) - middle, axis=-1)
        order = np.argsort(distance, axis=None)
        mass = np.cumsum(np.maximum(whole, 0.0).ravel()[order])
        radius = distance.ravel()[order][np.searchsorted(mass, MASS * mass[-1])]
        body = whole * np.clip((radius + 1.0 - distance) / 2.0, 0.0, 1.0)
        across = np.cross(far - centre, SIDEWAYS)
        moved = ndimage.shift(body, MOVED_ANGSTROM / PIXEL_ANGSTROM * across / np.linalg.norm(across), order=1)
        region = np.clip((radius + MARGIN_PIXELS + EDGE_PIXELS - distance) / EDGE_PIXELS, 0.0, 1.0)
        return cls(whole, (whole - body + moved).astype(np.float32), region.astype(np.float32))


def names() -> Iterator[tuple[str, float, int]]:
    """All sets: name, signal-to-noise ratio and seed."""
    yield from ((f"snr{snr:g}-seed{seed}", snr, seed) for seed in range(SEEDS) for snr in SNRS)


def measure(name: str, snr: float, seed: int) -> Values:
    """AUC of particles whose body is at its place, by everything that scores them."""
    janas = next(method for method in read_methods() if method.name == JANAS)
    found: Values = {"name": name, "snr": snr, "seed": seed, "n": N}
    with tempfile.TemporaryDirectory(prefix="cryocore-region-") as folder:
        made, data, moved = planted(Path(folder), snr, seed)
        region = made / "region.mrc"
        for label, mask, of_region in (("whole", None, None), ("mask", region, None), ("region", region, region)):
            maps, log = made / f"of_{label}", made / f"{label}.parquet"
            how: dict[str, Any] = {"symmetry": "C1", "backend": get_backend("cpu", threads=1)}
            reconstruct(made / "particles.parquet", None, mask, settings=Reconstruct(), out_dir=maps, **how)
            judged = Score(region=None if of_region is None else str(of_region))
            score(made / "particles.parquet", maps, None, settings=judged, round_number=0, seed=seed, out=log, **how)
            values = {s: as_numpy(read_table(log, [s]).column(s)).astype(np.float64) for s in SCORES}
            found[label] = {s: told(v, moved) for s, v in values.items()}
            if of_region is None:
                found[f"janas {label}"] = by_janas(janas, made, maps, data, moved)
    return found


def planted(folder: Path, snr: float, seed: int) -> tuple[Path, Particles, Bools]:
    """A data set in a folder, and which of its particles have the body displaced."""
    whole = read_map(imaged(folder / "whole", None, snr, seed, 20) / "true_map.mrc")[0]
    body = Body.of(whole)
    at, off = (imaged(folder / n, v, snr, seed, N) for n, v in (("at", body.at), ("off", body.off)))
    moved = np.random.default_rng(seed).random(N) < SHARE
    with mrcfile.mmap(at / STACK, "r+") as stack:
        stack.data[moved] = np.asarray(read_images(off / STACK))[moved]
    write_map(at / "region.mrc", body.region, PIXEL_ANGSTROM)
    write_one_table(at / "particles.star")
    data = replace(ingest(at / "particles.star", root=None, pixel_size_angstrom=None, seed=seed), root=str(at))
    data.write(at / "particles.parquet")
    return at, data, moved


def imaged(folder: Path, volume: Floats32 | None, snr: float, seed: int, n: int) -> Path:
    """Images of a volume, or of the molecule itself, at the same poses with the same noise."""
    folder.mkdir()
    given: Values = {"molecule": "small", "bfactor_angstrom2": 50, "orientations": "uniform", "snr": snr}
    given |= {"pixel_size_angstrom": PIXEL_ANGSTROM, "box": BOX, "n_particles": n}
    if volume is not None:
        write_map(folder / "volume.mrc", volume, PIXEL_ANGSTROM)
        given["volume"] = str(folder / "volume.mrc")
    how: dict[str, Any] = {"symmetry": "C1", "backend": get_backend("cpu", threads=1)}
    simulate(Simulate.model_validate(given), PlantedErrors(wrong_pose=0.0), seed=seed, out_dir=folder, **how)
    return folder


def by_janas(method: Method, folder: Path, maps: Path, data: Particles, moved: Bools) -> Values:
    """JANAS' scores by the half maps and the mask of a folder, as in the comparison of selectors."""
    out = maps / JANAS
    out.mkdir()
    places = {"folder": str(folder), "home": str(folder), "out": str(out), "pixel": f"{PIXEL_ANGSTROM:g}"}
    places |= {"star_one_table": str(folder / ONE_TABLE)}
    places |= {name: str(maps / f"{name}.mrc") for name in ("half1", "half2", "mask")}
    call(method, places, out.with_suffix(".log"))
    return {name: told(np.nan_to_num(values), moved) for name, values in scores_of(method, places, data.ids)}


def told(values: Any, moved: Bools) -> float:
    """How well a score tells particles whose body is at its place from the others."""
    return round(float(auc(np.nan_to_num(values), ~moved) or 0.0), 4)


def run(part: Sequence[str] = (), *, cores: int = 1, store: Path = STORE) -> None:
    """Measure the sets whose names begin with one of some words (default: all), but those that are measured."""
    setup(next(method for method in read_methods() if method.name == JANAS), WORK / "programs")
    wanted = [given for given in names() if not part or given[0].startswith(tuple(part))]
    left = [given for given in wanted if not (store / f"{given[0]}.json").exists()]
    with ProcessPoolExecutor(cores) as pool:
        for values in pool.map(measure, *zip(*left, strict=True)) if left else ():
            made = made_by(f"python -m experiments region {values['name']}")
            write_json(store / f"{values['name']}.json", values | made)
            print(values["name"], json.dumps(values["region"]), flush=True)
