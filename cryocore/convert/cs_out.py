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
    CENTRES,
    COORDINATES,
    COPY,
    CTF,
    DEFOCUS,
    EXPANDED,
    GROUP_NAME,
    MICROGRAPH,
    MICROGRAPH_PIXEL,
    MICROGRAPH_PIXEL_LABEL,
    NEUTRAL_TYPE,
    SHAPE,
    SIDES,
    SIGN_LABEL,
    SOURCE_UID,
    UID_LABEL,
    Scalar,
)
from cryocore.formats.kinds import PARTICLE_ID
from cryocore.formats.records import Records
from cryocore.formats.stacks import read_header
from cryocore.formats.star import IMAGE_NAME
from cryocore.ingest.columns import MAG_MATRIX, Columns
from cryocore.ingest.optics import DETECTOR, MAGNIFICATION, Groups, find_groups
from cryocore.ingest.particles import (
    ORIGINS_ANGSTROM,
    ORIGINS_PIXEL,
    distinct,
    ids_of,
    quaternions_of,
    shifts_angstrom,
)
from cryocore.ingest.stacks import MAX_PARENTS, ImageNames, find_root, parse_image_names
from cryocore.types import Floats, Ints

HELD = frozenset(
    [IMAGE_NAME, "rlnMicrographName", SIGN_LABEL, UID_LABEL, *EXPANDED, *SIDES, MICROGRAPH_PIXEL_LABEL]
    + [s.label for s in CTF]
    + ["rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast", "rlnBeamTiltX", "rlnBeamTiltY"]
    + ["rlnImagePixelSize", "rlnImageSize", "rlnImageDimensionality", "rlnOpticsGroup"]
    + [DETECTOR, MAGNIFICATION, *MAG_MATRIX]
)
"""Labels that the file holds, with poses or without."""
OF_POSES = frozenset([*ANGLES, *ORIGINS_ANGSTROM, *ORIGINS_PIXEL, *(s.label for s in ALIGNED)])
"""Labels that it holds with poses."""
OPTICS_NAME = "rlnOpticsGroupName"
ABERRATIONS = [("shift_A", 2), ("tilt_A", 2), ("trefoil_A", 2), ("tetra_A", 4), ("anisomag", 4)]


def held(columns: Columns, records: Records) -> frozenset[str]:
    """The labels of the particles that their ``records`` hold."""
    names = set(records.dtype.names or ())
    found = HELD | (OF_POSES if f"{ALIGNMENT}/pose" in names else frozenset())
    found |= set(COORDINATES) if names.issuperset(CENTRES) else frozenset()
    numbered = columns.has(OPTICS_NAME) and all(
        re.fullmatch(rf"{GROUP_NAME}\d{{1,9}}(_\d+)?|opticsGroup\d+", name) for name in set(columns.texts(OPTICS_NAME))
    )
    is_uid = PARTICLE_ID in columns.tables.particles and np.array_equal(records["uid"], ids_of(columns.tables))
    return found | ({OPTICS_NAME} if numbered else set()) | ({PARTICLE_ID} if is_uid else set())


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
    uid = uids(columns)
    values = {
        "uid": uid,
        **_blob(columns, names, groups, root),
        **_ctf(columns, groups),
        **_location(columns, root),
        **_expansion(columns, names, uid),
        **(_alignment(columns, groups) if all(columns.has(label) for label in ANGLES) else {}),
    }
    dtype = np.dtype([(name, v.dtype.newbyteorder("<"), v.shape[1:]) for name, v in values.items()])
    records = np.zeros(len(columns), dtype=dtype)
    for name, column in values.items():
        records[name] = column
    return records


def uids(columns: Columns) -> NDArray[np.uint64]:
    """The numbers ``(n,)`` that cryoSPARC knows the particles by, all different; else their ids.

    Copies of an image that share a number are told apart as by :func:`ids_of`.
    """
    tables = columns.tables
    if tables.ids is not None or UID_LABEL not in tables.particles:
        return ids_of(tables)
    numbers = _whole_numbers(columns, UID_LABEL)
    if not pd.Series(numbers).duplicated().any():
        return numbers
    images = pd.Series(columns.texts(IMAGE_NAME))
    twice = np.flatnonzero(images != images.groupby(numbers).transform("first"))
    if len(twice):
        row = int(twice[0])
        problem = f"{numbers[row]} appears twice"
        raise InputError(problem, file=tables.path, row=row + 1, column=UID_LABEL, fix="Remove duplicates")
    return distinct(numbers)


def _whole_numbers(columns: Columns, label: str) -> NDArray[np.uint64]:
    """A column of numbers of 64 bits, ``(n,)``."""
    tables = columns.tables
    try:
        texts = pa.array(tables.particles[label].astype(str).to_numpy(dtype=object), pa.string())
        return texts.cast(pa.uint64()).to_numpy()
    except pa.ArrowInvalid:
        problem, fix = "not whole numbers", f"Write the numbers in full, or remove the column {label}"
        raise InputError(problem, file=tables.path, column=label, fix=fix) from None


