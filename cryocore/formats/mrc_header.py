"""The header of MRC files, of stacks and volumes alike: byte order, kind of numbers, sides, axes and place."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE

from cryocore.errors import InputError
from cryocore.formats.foreign import identify

HEADER_BYTES = 1024
MAX_SIDE = 1 << 15
MODES: dict[int, str] = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
NOT_READ = {3: "complex integers", 4: "complex numbers", 16: "colours", 17: "colours", 101: "4-bit numbers"}
SERIES = range(401, 631)
"""Space groups of several volumes in one file."""

LAYOUT = "10i 6f 3i 3f 2i 56x 2i 36x 3f 4x 4x 4x i 80s"
NAMES = (
    *("nx", "ny", "nz", "mode", "nxstart", "nystart", "nzstart", "mx", "my", "mz"),
    *("cell_x", "cell_y", "cell_z", "alpha", "beta", "gamma"),
    *("mapc", "mapr", "maps", "dmin", "dmax", "dmean", "ispg", "nsymbt"),
    *("imod_stamp", "imod_flags", "origin_x", "origin_y", "origin_z", "nlabl", "label"),
)
"""The fields that are read, and where they are in the first 304 bytes."""
STAMP, BIG_ENDIAN = slice(212, 214), b"\x11\x11"

IMOD_STAMP = 1146047817
SIGNED_BYTES, HALF_BYTES = 1, 16
"""Bits of IMOD's flags: bytes are signed; every byte holds two numbers."""


@dataclass(frozen=True)
class MrcHeader:
    """What an MRC header says; ``columns``, ``rows`` and ``sections`` are the sides as they are stored.

    ``dtype`` : of the numbers, with their byte order
    ``offset`` : byte of the first number
    ``axes`` : which axis (1 x, 2 y, 3 z) columns, rows and sections run along; (0, 0, 0) where the header has none
    ``voxel_angstrom`` : (x, y, z), of whatever the header holds: 0, negative or not finite where it states none
    ``start`` : number of the first column, row and section
    ``origin_angstrom`` : (x, y, z)
    ``is_series`` : whether the sections are those of several volumes
    ``label`` : the only one, or the first of several and then empty
    """

    columns: int
    rows: int
    sections: int
    dtype: np.dtype[Any]
    offset: int
    axes: tuple[int, int, int]
    voxel_angstrom: tuple[float, float, float]
    start: tuple[int, int, int]
    origin_angstrom: tuple[float, float, float]
    is_series: bool
    label: bytes

    @property
    def n_bytes(self) -> int:
        """Of the whole file, at least."""
        return self.offset + self.columns * self.rows * self.sections * self.dtype.itemsize


def parse_header(raw: bytes, path: Path, what: str) -> MrcHeader:
    """The header in the byte order that makes sense of it.

    A machine stamp that is missing or wrong is put right by looking at the mode and the sides; voxel size, space group
    and map identifier may be anything. Bytes are signed, but where IMOD's stamp or a maximum beyond 127 says otherwise.

    Parameters
    ----------
    raw : the first 1024 bytes of the file
    what : stack or map, for messages

    Raises
    ------
    InputError  naming what the file is instead, or the mode, if it is not 0, 1, 2, 6 or 12.
    """
    order, fields = _best_reading(raw, path, what)
    mode, flags = fields["mode"], _imod_flags(fields)
    if mode == 0 and flags & HALF_BYTES:
        mode = 101
    if mode not in MODES:
        known = f" ({NOT_READ[mode]})" if mode in NOT_READ else ""
        readable = ", ".join(map(str, MODES))
        raise InputError(
            f"not a readable MRC {what}: mode {mode} is not one of {readable}{known}; {_size(fields)}",
            file=path,
            fix="Write it as numbers of 32 bits (mode 2), as IMOD's newstack -mode 2 does",
        )
    kind = "u1" if mode == 0 and _are_unsigned(fields, flags) else MODES[mode]
    columns, rows, sections = _triple(fields, ("nx", "ny", "nz"))
    return MrcHeader(
        columns=columns,
        rows=rows,
        sections=sections,
        dtype=np.dtype(order + kind),
        offset=HEADER_BYTES + fields["nsymbt"],
        axes=_triple(fields, ("mapc", "mapr", "maps")),
        voxel_angstrom=_voxel(fields),
        start=_triple(fields, ("nxstart", "nystart", "nzstart")),
        origin_angstrom=(fields["origin_x"], fields["origin_y"], fields["origin_z"]),
        is_series=fields["ispg"] in SERIES and fields["mz"] != sections,
        label=fields["label"].rstrip(b" \0") if fields["nlabl"] == 1 else b"",
    )


