"""The columns of a log that the analysis reads."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from cryocore.errors import InputError
from cryocore.geometry.rotations import quaternion_to_matrix
from cryocore.log.names import SCORES, lower_is_better
from cryocore.log.rounds import LogRound, find_rounds, wanted_round
from cryocore.tables.io import read_table
from cryocore.types import Floats, Ints

DEFAULT_LOSSES = ("z", "ncc", "l2_loss")
"""The loss that is analysed unless another is named: the first that the log has."""
EXPECTED_OF = {"zc": "expected_zc"}
"""The square root of the projection energy that goes with a score, where it is not ``expected_z``."""


@dataclass(frozen=True)
class LossColumns:
    """What is known of n particles in one round; None for what the log does not say.

    ``loss`` ``(n,)`` : as in the log, all finite; ``name`` says which
    ``ids`` ``(n,)`` : stable ids
    ``rotations`` ``(n, 3, 3)`` : object to image
    ``expected`` ``(n,)`` : square root of the projection energy over the noise
    ``defocus_angstrom`` ``(n,)`` : mean of both axes
    ``micrograph`` ``(n,)`` : codes from 0
    ``image_energy`` ``(n,)`` : image power, all bands
    ``flags`` ``(n,)`` : 1 correct, 0 incorrect, -1 unknown
    ``n_left_out`` : particles of the log without a finite loss or pose
    """

    name: str
    loss: Floats
    ids: NDArray[np.uint64]
    rotations: Floats | None = None
    expected: Floats | None = None
    defocus_angstrom: Floats | None = None
    micrograph: Ints | None = None
    image_energy: Floats | None = None
    flags: NDArray[np.int8] | None = None
    symmetry: str = "C1"
    round: int = 0
    n_left_out: int = 0

    def __len__(self) -> int:
        return len(self.loss)

    @property
    def views(self) -> Floats | None:
        """Viewing directions in the object's frame, ``(n, 3)``."""
        return None if self.rotations is None else self.rotations[:, 2]

    @property
    def score(self) -> Floats:
        """The loss with its sign chosen so that higher is better, ``(n,)``."""
        return -self.loss if lower_is_better(self.name) else self.loss

    def take(self, rows: NDArray[np.integer[Any]] | NDArray[np.bool_]) -> LossColumns:
        """The columns of some particles."""
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        taken: dict[str, Any] = {k: v[rows] for k, v in values.items() if isinstance(v, np.ndarray)}
        return replace(self, **taken)


def read_columns(source: str | Path, *, loss: str | None = None, round_number: int | None = None) -> LossColumns:
    """Read one round of a run's directory, of its log or of a single ``log.parquet``; the last unless one is named.

    Raises
    ------
    InputError  if there is no log, no such round or no such loss.
    """
    wanted = "last" if round_number is None else str(round_number)
    log = wanted_round(find_rounds(Path(source)), wanted)
    chosen = loss or next((name for name in DEFAULT_LOSSES if _floats(log, name) is not None), None)
    values = None if chosen is None else _floats(log, chosen)
    if chosen is None or values is None:
        known = ", ".join(name for name in SCORES if name in log.columns) or "none"
        problem = "the log has no loss" if chosen is None else f"the log has no values of {chosen!r}"
        raise InputError(problem, file=log.path, fix=f"Name a column with values; scores of this log: {known}")
    u, v = (_floats(log, f"defocus_{axis}_angstrom") for axis in "uv")
    micrograph = log.labels("micrograph")
    flags = log.flags()
    columns = LossColumns(
        name=chosen,
        loss=values,
        ids=log.read(["particle_id"])["particle_id"],
        rotations=_rotations(log),
        expected=_floats(log, EXPECTED_OF.get(chosen, "expected_z")),
        defocus_angstrom=None if u is None or v is None else 0.5 * (u + v),
        micrograph=None if micrograph is None else _by_name(*micrograph),
        image_energy=_image_energy(log),
        flags=flags if (flags >= 0).any() else None,
        symmetry=log.symmetry,
        round=log.number,
    )
    usable = np.isfinite(columns.loss)
    for known_values in (columns.expected, columns.defocus_angstrom, columns.image_energy):
        usable &= True if known_values is None else np.isfinite(known_values)
    if not usable.any():
        raise InputError(f"no particle has a finite {chosen}", column=chosen, fix="Name another column")
    return replace(columns.take(np.flatnonzero(usable)), n_left_out=int(np.count_nonzero(~usable)))


def _floats(log: LogRound, name: str) -> Floats | None:
    """A column of numbers ``(n,)``; None where none of them is finite."""
    values = log.column(name)
    if values is None or values.dtype.kind != "f" or not np.isfinite(values).any():
        return None
    return np.asarray(values, dtype=np.float64)


def _rotations(log: LogRound) -> Floats | None:
    quaternions = [_floats(log, f"quat_{c}") for c in "wxyz"]
    known = [q for q in quaternions if q is not None and np.isfinite(q).all()]
    return quaternion_to_matrix(np.stack(known, axis=1)) if len(known) == 4 else None


def _by_name(codes: NDArray[np.int32], names: list[str]) -> Ints:
    """Codes in the order of the names, which does not depend on the order of rows."""
    return np.asarray(np.argsort(np.argsort(np.array(names)))[codes], dtype=np.int64)


def _image_energy(log: LogRound) -> Floats | None:
    if "image_power" not in log.columns:
        return None
    column = read_table(log.path, ["image_power"]).column(0)
    if column.null_count or not len(column):
        return None
    flat = pc.list_flatten(column).to_numpy()
    return np.asarray(flat.reshape(len(column), -1).sum(axis=1, dtype=np.float64)) if flat.size else None
