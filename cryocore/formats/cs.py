"""cryoSPARC ``.cs`` files of particles, read under RELION's labels.

Poses are rotation vectors p with ``A = exp([p]x).T``; shifts are in pixels of the alignment's pixel size, of the same
sign as RELION's; image numbers, half sets, classes and exposure groups start at 0.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cryocore.errors import InputError
from cryocore.formats.csg import write_group
from cryocore.formats.records import UID, Fields, Records, Source, read_fields, read_records, read_shape, write_records
from cryocore.formats.roots import recorded_origin
from cryocore.formats.star import IMAGE_NAME, StarTables
from cryocore.geometry.rotations import matrix_to_euler
from cryocore.types import Bools, Floats, Ints

log = logging.getLogger(__name__)

ALIGNMENT = "alignments3D"
MULTI = "alignments3D_multi"
OF_CLASS = re.compile(r"(alignments_class(?:3D)?_(\d{1,5}))/pose")
ANY_POSE = re.compile(rf"({ALIGNMENT}|{MULTI}|alignments_class(?:3D)?_\d{{1,5}})/pose")
PATH, INDEX, POSE, DEFOCUS = "blob/path", "blob/idx", f"{ALIGNMENT}/pose", "ctf/df1_A"
PIXEL, MICROGRAPH, SHAPE = "blob/psize_A", "location/micrograph_path", "location/micrograph_shape"
CENTRES = ("location/center_x_frac", "location/center_y_frac")
MICROGRAPH_PIXEL, FILAMENT = "location/micrograph_psize_A", "filament/filament_uid"
SOURCE_UID, COPY = "sym_expand/src_uid", "sym_expand/idx"
OLDER = {
    "ctf/amp_contrast": ("ctf/ac",),
    "ctf/accel_kv": ("mscope_params/accel_kv",),
    "ctf/cs_mm": ("mscope_params/cs_mm",),
}
"""Where a quantity is in files of other versions."""

UID_LABEL = "cryocoreUid"
SOURCE_UID_LABEL, COPY_LABEL = "cryosparcSourceUid", "cryosparcSymmetryIndex"
"""Of symmetry-expanded particles: the particle that a copy was made of, and which of its copies it is."""
SIGN_LABEL = "cryocoreImageSign"
GROUP_NAME = "exposureGroup"
ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
ORIGINS = ("rlnOriginXAngst", "rlnOriginYAngst")
ORIGINS_PIXEL = ("rlnOriginX", "rlnOriginY")
COORDINATES = ("rlnCoordinateX", "rlnCoordinateY")
SIDES = ("cryosparcMicrographWidth", "cryosparcMicrographHeight")
MICROGRAPH_PIXEL_LABEL, TUBE = "rlnMicrographPixelSize", "rlnHelicalTubeID"


@dataclass(frozen=True)
class Scalar:
    """A field and its label: label value = field value * ``scale`` + ``offset``; ``default`` is what absence means."""

    field: str
    label: str
    scale: float = 1.0
    offset: int = 0
    default: float | None = 0.0


CTF = (
    Scalar(DEFOCUS, "rlnDefocusU", default=None),
    Scalar("ctf/df2_A", "rlnDefocusV", default=None),
    Scalar("ctf/df_angle_rad", "rlnDefocusAngle", np.rad2deg(1.0), default=None),
    Scalar("ctf/phase_shift_rad", "rlnPhaseShift", np.rad2deg(1.0)),
    Scalar("ctf/bfactor", "rlnCtfBfactor"),
    Scalar("ctf/scale", "rlnCtfScalefactor", default=1.0),
)
ALIGNED = (
    Scalar("split", "rlnRandomSubset", offset=1, default=None),
    Scalar("class", "rlnClassNumber", offset=1, default=None),
    Scalar("error", "cryosparcError"),
    Scalar("error_min", "cryosparcErrorMin"),
    Scalar("resid_pow", "cryosparcResidualPower"),
    Scalar("slice_pow", "cryosparcSlicePower"),
    Scalar("image_pow", "cryosparcImagePower"),
    Scalar("cross_cor", "cryosparcCrossCorrelation"),
    Scalar("alpha", "cryosparcAlpha", default=1.0),
    Scalar("alpha_min", "cryosparcAlphaMin"),
    Scalar("weight", "cryosparcWeight"),
    Scalar("pose_ess", "cryosparcPoseEss"),
    Scalar("shift_ess", "cryosparcShiftEss"),
    Scalar("class_posterior", "cryosparcClassPosterior", default=1.0),
    Scalar("class_ess", "cryosparcClassEss", default=1.0),
)
"""Fields of the alignment, of whatever name."""
OPTICS = (
    Scalar("ctf/accel_kv", "rlnVoltage"),
    Scalar("ctf/cs_mm", "rlnSphericalAberration"),
    Scalar("ctf/amp_contrast", "rlnAmplitudeContrast"),
    Scalar(PIXEL, "rlnImagePixelSize"),
)
NAMES = {
    IMAGE_NAME: PATH,
    **{s.label: s.field for s in (*CTF, *OPTICS)},
    "rlnMicrographName": MICROGRAPH,
    MICROGRAPH_PIXEL_LABEL: MICROGRAPH_PIXEL,
    TUBE: FILAMENT,
    "rlnImageSize": "blob/shape",
    SIGN_LABEL: "blob/sign",
    "rlnOpticsGroup": "ctf/exp_group_id",
    UID_LABEL: UID,
    SOURCE_UID_LABEL: SOURCE_UID,
    COPY_LABEL: COPY,
}
"""What the file calls each label that is not of the alignment."""
HELD = frozenset(
    [UID, PATH, INDEX, "blob/sign", "ctf/exp_group_id", "ctf/anisomag", MICROGRAPH, MICROGRAPH_PIXEL, FILAMENT]
    + [SHAPE, SOURCE_UID, COPY]
    + [s.field for s in CTF]
)
"""Fields that labels hold always, besides those of optics and the alignment."""
EXPANDED = {SOURCE_UID_LABEL: SOURCE_UID, COPY_LABEL: COPY}
NEUTRAL_TYPE = b"imported"
"""What ``ctf/type`` says where nothing is known."""


def lacking(names: Collection[str]) -> frozenset[str]:
    """What particles need and fields of these names do not give."""
    known = set(names)
    wanted = [PATH, INDEX, DEFOCUS, MICROGRAPH, *(s.field for s in OPTICS)]
    missing = {name for name in wanted if not known.intersection((name, *OLDER.get(name, ())))}
    return frozenset(missing if any(map(ANY_POSE.fullmatch, known)) else missing | {POSE})


@dataclass(frozen=True)
class Alignment:
    """The 3-D alignment of each particle, of one file: one, or that of its most probable class ``(n,)``."""

    fields: Fields
    prefixes: tuple[str, ...]
    best: Ints | None = None

    def has(self, name: str) -> bool:
        """Whether the alignment has the field."""
        return all(self.fields.has(f"{prefix}/{name}") for prefix in self.prefixes)

    def values(self, name: str, shape: tuple[int, ...] = ()) -> NDArray[Any]:
        """The field, ``(n, *shape)``."""
        columns = [f"{prefix}/{name}" for prefix in self.prefixes]
        if self.best is None:
            return self.fields.numbers(columns[0], shape)
        rows = np.arange(len(self.best))
        if len(columns) > 1:
            return np.stack([self.fields.numbers(column, shape) for column in columns], axis=1)[rows, self.best]
        stored = self.fields.values(columns[0]).shape[1:]
        if len(stored) == len(shape):
            return self.fields.numbers(columns[0], shape)
        values = self.fields.numbers(columns[0], (*stored[:1], *shape))
        if stored[0] <= self.best.max():
            raise self.fields.fault("lacks a class", columns[0])
        return values[rows, self.best]

    @property
    def shift_pixels(self) -> Floats | None:
        """Sizes of the pixels that shifts count in, Å ``(n,)``; None where the file does not say, or says 0."""
        if not self.has("psize_A"):
            return None
        size = self.values("psize_A")
        if not size.any():
            return None
        bad = np.flatnonzero(~(size > 0))
        if len(bad):
            raise self.fields.fault(f"{size[bad[0]]:g} is no pixel size", f"{self.prefixes[0]}/psize_A", int(bad[0]))
        return size

    @property
    def classes(self) -> Ints | None:
        """The number of each particle's class ``(n,)``, from 1, as the file counts them; None if there is one."""
        if self.best is None:
            return None
        if len(self.prefixes) > 1:
            numbers = np.array([int(prefix.rpartition("_")[2]) for prefix in self.prefixes], dtype=np.int64)
            return numbers[self.best] + 1
        field = f"{self.prefixes[0]}/class"
        if self.fields.has(field) and self.fields.values(field).ndim == 2:
            numbers = self.fields.integers(field, self.fields.values(field).shape[1:])
            if numbers.shape[1] <= self.best.max():
                raise self.fields.fault("lacks a class", field)
            return numbers[np.arange(len(numbers)), self.best] + 1
        return self.best + 1

    @property
    def field_names(self) -> frozenset[str]:
        """The fields of the file that labels hold."""
        names = [s.field for s in ALIGNED] + ["pose", "shift", "psize_A"]
        return frozenset(f"{prefix}/{name}" for prefix in self.prefixes for name in names if self.best is None)


