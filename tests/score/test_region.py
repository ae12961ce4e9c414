"""A part of the molecule judged by itself, with the rest subtracted from the images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy.ndimage as ndimage

from cryocore.backend import get_backend
from cryocore.config.plant import PlantedErrors
from cryocore.config.reconstruct import Reconstruct
from cryocore.config.run import parse_config
from cryocore.config.score import Score
from cryocore.config.simulate import Simulate
from cryocore.errors import InputError
from cryocore.formats.stacks import read_images
from cryocore.imaging.prepare import prepare
from cryocore.ingest.particles import read_particles
from cryocore.log.rates import auc
from cryocore.maps.mrc import read_map, write_map
from cryocore.reconstruct import reconstruct
from cryocore.score import score
from cryocore.score.reference import load_reference
from cryocore.score.sums import Batch, of_region, own_sums
from cryocore.simulate.stage import STACK, simulate
from cryocore.types import Floats32
from tests.score.simulated import SIMULATION

BOX, PIXEL, N = 40, 5.0, 800
BODY_RADIUS, MOVED_PIXELS = 4.0, 3.0


def imaged(folder: Path, volume: Floats32 | None, **changes: object) -> Path:
    """Images of a volume, or of the molecule itself, in a folder of their own."""
    folder.mkdir()
    own = {}
    if volume is not None:
        write_map(folder / "volume.mrc", volume, PIXEL)
        own = {"volume": str(folder / "volume.mrc"), "molecule": "small"}
    settings = Simulate.model_validate({**SIMULATION, **own, **changes})
    simulate(settings, PlantedErrors(wrong_pose=0.0), symmetry="C1", seed=3, out_dir=folder, backend=get_backend("cpu"))
    return folder


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """Particles of which three of ten have a small body of the molecule displaced, and which these are."""
    folder = tmp_path_factory.mktemp("region")
    whole = read_map(imaged(folder / "whole", None, n_particles=20) / "true_map.mrc")[0]
    z, y, x = np.mgrid[:BOX, :BOX, :BOX]
    solid = np.argwhere(whole > 0.25 * whole.max())
    centre = solid.mean(axis=0)
    far = solid[np.argmax(((solid - centre) ** 2).sum(axis=1))]
    middle = centre + 0.75 * (far - centre)
    distance = np.sqrt((z - middle[0]) ** 2 + (y - middle[1]) ** 2 + (x - middle[2]) ** 2)
    body = whole * np.clip((BODY_RADIUS + 1.0 - distance) / 2.0, 0.0, 1.0)
    across = np.cross(far - centre, [1.0, 0.0, 0.3])
    displaced = whole - body + ndimage.shift(body, MOVED_PIXELS * across / np.linalg.norm(across), order=1)
    stacks = [np.asarray(read_images(imaged(folder / n, v) / STACK)) for n, v in (("at", whole), ("off", displaced))]
    is_moved = np.random.default_rng(0).random(N) < 0.3
    with mrcfile.mmap(folder / "at" / STACK, "r+") as stack:
        stack.data[:] = np.where(is_moved[:, None, None], stacks[1], stacks[0])
    particles = read_particles(folder / "at" / "particles.star", root=None, pixel_size_angstrom=None, seed=0)
    replace(particles, root=str(folder / "at")).write(folder / "particles.parquet")
    write_map(folder / "region.mrc", np.clip((BODY_RADIUS + 4.0 - distance) / 4.0, 0.0, 1.0).astype(np.float32), PIXEL)
    for name, mask in (("of_whole", None), ("of_region", folder / "region.mrc")):
        given = {"settings": Reconstruct(), "symmetry": "C1", "backend": get_backend("cpu")}
        reconstruct(folder / "particles.parquet", None, mask, out_dir=folder / name, **given)
    return folder, is_moved


def found(folder: Path, maps: str, is_moved: np.ndarray, region: str | None) -> tuple[float, float]:
    """AUC of the best score, and of the mixture."""
    out = folder / f"{maps}_{region is not None}.parquet"
    given = {"symmetry": "C1", "round_number": 0, "seed": 0, "backend": get_backend("cpu"), "out": out}
    score(folder / "particles.parquet", folder / maps, None, settings=Score(region=region), **given)
    log = pq.read_table(out)
    values = {name: log[name].to_numpy().astype(np.float64) for name in ("zc", "dual", "local", "shift", "mixture")}
    of_each = {name: auc(np.nan_to_num(v), ~is_moved) for name, v in values.items()}
    assert None not in of_each.values()
    return max(of_each.values()), of_each["mixture"]


def test_a_small_body_that_is_displaced_is_seen_by_its_region(moved: tuple[Path, np.ndarray]) -> None:
    folder, is_moved = moved
    whole = found(folder, "of_whole", is_moved, None)
    masked = found(folder, "of_region", is_moved, None)
    region = found(folder, "of_region", is_moved, str(folder / "region.mrc"))
    assert region[0] > whole[0] + 0.1 and region[1] > whole[1] + 0.1
    assert region[0] > masked[0] + 0.01


def test_what_is_outside_is_taken_out_of_the_images(moved: tuple[Path, np.ndarray]) -> None:
    """Image powers fall to those of noise and region; the subtraction is that of slices of the rest of the map."""
    folder, _ = moved
    backend = get_backend("cpu")
    particles = read_particles(folder / "at/particles.star", root=None, pixel_size_angstrom=None, seed=0)
    particles = replace(particles, root=str(folder / "at")).take(np.arange(64))
    reference = load_reference(particles, folder / "of_region", Score(region="region.mrc"), backend)
    assert reference.outside is not None
    images = np.asarray(read_images(folder / "at" / STACK))[:64].astype(np.float32)
    sign = np.float32(particles.optics[0].image_sign)
    powers = []
    for step in (lambda batch: batch, of_region):
        prepared = prepare(sign * images, particles, reference.frames[0], backend)
        given = prepared, particles.rotations, particles.column("half").astype(np.int32) - 1
        none = np.zeros(64, dtype=np.float32)
        powers.append(own_sums(step(Batch(*given, none, reference, reference.samples[0], backend))).mean(axis=0))
    before, after = powers
    assert np.all(after[:3, 0] < 0.9 * before[:3, 0])  # |y|^2 where the signal is
    assert np.all(after[:3, 1] == before[:3, 1])  # |x|^2 of the region


def test_refused_regions(moved: tuple[Path, np.ndarray]) -> None:
    folder, _ = moved
    particles = read_particles(folder / "at/particles.star", root=None, pixel_size_angstrom=None, seed=0)
    with pytest.raises(InputError, match=r"score\.region.*nothing is beside it"):
        load_reference(particles, folder / "of_whole", Score(region="all.mrc"), get_backend("cpu"))
    with pytest.raises(InputError, match="not made fold by fold"):
        parse_config({"score": {"region": "a.mrc", "leave_one_out": "folds"}})
    with pytest.raises(InputError, match=r"leave reconstruct\.mask out"):
        parse_config({"score": {"region": "a.mrc"}, "reconstruct": {"mask": "b.mrc"}})
