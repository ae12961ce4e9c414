"""The particles of a data set and their optics groups. All frozen.

A table of particles has one row per particle, in the order of the file it came from, and that order
never changes. Every table that a later stage writes has the same rows in the same order and carries
``particle_id``; :func:`require_same_particles` is the check on each input.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cryocore.errors import InputError
from cryocore.geometry.rotations import quaternion_to_matrix
from cryocore.tables.io import (
    AGAIN,
    as_numpy,
    conforming,
    read_schema,
    read_table,
    refuse_rows,
    table_metadata,
    write_table,
)
from cryocore.tables.shards import WHOLE, Shard
from cryocore.types import Floats, Floats32

Ints = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Optics:
    """What all particles of one optics group share; ``image_sign`` is -1 where the files show protein dark."""

    name: str
    box: int
    pixel_size_angstrom: float
    voltage_kv: float
    cs_mm: float
    amplitude_contrast: float
    beam_tilt_mrad: tuple[float, float] = (0.0, 0.0)
    odd_zernike: tuple[float, ...] = ()
    even_zernike: tuple[float, ...] = ()
    magnification: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 1.0)
    premultiplied: bool = False
    phase_flipped: bool = False
    image_sign: int = 1

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of ``dataclasses.asdict`` after a trip through JSON; ValueError if these are no optics."""
        try:
            plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
            made = cls(**plain)
            valid = made.box >= 2 and 0 < made.pixel_size_angstrom < math.inf
        except (TypeError, AttributeError):
            valid = False
        if not valid:
            raise ValueError(f"{values!r:.80} is no optics group")
        return made


PARTICLES_SCHEMA = pa.schema(
    [
        ("particle_id", pa.uint64()),
        ("source_row", pa.int64()),
        ("stack", pa.dictionary(pa.int32(), pa.string())),
        ("slice", pa.int32()),
        ("micrograph", pa.dictionary(pa.int32(), pa.string())),
        ("optics_group", pa.int32()),
        ("half", pa.int8()),
        ("quat_w", pa.float64()),
        ("quat_x", pa.float64()),
        ("quat_y", pa.float64()),
        ("quat_z", pa.float64()),
        ("shift_x_angstrom", pa.float64()),
        ("shift_y_angstrom", pa.float64()),
        ("defocus_u_angstrom", pa.float32()),
        ("defocus_v_angstrom", pa.float32()),
        ("defocus_angle_deg", pa.float32()),
        ("phase_shift_deg", pa.float32()),
        ("ctf_bfactor", pa.float32()),
        ("ctf_scale", pa.float32()),
    ]
)
"""``source_row`` counts data rows of the parent file from 0; ``slice`` counts images of the stack from 0;
``optics_group`` indexes the list of :class:`Optics` in the metadata; ``half`` is 1 or 2."""


GIVEN_SCORES = {
    "rlnMaxValueProbDistribution": "given_max_probability",
    "rlnLogLikeliContribution": "given_log_likelihood",
    "cryosparcError": "given_error_loss",
    "cryosparcAlpha": "given_alpha",
    "cryosparcCrossCorrelation": "given_cross_correlation",
    "thunderScore": "given_score",
}
"""What a file of particles says of how well they fit, and the columns that hold it: scores to compare with."""


IMAGE = "image_id"
"""The column of images' ids, in data sets in which particles share images: that of the first particle of each."""


def particles_schema(names: Iterable[str]) -> pa.Schema:
    """That of a table of particles with some of the given scores, and with the ids of images where it has them."""
    known = set(names)
    given = [name for name in GIVEN_SCORES.values() if name in known]
    images = [(IMAGE, pa.uint64())] if IMAGE in known else []
    return pa.schema([*PARTICLES_SCHEMA, *images, *((name, pa.float32()) for name in given)])