def _label_names(prefix: str) -> dict[str, str]:
    """What the file calls each label of an alignment."""
    named = {**dict.fromkeys(ANGLES, "pose"), **dict.fromkeys((*ORIGINS, *ORIGINS_PIXEL), "shift")}
    return {label: f"{prefix}/{name}" for label, name in (named | {s.label: s.field for s in ALIGNED}).items()}


def find_alignment(fields: Fields) -> Alignment | None:
    """The 3-D alignment: the file's own before one that a passthrough file carries; None if there is none."""
    found = (_alignment_in(Fields((source,))) for source in fields.sources)
    return next((alignment for alignment in found if alignment is not None), None)


def _alignment_in(fields: Fields) -> Alignment | None:
    """The 3-D alignment in one file: of one map, of several at once, or of each of several classes.

    A refinement carries the classes of the jobs before it along, so that one map comes first.
    """
    if fields.has(POSE):
        return Alignment(fields, (ALIGNMENT,))
    posterior = f"{MULTI}/class_posterior"
    if fields.has(f"{MULTI}/pose"):
        if not fields.has(posterior):
            problem = "several alignments of each particle, and no probability of each"
            raise InputError(problem, file=fields.path, column=posterior, fix="Give the file of one class")
        shape = fields.values(posterior).shape[1:]
        if len(shape) != 1 or shape[0] == 0:
            raise fields.fault("holds no probability for each class", posterior)
        return Alignment(fields, (MULTI,), fields.numbers(posterior, shape).argmax(axis=1))
    found = {int(m[2]): m[1] for name in fields.names if (m := OF_CLASS.fullmatch(name))}
    prefixes = tuple(found[number] for number in sorted(found))
    if len(prefixes) < 2:
        return Alignment(fields, prefixes) if prefixes else None
    each = Alignment(fields, prefixes)
    if not each.has("class_posterior"):
        problem = f"several classes ({', '.join(prefixes)}) and no probability of each"
        raise InputError(problem, file=fields.path, fix="Give the file of one class")
    posteriors = [fields.numbers(f"{prefix}/class_posterior") for prefix in prefixes]
    return Alignment(fields, prefixes, np.argmax(np.stack(posteriors, axis=1), axis=1))


