"""The readers, and valid files that damaged ones are made from. A reader more is one line in ``READERS``."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cryocore.config.file import read_config
from cryocore.convert.convert import convert
from cryocore.explore.replay.import_log import read_text_log
from cryocore.formats.cs import read_cs
from cryocore.formats.stacks import StackReader
from cryocore.formats.star import read_star
from cryocore.formats.thu import read_thu
from cryocore.imaging.cache import Transforms, write_transforms
from cryocore.imaging.grid import FourierGrid, FourierSums
from cryocore.imaging.packed import record_type
from cryocore.ingest.particles import read_particles
from cryocore.maps import read_map, write_map, write_stack
from cryocore.maps.curves import FscCurves
from cryocore.reconstruct.sums import read_sums, read_weights_of_sums, write_sums
from cryocore.score.reference import read_sampling
from cryocore.tables.io import write_table
from cryocore.tables.particles import PARTICLES_SCHEMA, Optics, Particles, read_weights

N, BOX = 6, 4
LABELS = (
    *("rlnImageName", "rlnMicrographName", "rlnOpticsGroup", "rlnRandomSubset", "rlnAngleRot", "rlnAngleTilt"),
    *("rlnAnglePsi", "rlnOriginXAngst", "rlnOriginYAngst", "rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle"),
)
OPTICS = ("rlnOpticsGroup", "rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast", "rlnImagePixelSize")
GRID = FourierGrid(BOX, 2.0, BOX, 1)


@dataclass(frozen=True)
class Reader:
    """``seeds`` writes valid files into a folder; ``read`` is what is tried on damaged ones of that ``suffix``."""

    suffix: str
    seeds: Callable[[Path], list[Path]]
    read: Callable[[Path], Any]


@cache
def some_particles(folder: Path, stack: str) -> Particles:
    """A few particles of one stack in ``folder``."""
    values: dict[str, Any] = {
        "particle_id": np.arange(1, N + 1),
        "source_row": np.arange(N),
        "stack": np.array([stack] * N),
        "slice": np.arange(N),
        "micrograph": np.array(["m.mrc"] * N),
        "half": 1 + np.arange(N) % 2,
        "quat_w": np.ones(N),
    }
    arrays = {name: pa.array(values.get(name, np.zeros(N))) for name in PARTICLES_SCHEMA.names}
    optics = (Optics("a", BOX, 2.0, 300.0, 2.7, 0.1),)
    return Particles(pa.table(arrays).cast(PARTICLES_SCHEMA), optics, "particles.star", str(folder))


def _star(folder: Path) -> list[Path]:
    rows = [
        f"{i + 1:06d}@s.mrcs m{i % 2}.mrc 1 {1 + i % 2} {10 * i}.5 {20 + i} -{i}.25 0.5 -1.5 1{i}000 1{i}200 4{i}"
        for i in range(N)
    ]
    optics = f"data_optics\n\nloop_\n{_labels(OPTICS)}1 300 2.7 0.1 2.0\n\n"
    made = {
        "new": f"# version 30001\n\n{optics}data_particles\n\nloop_\n{_labels(LABELS)}" + " \n".join(rows) + "\n",
        "old": f"data_\n\nloop_\n{_labels(LABELS)}" + "\n".join(rows) + "\n\n",
        "quoted": f"{optics}data_particles\nloop_\n{_labels(LABELS)}"
        + "\r\n".join(r.replace("m0.mrc", '"m 0.mrc"') for r in rows),
        "single": "data_\n" + "".join(f"_{k} {v}\n" for k, v in zip(LABELS, rows[0].split(), strict=True)),
    }
    return [_file(folder / f"{name}.star", text.encode()) for name, text in made.items()]


def _labels(names: tuple[str, ...]) -> str:
    return "".join(f"_{name} #{i}\n" for i, name in enumerate(names, 1))


def _file(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _stacks(folder: Path) -> list[Path]:
    images = np.random.default_rng(0).standard_normal((N, BOX, BOX))
    write_stack(folder / "a.mrcs", images, 2.0)
    write_stack(folder / "b.mrcs", images, 2.0, dtype=np.float16)
    return [folder / "a.mrcs", folder / "b.mrcs"]


def _stacked_star(folder: Path) -> list[Path]:
    write_stack(folder / "s.mrcs", np.zeros((N, BOX, BOX)), 2.0)
    return _star(folder)[::2]


def _converted(folder: Path, suffix: str) -> list[Path]:
    """The same particles in another program's format."""
    star = _stacked_star(folder)[0]
    convert(star, folder / f"a{suffix}")
    return [folder / f"a{suffix}"]