@dataclass(frozen=True)
class Particles:
    """The data set: one row per particle, its optics groups, its STAR file and the root of image paths.

    ``halves_made`` says that the half sets are not those of the file, ``ids_made`` that ids are not, since it gives
    copies of an image one; ``n_parent`` how many particles it has, where not all of them are read.
    """

    table: pa.Table
    optics: tuple[Optics, ...]
    parent: str = ""
    root: str = "."
    halves_made: bool = False
    n_parent: int | None = None
    ids_made: bool = False

    def __post_init__(self) -> None:
        if self.table.schema.names != particles_schema(self.table.schema.names).names:
            raise ValueError(f"particles need the columns {PARTICLES_SCHEMA.names}; got {self.table.schema.names}")

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def column(self, name: str) -> NDArray[Any]:
        """One column as a NumPy array (strings as objects)."""
        return self.table.column(name).to_numpy()

    def codes(self, name: str) -> tuple[NDArray[np.int64], list[str]]:
        """A column of texts as numbers ``(n,)``, and the text of each."""
        column = self.table.column(name)
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        column = column.unify_dictionaries().combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = column.chunk(0) if column.num_chunks else pa.array([], pa.string()).dictionary_encode()
        return column.indices.to_numpy(zero_copy_only=False).astype(np.int64), column.dictionary.to_pylist()

    @property
    def ids(self) -> NDArray[np.uint64]:
        """Stable particle ids, ``(n,)``."""
        return self.column("particle_id")

    @property
    def parent_rows(self) -> int:
        """How many particles the parent file has."""
        return len(self) if self.n_parent is None else self.n_parent

    @property
    def has_copies(self) -> bool:
        """Whether particles share images, as those of a symmetry-expanded set do."""
        return IMAGE in self.table.schema.names

    @property
    def images(self) -> NDArray[np.uint64]:
        """The id of the first particle that has the image of each, ``(n,)``: copies of an image share it."""
        return self.column(IMAGE if self.has_copies else "particle_id")

    @property
    def quaternions(self) -> Floats:
        """Poses as (w, x, y, z), ``(n, 4)``."""
        return quaternions_of(self.table)

    @property
    def rotations(self) -> Floats:
        """Object-to-image matrices, ``(n, 3, 3)``."""
        return quaternion_to_matrix(self.quaternions)

    @property
    def shifts_angstrom(self) -> Floats:
        """Translations that centre the images, ``(n, 2)`` as (x, y)."""
        return np.stack([self.column("shift_x_angstrom"), self.column("shift_y_angstrom")], axis=1)

    @property
    def reference_optics(self) -> Optics:
        """The first optics group: its box and pixel size are those of the maps."""
        return self.optics[0]

    def take(self, rows: Ints) -> Particles:
        """The particles of the given rows, in that order."""
        return replace(self, table=self.table.take(pa.array(rows)))

    def with_quality(self, subset: str | Path | None, shard: Shard = WHOLE) -> Particles:
        """The particles of a shard with the envelopes that a subset gives them in their CTFs."""
        return self.with_envelopes(read_quality(subset, self, shard))

    def with_envelopes(self, found: Mapping[str, Floats32]) -> Particles:
        """The particles with those of the columns ``QUALITY`` that are found, each ``(n,)``, in their CTFs: B-factors
        added, scales multiplied."""
        return self.with_columns(self.total_envelopes(found))

    def with_columns(self, columns: Mapping[str, NDArray[Any]]) -> Particles:
        """The particles with other values ``(n,)`` of some columns, of the columns' types."""
        table = self.table
        for name, values in columns.items():
            at = table.schema.get_field_index(name)
            table = table.set_column(at, table.schema.field(at), pa.array(values))
        return replace(self, table=table)

    def total_envelopes(self, found: Mapping[str, Floats32]) -> dict[str, Floats32]:
        """:func:`total_envelopes` of the particles' own CTFs and what is found."""
        return total_envelopes({name: self.column(name) for name in ENVELOPE}, found)

    def write(self, path: str | Path) -> None:
        """Write ``particles.parquet``."""
        write_table(
            path,
            self.table.cast(particles_schema(self.table.schema.names)),
            optics=[asdict(o) for o in self.optics],
            parent=self.parent,
            root=self.root,
            halves_made=self.halves_made,
            n_parent=self.n_parent,
            ids_made=self.ids_made,
        )

    @classmethod
    def read(cls, path: str | Path, shard: Shard = WHOLE) -> Particles:
        """Read what :meth:`write` wrote, or a part of it."""
        found = read_table(path, shard=shard)
        meta = table_metadata(found.schema)
        fix = "Give the particles.parquet of a run"
        try:
            optics = tuple(map(Optics.from_dict, meta["optics"]))
            parent, root, made = str(meta["parent"]), str(meta["root"]), bool(meta["halves_made"])
            n_parent = None if meta["n_parent"] is None else int(meta["n_parent"])
            ids_made = bool(meta["ids_made"])
        except (KeyError, TypeError, ValueError):
            raise InputError("not a table of particles", file=path, fix=fix) from None
        table = conforming(found, particles_schema(found.schema.names), file=path, fix=fix)
        if not len(table):
            fix = AGAIN if shard == WHOLE else "There are more shards than particles: lower n_shards"
            raise InputError("it has no particles" if shard == WHOLE else "a shard is empty", file=path, fix=fix)
        _check_particles(table, len(optics), path)
        return cls(table, optics, parent, root, made, n_parent, ids_made)


