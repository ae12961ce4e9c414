"""cryoSPARC ``.cs`` files made from particles of any format."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cryocore.errors import InputError
from cryocore.formats.cs import (
    ALIGNED,
    ALIGNMENT,
    ANGLES,
    COORDINATES,
    CTF,
    DEFOCUS,
    GROUP_NAME,
    SIDES,
    SIGN_LABEL,
    UID_LABEL,
)
from cryocore.formats.records import Records
from cryocore.formats.stacks import read_header
from cryocore.formats.star import IMAGE_NAME
from cryocore.ingest.columns import MAG_MATRIX, Columns
from cryocore.ingest.optics import DETECTOR, MAGNIFICATION, Groups, find_groups
from cryocore.ingest.particles import ORIGINS_ANGSTROM, ORIGINS_PIXEL, ids_of, quaternions_of, shifts_angstrom
from cryocore.ingest.stacks import ImageNames, find_root, parse_image_names
from cryocore.types import Floats, Ints

HELD = frozenset(
    [IMAGE_NAME, "rlnMicrographName", *ANGLES, *ORIGINS_ANGSTROM, *ORIGINS_PIXEL, SIGN_LABEL, UID_LABEL]
    + [s.label for s in (*CTF, *ALIGNED)]
    + ["rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast", "rlnBeamTiltX", "rlnBeamTiltY"]
    + ["rlnImagePixelSize", "rlnImageSize", "rlnImageDimensionality", "rlnOpticsGroup"]
    + [
        *COORDINATES,
        *SIDES,
        DETECTOR,
        MAGNIFICATION,
        *MAG_MATRIX,
    ]
)
"""Labels that the file holds."""
ABERRATIONS = [("shift_A", 2), ("tilt_A", 2), ("trefoil_A", 2), ("tetra_A", 4), ("anisomag", 4)]


def cs_records(columns: Columns, *, pixel_size_angstrom: float | None = None, root: str | None = None) -> Records:
    """The particles as the rows ``(n,)`` of a ``.cs`` file.

    ``uid`` is the one that came with the particles from cryoSPARC, else a hash of the image name. The size of the
    images is that of the file or of the stacks' headers.

    Raises
    ------
    InputError  for values that are missing or not finite, and where the size of the images is not to be found.
    """
    names = parse_image_names(columns)
    groups = find_groups(columns, pixel_size_angstrom)
    values = {
        "uid": uids(columns),
        **_blob(columns, names, groups, root),
        **_ctf(columns, groups),
        **_location(columns),
        **(_alignment(columns, groups) if all(columns.has(label) for label in ANGLES) else {}),
    }
    dtype = np.dtype([(name, v.dtype.newbyteorder("<"), v.shape[1:]) for name, v in values.items()])
    records = np.zeros(len(columns), dtype=dtype)
    for name, column in values.items():
        records[name] = column
    return records


def uids(columns: Columns) -> NDArray[np.uint64]:
    """The numbers ``(n,)`` that cryoSPARC knows the particles by, all different; else their ids."""
    tables = columns.tables
    if tables.ids is not None or UID_LABEL not in tables.particles:
        return ids_of(tables)
    try:
        texts = pa.array(tables.particles[UID_LABEL].astype(str).to_numpy(dtype=object), pa.string())
        numbers = texts.cast(pa.uint64()).to_numpy()
    except pa.ArrowInvalid:
        problem, fix = "not whole numbers", f"Write the numbers in full, or remove the column {UID_LABEL}"
        raise InputError(problem, file=tables.path, column=UID_LABEL, fix=fix) from None
    twice = np.flatnonzero(pd.Series(numbers).duplicated())
    if len(twice):
        row = int(twice[0])
        problem = f"{numbers[row]} appears twice"
        raise InputError(problem, file=tables.path, row=row + 1, column=UID_LABEL, fix="Remove duplicates")
    return numbers


def _blob(columns: Columns, names: ImageNames, groups: Groups, root: str | None) -> dict[str, NDArray[Any]]:
    sides = _sides(columns, names, root)
    return {
        "blob/path": np.array([p.encode() for p in names.paths])[names.stack],
        "blob/idx": names.slice.astype(np.uint32),
        "blob/shape": np.stack([sides, sides], axis=1).astype(np.uint32),
        "blob/psize_A": groups.pixel_size_angstrom.astype(np.float32),
        "blob/sign": columns.numbers(SIGN_LABEL, 1.0).astype(np.float32),
        "blob/import_sig": np.zeros(len(columns), dtype=np.uint64),
    }


def _sides(columns: Columns, names: ImageNames, root: str | None) -> Ints:
    """Side of each image ``(n,)``, of the file or of its stack's header."""
    if columns.has("rlnImageSize"):
        sides = columns.numbers("rlnImageSize")
        columns.require((sides >= 1) & (sides < 2**16), "rlnImageSize", sides, "the side of an image", "Correct it")
        return sides.astype(np.int64)
    found = find_root(columns.tables.path, names, root)
    return np.array([read_header(Path(found) / path).width for path in names.paths])[names.stack]