def _read_images(path: Path) -> Any:
    with StackReader(some_particles(path.parent, path.name)) as reader:
        return reader.read(np.arange(N))


def _maps(folder: Path) -> list[Path]:
    write_map(folder / "a.mrc", np.random.default_rng(0).standard_normal((BOX,) * 3), 2.0)
    made = (folder / "a.mrc").read_bytes()
    bare = made[:220] + bytes(804) + made[1024:]  # no labels, which hold the checksum
    return [folder / "a.mrc", _file(folder / "b.mrc", bare), _file(folder / "c.mrc", gzip.compress(bare, mtime=0))]


def _particles(folder: Path) -> list[Path]:
    some_particles(folder, "s.mrcs").write(folder / "a.parquet")
    return [folder / "a.parquet"]


def _subset(folder: Path) -> list[Path]:
    write_table(
        folder / "a.parquet", pa.table({"particle_id": np.arange(1, N + 1, dtype=np.uint64), "weight": np.ones(N)})
    )
    return [folder / "a.parquet"]


def _curves(folder: Path) -> list[Path]:
    numbers = {f.name: np.linspace(1, 0, 5) for f in fields(FscCurves) if f.name not in ("shell", "metadata")}
    FscCurves(np.arange(5), **numbers).write(folder / "a.parquet")
    return [folder / "a.parquet"]


def _sums(folder: Path) -> list[Path]:
    values = np.ones((2, *GRID.shape))
    sums = FourierSums(values.astype(np.complex64), values.astype(np.float32), GRID)
    write_sums(folder / "a.npz", sums, sums.grid, np.ones(N, np.float32), some_particles(folder, "s.mrcs"))
    return [folder / "a.npz"]


def _read_sums(path: Path) -> Any:
    return read_weights_of_sums(path, some_particles(path.parent, "s.mrcs")), read_sums(path, GRID)


def _sampling(folder: Path) -> list[Path]:
    np.savez(folder / "a.npz", density=np.ones((2, *GRID.shape), np.float32), padding=2.0, last_shell=1)
    return [folder / "a.npz"]


def _transforms(folder: Path) -> list[Path]:
    write_stack(folder / "s.mrcs", np.zeros((N, BOX, BOX)), 2.0)
    records = np.zeros((N, record_type(1).itemsize // 2), np.int16)
    write_transforms(folder / "a.npz", some_particles(folder, "s.mrcs"), [1], [(np.arange(N), records)])
    return [folder / "a.npz"]


def _read_transforms(path: Path) -> Any:
    particles = some_particles(path.parent, "s.mrcs")
    with Transforms.of(path, particles, [1]).reader(particles) as reader:
        return reader.read(np.arange(N))


def _configurations(folder: Path) -> list[Path]:
    text = "run: a\nn_rounds: 2\nsymmetry: C1\ninput:\n  star: a.star\nselect: {rule: fraction, value: [0.9, 0.8]}\n"
    return [_file(folder / "a.yaml", text.encode())]


def _text_logs(folder: Path) -> list[Path]:
    lines = [f"{i} 0.{i}5 1.0 0.0 0.0 0.0 {i % 2}" for i in range(8)]
    return [_file(folder / "a.txt", "\n".join(["Iteration 1", *lines, "Iteration 2", *lines]).encode())]


READERS: dict[str, Reader] = {
    "star": Reader(".star", _star, read_star),
    "particles": Reader(".star", _stacked_star, partial(read_particles, root=None, pixel_size_angstrom=None, seed=0)),
    "cryosparc": Reader(".cs", partial(_converted, suffix=".cs"), read_cs),
    "thunder": Reader(".thu", partial(_converted, suffix=".thu"), read_thu),
    "stack": Reader(".mrcs", _stacks, _read_images),
    "map": Reader(".mrc", _maps, read_map),
    "table": Reader(".parquet", _particles, Particles.read),
    "subset": Reader(".parquet", _subset, lambda path: read_weights(path, some_particles(path.parent, "s.mrcs"))),
    "curves": Reader(".parquet", _curves, FscCurves.read),
    "sums": Reader(".npz", _sums, _read_sums),
    "sampling": Reader(".npz", _sampling, read_sampling),
    "transforms": Reader(".npz", _transforms, _read_transforms),
    "configuration": Reader(".yaml", _configurations, read_config),
    "text-log": Reader(".txt", _text_logs, read_text_log),
}