def quaternions_of(table: pa.Table) -> Floats:
    """The poses of a table of particles as (w, x, y, z), ``(n, 4)``."""
    return np.stack([table.column(f"quat_{c}").to_numpy() for c in "wxyz"], axis=1)


def read_quaternions(path: str | Path) -> Floats:
    """The poses of all particles of a data set, ``(n, 4)``, and nothing else of them."""
    return quaternions_of(read_table(path, [f"quat_{c}" for c in "wxyz"]))


def _check_particles(table: pa.Table, n_optics: int, path: str | Path) -> None:
    """Refuse values that no stage writes."""
    for name in (f.name for f in PARTICLES_SCHEMA if pa.types.is_floating(f.type)):
        values = as_numpy(table.column(name))
        refuse_rows(~np.isfinite(values), values, name, "is not finite", file=path)
    half, group, image = (as_numpy(table.column(name)) for name in ("half", "optics_group", "slice"))
    refuse_rows((half != 1) & (half != 2), half, "half", "is not a half set, 1 or 2", file=path)
    fault = f"is not one of the {n_optics} optics groups"
    refuse_rows((group < 0) | (group >= n_optics), group, "optics_group", fault, file=path)
    refuse_rows(image < 0, image, "slice", "is not an image of a stack", file=path)
    norm = sum(np.square(as_numpy(table.column(f"quat_{c}"))) for c in "wxyz")
    refuse_rows(~(np.abs(norm - 1.0) < 1e-3), norm, "quat_w", "is not the norm of a unit quaternion", file=path)


WEIGHTS_SCHEMA = pa.schema([("particle_id", pa.uint64()), ("weight", pa.float32())])
"""What every subset of the particles has."""


def read_weights(subset: str | Path | None, particles: Particles, shard: Shard = WHOLE) -> Floats32:
    """Weight of every particle in a round's map, ``(n,)``, from its subset; 1 for all where there is none.

    ``particles`` are those of the shard.
    """
    return read_subset(subset, particles, shard)[0]


def read_subset(
    subset: str | Path | None, particles: Particles, shard: Shard = WHOLE
) -> tuple[Floats32, NDArray[np.bool_]]:
    """Weight of every particle in a round's map, and whether it is selected, ``(n,)``; all of both without a subset.

    ``particles`` are those of the shard. In a table that does not say what is selected it is what has a weight.
    """
    if subset is None:
        return np.ones(len(particles), dtype=np.float32), np.ones(len(particles), dtype=bool)
    tells = "selected" in read_schema(subset).names
    schema = WEIGHTS_SCHEMA.append(pa.field("selected", pa.bool_())) if tells else WEIGHTS_SCHEMA
    table = conforming(read_table(subset, schema.names, shard=shard), schema, file=subset)
    require_same_particles(as_numpy(table.column("particle_id")), particles.ids, file=subset)
    weights = as_numpy(table.column("weight"))
    refuse_rows(~((weights >= 0) & (weights < np.inf)), weights, "weight", "is not a weight", file=subset)
    return np.asarray(weights, dtype=np.float32), as_numpy(table.column("selected")) if tells else weights > 0