def _ctf(columns: Columns, groups: Groups) -> dict[str, NDArray[Any]]:
    n = len(columns)
    single = groups.values.iloc[groups.index]
    numbers = {s.field: _inverse(columns, s) for s in CTF}
    if not columns.has("rlnDefocusV"):
        numbers["ctf/df2_A"] = numbers[DEFOCUS]
    cs_angstrom = 1e7 * single["rlnSphericalAberration"].to_numpy()
    tilt = np.stack([single[f"rlnBeamTilt{c}"].to_numpy() for c in "XY"], axis=1)
    matrix = np.stack([single[label].to_numpy() for label in MAG_MATRIX], axis=1)
    given = {
        "tilt_A": np.sin(1e-3 * tilt) * cs_angstrom[:, None],
        "anisomag": matrix - (1.0, 0.0, 0.0, 1.0),
    }
    return {
        "ctf/type": np.full(n, b"imported"),
        "ctf/exp_group_id": _exposure_groups(groups)[groups.index].astype(np.uint32),
        "ctf/accel_kv": single["rlnVoltage"].to_numpy(np.float32),
        "ctf/cs_mm": single["rlnSphericalAberration"].to_numpy(np.float32),
        "ctf/amp_contrast": single["rlnAmplitudeContrast"].to_numpy(np.float32),
        **{field: values.astype(np.float32) for field, values in numbers.items()},
        "ctf/scale_const": np.zeros(n, dtype=np.float32),
        **{f"ctf/{k}": given.get(k, np.zeros((n, width))).astype(np.float32) for k, width in ABERRATIONS},
    }


def _exposure_groups(groups: Groups) -> Ints:
    """The number of each optics group: that in its name, if it came from cryoSPARC, else its place."""
    found = [re.fullmatch(rf"{GROUP_NAME}(\d{{1,9}})(_\d+)?", name) for name in groups.values["name"]]
    if all(found):
        return np.array([int(m[1]) for m in found if m])
    return np.arange(len(groups))


def _inverse(columns: Columns, scalar: Any) -> Floats:
    """Values of the field from those of the label."""
    if scalar.field != DEFOCUS and not columns.has(scalar.label):
        return np.full(len(columns), scalar.default or 0.0)
    return (columns.numbers(scalar.label) - scalar.offset) / scalar.scale


def _location(columns: Columns) -> dict[str, NDArray[Any]]:
    """Micrographs, and coordinates as fractions of them where their size is known."""
    values: dict[str, NDArray[Any]] = {}
    if columns.has("rlnMicrographName"):
        code, names = pd.factorize(columns.texts("rlnMicrographName"))
        values["location/micrograph_path"] = np.array([str(name).encode() for name in names])[code]
    if all(columns.has(label) for label in (*SIDES, *COORDINATES)):
        sides = np.stack([columns.numbers(label) for label in SIDES], axis=1)
        columns.require(sides.min(axis=1) > 0, SIDES[0], sides[:, 0], "the side of a micrograph", "Correct it")
        values["location/micrograph_shape"] = sides[:, ::-1].astype(np.uint32)
        for name, label, side in zip(("center_x_frac", "center_y_frac"), COORDINATES, sides.T, strict=True):
            values[f"location/{name}"] = (columns.numbers(label) / side).astype(np.float32)
    return values


def _alignment(columns: Columns, groups: Groups) -> dict[str, NDArray[Any]]:
    pixel = groups.pixel_size_angstrom
    pose = Rotation.from_quat(quaternions_of(columns), scalar_first=True).inv().as_rotvec()
    values: dict[str, NDArray[Any]] = {
        "shift": (shifts_angstrom(columns, pixel) / pixel[:, None]).astype(np.float32),
        "pose": pose.astype(np.float32),
        "psize_A": pixel.astype(np.float32),
    }
    for scalar in ALIGNED:
        kind = np.uint32 if scalar.offset else np.float32
        if scalar.field != "split" or columns.has(scalar.label):
            values[scalar.field] = _inverse(columns, scalar).astype(kind)
    return {f"{ALIGNMENT}/{name}": column for name, column in values.items()}