def read_cs(path: str | Path, passthrough: str | Path | None = None) -> StarTables:
    """Read the particles of a ``.cs`` file.

    Parameters
    ----------
    path : the file
    passthrough : the job's passthrough file; None looks for it in the folder, if fields are missing

    Raises
    ------
    InputError  if a file is missing or damaged.
    """
    return tables_of(read_fields(path, passthrough, lacking))


@np.errstate(invalid="ignore", over="ignore")
def tables_of(fields: Fields) -> StarTables:
    """The particles under RELION's labels; values that are not finite are refused where they are used."""
    ids = fields.values(UID).astype(np.uint64)
    alignment = find_alignment(fields)
    has_images = fields.has(PATH) and fields.has(INDEX)
    columns: dict[str, Any] = {IMAGE_NAME: _image_names(fields)} if has_images else {}
    _require_one_image(fields, ids, columns.get(IMAGE_NAME))
    columns |= _location(fields)
    group, optics = _optics(fields)
    columns["rlnOpticsGroup"] = group
    columns |= _scalars(CTF, fields.has, fields.numbers)
    if alignment is not None:
        columns |= _pose(alignment, fields)
        columns |= _scalars(ALIGNED, alignment.has, alignment.values)
        if alignment.classes is not None:
            columns["rlnClassNumber"] = alignment.classes
    columns |= {label: _counts(fields, name) for label, name in EXPANDED.items() if fields.has(name)}
    columns[UID_LABEL] = ids
    return StarTables(
        path=fields.path,
        particles=pd.DataFrame(columns),
        optics=optics,
        particle_block="data_particles",
        blocks=("data_optics", "data_particles"),
        notices=_notices(fields, alignment),
        lines=np.arange(1, len(fields) + 1),
        names=NAMES | _label_names(ALIGNMENT if alignment is None else alignment.prefixes[0]),
        ids=ids,
    )