UNCHANGED_SINCE = "unchanged_since"
"""Key of a subset's metadata: the round whose weights it has, where the new ones hardly differ."""


def unchanged_since(subset: str | Path | None) -> int | None:
    """The round whose particles a subset has unchanged, with weights and envelopes; None: they are its own."""
    if subset is None:
        return None
    found = table_metadata(read_schema(subset)).get(UNCHANGED_SINCE)
    return None if found is None else int(found)


QUALITY = BFACTOR, BFACTOR_SD, SCALE, SCALE_SD = "bfactor_angstrom2", "bfactor_sd_angstrom2", "scale", "scale_sd"
"""Columns of a subset of particles of unequal quality: the B-factor of each beside that of its file in Å², and its
scale beside that of its file, with their standard deviations."""


ENVELOPE = ("ctf_bfactor", "ctf_scale")
"""Columns of a table of particles by which their signal falls off: the B-factor in Å² and the scale of their CTF."""


def total_envelopes(own: Mapping[str, Floats32], found: Mapping[str, Floats32]) -> dict[str, Floats32]:
    """Columns ``ENVELOPE``, each ``(n,)``, of CTFs that have their ``own``, with those of the columns ``QUALITY`` that
    are found in them; what is not found is left out."""
    total = {}
    if BFACTOR in found:
        total["ctf_bfactor"] = own["ctf_bfactor"] + found[BFACTOR]
    if SCALE in found:
        total["ctf_scale"] = own["ctf_scale"] * found[SCALE]
    return total


def read_quality(subset: str | Path | None, particles: Particles, shard: Shard = WHOLE) -> dict[str, Floats32]:
    """Those of the columns ``QUALITY`` that a subset gives the particles of a shard, ``(n,)`` each."""
    there = () if subset is None else read_schema(subset).names
    names = [name for name in QUALITY if name in there]
    if subset is None or not names:
        return {}
    schema = pa.schema([("particle_id", pa.uint64()), *((name, pa.float32()) for name in names)])
    table = conforming(read_table(subset, schema.names, shard=shard), schema, file=subset)
    require_same_particles(as_numpy(table.column("particle_id")), particles.ids, file=subset)
    found = {name: np.asarray(as_numpy(table.column(name)), dtype=np.float32) for name in names}
    for name, values in found.items():
        wrong = ~np.isfinite(values) | ((name == SCALE) & (values <= 0.0))
        refuse_rows(wrong, values, name, "is no scale" if name == SCALE else "is no B-factor", file=subset)
    return found


def read_reasons(subset: str | Path | None, n: int, shard: Shard = WHOLE) -> pa.ChunkedArray:
    """Why each of the ``n`` particles of a shard is not selected, or is although its scores speak against it; null
    where nothing is said."""
    kind = pa.dictionary(pa.int8(), pa.string())
    if subset is None or "reason" not in read_schema(subset).names:
        return pa.chunked_array([pa.nulls(n, kind)])
    return read_table(subset, ["reason"], shard=shard).column(0).cast(kind)


def require_same_particles(
    ids: NDArray[np.uint64],
    expected: NDArray[np.uint64],
    *,
    file: str | Path,
    fix: str = AGAIN,
) -> None:
    """Refuse a table whose rows are not those of the data set, in the same order."""
    if not np.array_equal(ids, expected):
        raise InputError(
            f"its {len(ids)} rows are not the {len(expected)} particles of this data set in the same order",
            file=file,
            column="particle_id",
            fix=fix,
        )