def new_header(shape: tuple[int, ...], dtype: np.dtype[Any], pixel_size_angstrom: float, *, is_stack: bool) -> Any:
    """The fields of a header ``(sections, rows, columns)``, as RELION writes them, without statistics and labels."""
    header = np.zeros((), dtype=HEADER_DTYPE.newbyteorder("<"))
    nz, ny, nx = shape
    depth = 1 if is_stack else nz
    header["nx"], header["ny"], header["nz"] = nx, ny, nz
    header["mode"] = next(mode for mode, kind in MODES.items() if np.dtype(kind) == dtype)
    header["mx"], header["my"], header["mz"] = nx, ny, depth
    for axis, n in (("x", nx), ("y", ny), ("z", depth)):
        header["cella"][axis] = n * pixel_size_angstrom
    for angle in ("alpha", "beta", "gamma"):
        header["cellb"][angle] = 90.0
    header["mapc"], header["mapr"], header["maps"] = 1, 2, 3
    header["ispg"] = 0 if is_stack else 1
    header["nversion"] = 20141
    header["map"] = b"MAP "
    header["machst"] = (0x44, 0x44, 0, 0)
    return header


def _best_reading(raw: bytes, path: Path, what: str) -> tuple[str, dict[str, Any]]:
    """Byte order and fields: as the machine stamp says, or the other way if only that makes sense."""
    if len(raw) < HEADER_BYTES:
        raise _foreign(raw, path, what) or InputError(
            f"not an MRC {what}: it has {len(raw)} bytes", file=path, fix="Copy or write it again"
        )
    orders = "><" if raw[STAMP] == BIG_ENDIAN else "<>"
    stamped = _fields(raw, orders[0])
    if _is_sensible(stamped):
        return orders[0], stamped
    other = _fields(raw, orders[1])
    if not _is_sensible(other):
        raise _foreign(raw, path, what) or InputError(
            f"not a readable MRC {what}: mode {stamped['mode']}, {_size(stamped)}",
            file=path,
            fix=f"Give an MRC {what} of mode {', '.join(map(str, MODES))}",
        )
    return orders[1], other


def _fields(raw: bytes, order: str) -> dict[str, Any]:
    return dict(zip(NAMES, struct.unpack_from(order + LAYOUT, raw), strict=True))


def _foreign(raw: bytes, path: Path, what: str) -> InputError | None:
    found = identify(path, raw, but="mrc")
    return None if found is None else InputError(f"not an MRC {what}: it is {found.name}", file=path, fix=found.fix)


def _is_sensible(fields: dict[str, Any]) -> bool:
    return (
        fields["mode"] in (*MODES, *NOT_READ)
        and 0 < fields["nx"] <= MAX_SIDE
        and 0 < fields["ny"] <= MAX_SIDE
        and fields["nz"] > 0
        and fields["nsymbt"] >= 0
    )


def _size(fields: dict[str, Any]) -> str:
    return f"the header gives the size {fields['nx']} x {fields['ny']} x {fields['nz']}"


def _imod_flags(fields: dict[str, Any]) -> int:
    """IMOD's flags; those of plain MRC files, in which bytes are signed, where its stamp is missing."""
    return int(fields["imod_flags"]) if fields["imod_stamp"] == IMOD_STAMP else SIGNED_BYTES


def _are_unsigned(fields: dict[str, Any], flags: int) -> bool:
    """Whether bytes are, which older programs wrote without a stamp: no signed one is larger than 127."""
    return not flags & SIGNED_BYTES or (fields["dmin"] >= 0 and 127 < fields["dmax"] <= 255)


def _triple(fields: dict[str, Any], names: tuple[str, str, str]) -> tuple[int, int, int]:
    first, second, third = (fields[name] for name in names)
    return first, second, third


def _voxel(fields: dict[str, Any]) -> tuple[float, float, float]:
    """Cell over intervals; where a volume is flagged as images, one section deep, its sections count."""
    cell, intervals = [fields[f"cell_{axis}"] for axis in "xyz"], [fields[f"m{axis}"] for axis in "xyz"]
    x, y, z = (c / m if m > 0 else math.nan for c, m in zip(cell, intervals, strict=True))
    deep = cell[2] / fields["nz"]
    return x, y, deep if intervals[2] == 1 and math.isclose(deep, x, rel_tol=0.01) else z