def left_out(fields: Fields, alignment: Alignment | None) -> list[str]:
    """Fields that labels do not hold, and that say something."""
    held = HELD | {_named(fields, s.field) for s in OPTICS}
    held |= frozenset() if alignment is None else alignment.field_names
    held |= {"ctf/tilt_A"} if fields.has(_named(fields, "ctf/cs_mm")) else set()
    held |= set(CENTRES) if fields.has(SHAPE) else set()
    sides = fields.values("blob/shape") if fields.has("blob/shape") else None
    held |= {"blob/shape"} if sides is not None and np.array_equal(sides[:, 0], sides[:, 1]) else set()
    return [name for name in fields.names if name not in held and not _says_nothing(name, fields.values(name))]


def _says_nothing(name: str, values: NDArray[Any]) -> bool:
    """Whether a field of images or CTFs holds what stands for nothing: zeros, empty text, the type of imported CTFs."""
    if not name.startswith(("blob/", "ctf/")):
        return False
    if values.dtype.kind == "S":
        return bool(np.all((values == b"") | (values == (NEUTRAL_TYPE if name == "ctf/type" else b""))))
    return values.dtype.kind in "fiub" and not np.any(values != 0)


def _named(fields: Fields, field: str) -> str:
    """The field, or that of another version where the files have only this."""
    return next((name for name in (field, *OLDER.get(field, ())) if fields.has(name)), field)


def _counts(fields: Fields, name: str) -> NDArray[np.uint64]:
    """Numbers of particles, which need all of their 64 bits."""
    values = fields.values(name)
    if values.dtype.kind not in "ui" or values.ndim != 1:
        raise fields.fault(f"holds {values.dtype.name} where integers are expected", name)
    return values.astype(np.uint64)


def _notices(fields: Fields, alignment: Alignment | None) -> tuple[str, ...]:
    """What a user should know."""
    notices = [f"joined with {source.path.name} by uid" for source in fields.sources[1:]]
    if alignment is None and any(name.startswith("alignments2D/") for name in fields.names):
        notices.append("2-D alignments only: they give no poses")
    if alignment is not None:
        notices += _of_alignment(fields, alignment)
    if fields.has(SOURCE_UID):
        n = len(np.unique(fields.values(SOURCE_UID)))
        notices.append(f"symmetry-expanded: {len(fields):,} copies of {n:,} particles")
    unread = [f"ctf/{name}" for name in ("trefoil_A", "tetra_A", "shift_A")]
    unread += [] if fields.has(_named(fields, "ctf/cs_mm")) else ["ctf/tilt_A"]
    for field in unread:
        if fields.has(field) and not _says_nothing(field, fields.values(field)):
            notices.append(f"not read: {field}, a part of the aberrations that stays uncorrected")
    return tuple(notices)


