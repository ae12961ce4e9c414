"""Small STAR files and stacks, correct ones and incorrect ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE
from numpy.typing import NDArray

from cryocore.ingest.particles import ingest
from cryocore.tables.particles import Particles

N, BOX = 8, 16
DTYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}


def write_mrc(
    path: Path,
    images: NDArray[Any],
    *,
    mode: int = 2,
    order: str = "<",
    stamp: tuple[int, int, int, int] | None = None,
    extended: int = 0,
    pixel_size: float = 0.0,
    **fields: int,
) -> None:
    """Write a stack ``(n, h, w)``; ``fields`` overrides header fields."""
    header = np.zeros((), dtype=HEADER_DTYPE.newbyteorder(order))
    header["nz"], header["ny"], header["nx"] = images.shape
    header["mode"], header["nsymbt"] = mode, extended
    header["mx"], header["cella"]["x"] = images.shape[2], images.shape[2] * pixel_size
    header["map"] = b"MAP "
    header["machst"] = stamp or ((0x44, 0x44, 0, 0) if order == "<" else (0x11, 0x11, 0, 0))
    for name, value in fields.items():
        header[name] = value
    body = images.astype(order + DTYPES.get(mode, "f4")).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header.tobytes() + b"x" * extended + body)


def table(name: str, columns: Mapping[str, Sequence[Any]], *, numbered: bool = True) -> str:
    """One loop block."""
    labels = "".join(f"_{k} #{i}\n" if numbered else f"_{k}\n" for i, k in enumerate(columns, start=1))
    rows = "".join(" ".join(map(str, row)) + " \n" for row in zip(*columns.values(), strict=True))
    return f"\ndata_{name}\n\nloop_\n{labels}{rows}\n"


def particle_columns(n: int = N, stack: str = "a.mrcs") -> dict[str, list[Any]]:
    """A valid table of ``n`` particles on four micrographs."""
    rng = np.random.default_rng(5)
    return {
        "rlnImageName": [f"{i + 1:06d}@{stack}" for i in range(n)],
        "rlnMicrographName": [f"m{i % 4}.mrc" for i in range(n)],
        "rlnOpticsGroup": [1] * n,
        "rlnAngleRot": rng.uniform(-180, 180, n).round(4).tolist(),
        "rlnAngleTilt": rng.uniform(0, 180, n).round(4).tolist(),
        "rlnAnglePsi": rng.uniform(-180, 180, n).round(4).tolist(),
        "rlnOriginXAngst": rng.normal(0, 3, n).round(4).tolist(),
        "rlnOriginYAngst": rng.normal(0, 3, n).round(4).tolist(),
        "rlnDefocusU": rng.uniform(9e3, 2e4, n).round(2).tolist(),
        "rlnDefocusV": rng.uniform(9e3, 2e4, n).round(2).tolist(),
        "rlnDefocusAngle": rng.uniform(0, 180, n).round(2).tolist(),
        "rlnRandomSubset": [1 + i % 2 for i in range(n)],
    }


def optics_columns(n: int = 1) -> dict[str, list[Any]]:
    """``n`` valid optics groups."""
    return {
        "rlnOpticsGroup": list(range(1, n + 1)),
        "rlnOpticsGroupName": [f"og{i + 1}" for i in range(n)],
        "rlnVoltage": [300.0] * n,
        "rlnSphericalAberration": [2.7] * n,
        "rlnAmplitudeContrast": [0.1] * n,
        "rlnImagePixelSize": [1.5] * n,
        "rlnImageSize": [BOX] * n,
    }


def old_columns(n: int = N) -> dict[str, list[Any]]:
    """A valid table as RELION 3.0 writes it: pixel size 1.25 Å, origins in pixels."""
    columns = particle_columns(n)
    del columns["rlnOpticsGroup"]
    columns["rlnOriginX"], columns["rlnOriginY"] = columns.pop("rlnOriginXAngst"), columns.pop("rlnOriginYAngst")
    return columns | {
        "rlnVoltage": [200.0] * n,
        "rlnSphericalAberration": [2.0] * n,
        "rlnAmplitudeContrast": [0.07] * n,
        "rlnDetectorPixelSize": [5.0] * n,
        "rlnMagnification": [40000.0] * n,
    }


def noise_images(n: int = N, box: int = BOX, seed: int = 0) -> NDArray[np.float32]:
    """Images of unit noise, ``(n, box, box)``."""
    return np.random.default_rng(seed).standard_normal((n, box, box)).astype(np.float32)


def write_data_set(
    folder: Path,
    *,
    particles: Mapping[str, Sequence[Any]] | None = None,
    optics: Mapping[str, Sequence[Any]] | None = None,
) -> Path:
    """Write a.mrcs and particles.star of RELION 3.1; returns the STAR file."""
    if not (folder / "a.mrcs").exists():
        write_mrc(folder / "a.mrcs", noise_images(), pixel_size=1.5)
    star = folder / "particles.star"
    text = table("optics", optics or optics_columns()) + table("particles", particles or particle_columns())
    star.write_text("# version 30001\n" + text)
    return star


def load(star: Path, **options: Any) -> Particles:
    """Ingest a file as a user without options would."""
    return ingest(star, **{"root": None, "pixel_size_angstrom": None, "seed": 0, **options})