def _expansion(columns: Columns, names: ImageNames, uid: NDArray[np.uint64]) -> dict[str, NDArray[Any]]:
    """Which particle each copy of a symmetry-expanded set was made of, and which of its copies it is.

    Where the file does not say so, particles of one image are copies of the first of them.
    """
    given = {field: label for label, field in EXPANDED.items() if label in columns.tables.particles}
    image = pd.factorize(names.stack * (int(names.slice.max(initial=0)) + 1) + names.slice)[0]
    if not given and image.max(initial=-1) + 1 < len(image):
        number = pd.Series(image).groupby(image).cumcount().to_numpy()
        return {SOURCE_UID: uid[number == 0][image], COPY: number.astype(np.uint32)}
    values = {field: _whole_numbers(columns, label) for field, label in given.items()}
    return values | ({COPY: values[COPY].astype(np.uint32)} if COPY in values else {})


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
    found = find_root(columns, names, root)
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
        "ctf/type": np.full(n, NEUTRAL_TYPE),
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


def _inverse(columns: Columns, scalar: Scalar) -> Floats:
    """Values of the field from those of the label."""
    if scalar.field != DEFOCUS and not columns.has(scalar.label):
        return np.full(len(columns), scalar.default or 0.0)
    return (columns.numbers(scalar.label) - scalar.offset) / scalar.scale


def _location(columns: Columns, root: str | None) -> dict[str, NDArray[Any]]:
    """Micrographs, and coordinates as fractions of them where their size is known."""
    values: dict[str, NDArray[Any]] = {}
    if columns.has("rlnMicrographName"):
        code, names = pd.factorize(columns.texts("rlnMicrographName"))
        values[MICROGRAPH] = np.array([str(name).encode() for name in names])[code]
    if columns.has(MICROGRAPH_PIXEL_LABEL):
        values[MICROGRAPH_PIXEL] = columns.numbers(MICROGRAPH_PIXEL_LABEL).astype(np.float32)
    sides = micrograph_sides(columns, root)
    if sides is None:
        return values
    columns.require(sides.min(axis=1) > 0, SIDES[0], sides[:, 0], "the side of a micrograph", "Correct it")
    values[SHAPE] = sides[:, ::-1].astype(np.uint32)
    for name, label, side in zip(CENTRES, COORDINATES, sides.T, strict=True):
        if columns.has(label):
            values[name] = (columns.numbers(label) / side).astype(np.float32)
    return values


def micrograph_sides(columns: Columns, root: str | None) -> Floats | None:
    """Width and height of each particle's micrograph ``(n, 2)``: those of the file, or of the micrographs' headers."""
    if all(columns.has(label) for label in SIDES):
        return np.stack([columns.numbers(label) for label in SIDES], axis=1)
    if not all(columns.has(label) for label in ("rlnMicrographName", *COORDINATES)):
        return None
    code, names = pd.factorize(columns.texts("rlnMicrographName"))
    path = columns.tables.path
    folders = [path.parent, Path(), *path.resolve().parents[1 : 1 + MAX_PARENTS]] if root is None else [Path(root)]
    folder = next((f for f in folders if (f / str(names[0])).is_file()), None)
    if folder is None:
        return None
    try:
        headers = [read_header(folder / str(name)) for name in names]
    except InputError:
        return None
    return np.array([[h.width, h.height] for h in headers], dtype=np.float64)[code]


def _alignment(columns: Columns, groups: Groups) -> dict[str, NDArray[Any]]:
    pixel = groups.pixel_size_angstrom
    pose = Rotation.from_quat(quaternions_of(columns), scalar_first=True).inv().as_rotvec()
    values: dict[str, NDArray[Any]] = {
        "shift": (shifts_angstrom(columns, pixel) / pixel[:, None]).astype(np.float32),
        "pose": pose.astype(np.float32),
        "psize_A": pixel.astype(np.float32),
    }
    for scalar in ALIGNED:
        if scalar.offset:
            number = _counted(columns, scalar)
            values |= {} if number is None else {scalar.field: number}
        else:
            values[scalar.field] = _inverse(columns, scalar).astype(np.float32)
    return {f"{ALIGNMENT}/{name}": column for name, column in values.items()}


def _counted(columns: Columns, scalar: Scalar) -> NDArray[np.uint32] | None:
    """Half sets or classes from 0; None for half sets that the file does not have, or has not assigned yet (0)."""
    if not columns.has(scalar.label):
        return None if scalar.field == "split" else np.zeros(len(columns), dtype=np.uint32)
    numbers = columns.numbers(scalar.label)
    if scalar.field == "split" and not numbers.any():
        return None
    what, most = ("a half set (1 or 2)", 2.0) if scalar.field == "split" else ("a class (from 1)", 2.0**31)
    fix = "Correct it or remove the column"
    valid = (numbers >= 1) & (numbers <= most) & (numbers == np.round(numbers))
    columns.require(valid, scalar.label, numbers, what, fix)
    return (numbers - 1).astype(np.uint32)