def _of_alignment(fields: Fields, alignment: Alignment) -> list[str]:
    """Which alignment it is, and what was assumed of it."""
    notices = []
    prefix = alignment.prefixes[0]
    place = alignment.fields.path
    if place != fields.path:
        notices.append(f"the alignment {prefix} is that of {place.name}: the file itself has none in 3-D")
    named = [(m[1], s.path) for s in fields.sources for name in s.names if (m := ANY_POSE.fullmatch(name))]
    others = [f"{name} of {path.name}" for name, path in named if path != place or name not in alignment.prefixes]
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        notices.append(f"the alignment {prefix} of {place.name} is taken, not {others[0]}{more}")
    if alignment.best is not None:
        n = len(np.unique(alignment.best))
        notices.append(f"alignments to several classes: each of {n} keeps the particles that are most probably its own")
    if not alignment.has("shift"):
        notices.append(f"no shifts in {prefix}: they are taken to be 0")
    elif alignment.shift_pixels is None:
        pixels = f"pixels of the images ({PIXEL})" if fields.has(PIXEL) else "pixels of the images"
        lack = "with a psize_A of 0" if alignment.has("psize_A") else "without psize_A"
        notices.append(f"the shifts of {prefix} come {lack}: they are taken to be in {pixels}")
    return notices


def _require_one_image(fields: Fields, ids: NDArray[np.uint64], images: pd.Series | None) -> None:
    """Refuse a number that particles of several images have; copies of one image may share it."""
    again = pd.Series(ids).duplicated().to_numpy()
    if not again.any():
        return
    if images is not None:
        first = images.groupby(ids).transform("first")
        again = again & (images != first).to_numpy()
    if again.any():
        row = int(np.argmax(again))
        alone = len(ids) > 2 and (ids == ids[0]).all()
        fix = "Give each particle a number of its own: all have this" if alone else "Remove duplicates"
        raise InputError(f"{ids[row]} appears twice", file=fields.path, row=row + 1, column=UID, fix=fix)


def _image_names(fields: Fields) -> pd.Series:
    """``000001@path``, with the path as it starts at the project's directory."""
    paths = fields.texts(PATH)
    words = pc.utf8_ltrim(paths.dictionary, ">")
    number = fields.integers(INDEX) + 1
    bad = np.flatnonzero(number < 1)
    if len(bad):
        raise fields.fault(f"{number[bad[0]] - 1} is no image number", INDEX, int(bad[0]))
    padded = pc.utf8_lpad(pa.array(number).cast(pa.string()), 6, "0")
    names = pc.binary_join_element_wise(padded, words.take(paths.indices), "@")
    return pd.Series(names.to_numpy(zero_copy_only=False), dtype=object)


def _location(fields: Fields) -> dict[str, Any]:
    """Micrograph, coordinates in its pixels, counted from the first row and column of its file, and filament."""
    columns: dict[str, Any] = {}
    if fields.has(MICROGRAPH_PIXEL) and (size := _short(fields.numbers(MICROGRAPH_PIXEL))).any():
        columns[MICROGRAPH_PIXEL_LABEL] = size
    if fields.has(FILAMENT) and (number := _counts(fields, FILAMENT)).any():
        columns[TUBE] = pd.factorize(number)[0] + 1
    if fields.has(MICROGRAPH):
        words = fields.texts(MICROGRAPH)
        stripped = pa.DictionaryArray.from_arrays(words.indices, pc.utf8_ltrim(words.dictionary, ">"))
        columns["rlnMicrographName"] = stripped.to_numpy(zero_copy_only=False)
    if fields.has(SHAPE):
        sides = fields.integers(SHAPE, (2,))
        for label, axis, name in zip(COORDINATES, (1, 0), CENTRES, strict=True):
            if fields.has(name):
                columns[label] = np.round(fields.numbers(name).astype(np.float64) * sides[:, axis], 3)
        columns |= {label: sides[:, axis] for label, axis in zip(SIDES, (1, 0), strict=True)}
    return columns


def _scalars(scalars: tuple[Scalar, ...], has: Any, values: Any) -> dict[str, NDArray[Any]]:
    """Fields as labels; those that are the default throughout are left out."""
    columns: dict[str, NDArray[Any]] = {}
    for s in scalars:
        if not has(s.field):
            continue
        column = values(s.field)
        if s.default is not None and np.all(column == s.default):
            continue
        if s.offset:
            column = column.astype(np.int64 if column.dtype.kind in "iub" else np.float64) + s.offset
        columns[s.label] = column if s.scale == 1.0 else column.astype(np.float64) * s.scale
    return columns


def _pose(alignment: Alignment, fields: Fields) -> dict[str, NDArray[Any]]:
    """Euler angles in degrees, and origins in Å, or in pixels where nothing says how large these are."""
    pose = alignment.values("pose", (3,)).astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(pose).all(axis=1))
    if len(bad):
        problem = f"{pose[bad[0]]} is no rotation vector"
        raise alignment.fields.fault(problem, f"{alignment.prefixes[0]}/pose", int(bad[0]))
    angles = matrix_to_euler(Rotation.from_rotvec(-pose).as_matrix())
    columns = dict(zip(ANGLES, angles.T, strict=True))
    if not alignment.has("shift"):
        return columns
    shift = alignment.values("shift", (2,)).astype(np.float64)
    pixel = alignment.shift_pixels
    if pixel is None and fields.has(PIXEL):
        pixel = fields.numbers(PIXEL)
    if pixel is None:
        return columns | dict(zip(ORIGINS_PIXEL, shift.T, strict=True))
    return columns | dict(zip(ORIGINS, (shift * _short(pixel)[:, None]).T, strict=True))


def _optics(fields: Fields) -> tuple[Ints, pd.DataFrame]:
    """The optics group of each particle, from 1 in order of the exposure groups, and their table."""
    n = len(fields)
    exposure = "ctf/exp_group_id"
    number = fields.integers(exposure) if fields.has(exposure) else np.zeros(n, dtype=np.int64)
    known = {s.label: _named(fields, s.field) for s in OPTICS}
    columns: dict[str, Floats] = {k: _short(fields.numbers(name)) for k, name in known.items() if fields.has(name)}
    if fields.has("blob/shape"):
        columns["rlnImageSize"] = fields.numbers("blob/shape", (2,))[:, 1].astype(np.float64)
    if fields.has("blob/sign"):
        sign = fields.numbers("blob/sign").astype(np.float64)
        columns |= {SIGN_LABEL: sign} if np.any(sign != 1) else {}
    columns |= _tilt(fields, columns) | _magnification(fields)
    code = pd.factorize(number, sort=True)[0].astype(np.int64)
    for values in columns.values():
        part, found = pd.factorize(values)
        code = pd.factorize(code * (len(found) + 1) + part + 1, sort=True)[0].astype(np.int64)
    first = np.unique(code, return_index=True)[1]
    seen: dict[int, int] = {}
    names = []
    for group in number[first].tolist():
        seen[group] = seen.get(group, 0) + 1
        names.append(f"{GROUP_NAME}{group}" + (f"_{seen[group]}" if seen[group] > 1 else ""))
    table = pd.DataFrame(
        {
            "rlnOpticsGroup": np.arange(1, len(first) + 1),
            "rlnOpticsGroupName": names,
            "rlnImageDimensionality": 2,
            **{label: values[first] for label, values in columns.items()},
        }
    )
    for label in {"rlnImageSize", SIGN_LABEL} & set(columns):
        if np.isfinite(table[label]).all() and (np.abs(table[label]) < 2**31).all():
            table[label] = table[label].astype(int)
    return code + 1, table


def _tilt(fields: Fields, columns: dict[str, Floats]) -> dict[str, Floats]:
    """Beam tilt in mrad: the tilt in Å is its sine times Cs."""
    field = "ctf/tilt_A"
    cs = columns.get("rlnSphericalAberration")
    tilt = fields.numbers(field, (2,)).astype(np.float64) if fields.has(field) else np.zeros((len(fields), 2))
    if cs is None or not tilt.any():
        return {}
    with np.errstate(divide="ignore", invalid="ignore"):
        mrad = np.round(1e3 * np.arcsin(tilt / (1e7 * cs[:, None])), 9)
    bad = np.flatnonzero(~np.isfinite(mrad).all(axis=1))
    if len(bad):
        problem = f"{tilt[bad[0]]} Å is no beam tilt at a spherical aberration of {cs[bad[0]]:g} mm"
        raise InputError(problem, file=fields.path, row=int(bad[0]) + 1, column=field, fix="Correct the file")
    return {"rlnBeamTiltX": mrad[:, 0], "rlnBeamTiltY": mrad[:, 1]}


def _magnification(fields: Fields) -> dict[str, Floats]:
    """The magnification matrix; a field of zeros, or near them, is its difference from the identity."""
    field = "ctf/anisomag"
    matrix = fields.numbers(field, (4,)).astype(np.float64) if fields.has(field) else np.zeros((len(fields), 4))
    if not matrix.any():
        return {}
    difference = np.abs(matrix[:, [0, 3]]).max(axis=1) < 0.5
    matrix = matrix + np.where(difference[:, None], np.array([1.0, 0.0, 0.0, 1.0]), 0.0)
    return {f"rlnMagMat{i}": np.round(matrix[:, k], 9) for k, i in enumerate(("00", "01", "10", "11"))}


def _short(values: NDArray[Any]) -> Floats:
    """Single-precision numbers as the shortest decimals that are them: 2.95, not 2.9500000477."""
    code, found = pd.factorize((values.astype(np.int8) if values.dtype.kind == "b" else values).ravel())
    numbers = np.array([float(str(v)) for v in found] or [np.nan], dtype=np.float64)
    return np.where(code < 0, np.nan, numbers[code]).reshape(values.shape)


def filter_cs(
    parent: str | Path,
    keep: Bools,
    out: str | Path,
    root: str | None = None,
    half: Ints | None = None,
    bfactor_angstrom2: Floats | None = None,
    scale: Floats | None = None,
) -> None:
    """Write the rows of ``parent`` that ``keep`` ``(n,)`` says with all their fields, and their result group.

    The group names ``root``, the directory that image paths start from. ``half`` is the half set, 1 or 2, of each row
    that is kept, ``bfactor_angstrom2`` and ``scale`` are those of its CTF, where these are not those of ``parent``.
    """
    records = read_records(parent)
    if len(keep) != len(records):
        problem = f"has {len(records)} particles where {len(keep)} are expected"
        raise InputError(problem, file=parent, fix="The file has changed: run the workflow from the start")
    kept = records[np.asarray(keep, dtype=bool)]
    kept = kept if half is None else _with_split(kept, half, Path(parent))
    envelopes = {"ctf/bfactor": bfactor_angstrom2, "ctf/scale": scale}
    if given := {field: values for field, values in envelopes.items() if values is not None}:
        kept = _with_fields(kept, given, "<f4")
    write_records(out, kept)
    write_group(out, root, parent, origin_of(parent))


def origin_of(path: str | Path) -> str | None:
    """The file beside which the passthrough files of particles lie; None if they need none."""
    return recorded_origin(path) or (str(path) if lacking(read_shape(path)[1]) else None)


def _with_split(records: Records, half: Ints, parent: Path) -> Records:
    """The rows with their half sets in every alignment that they have."""
    alignment = find_alignment(Fields((Source(parent, records),)))
    if alignment is None:
        log.warning("%s holds no alignments: the half sets made here stay in particles.parquet", parent)
        return records
    return _with_fields(records, {f"{prefix}/split": half - 1 for prefix in alignment.prefixes}, "<u4")


def _with_fields(records: Records, values: Mapping[str, NDArray[Any]], kind: str) -> Records:
    """The rows with values ``(n,)`` in place of those of fields, or in fields that are added, of the given type."""
    known = records.dtype.names or ()
    fields = [(name, records.dtype[name]) for name in known]
    made = np.empty(len(records), [*fields, *((name, np.dtype(kind)) for name in values if name not in known)])
    for name in known:
        made[name] = records[name]
    for name, column in values.items():
        made[name] = column.reshape(-1, *(1,) * (made[name].ndim - 1))
    return made
