"""The header of MRC files, of stacks and volumes alike: byte order, kind of numbers, sides, axes and place."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE
from mrcfile.utils import byte_order_from_machine_stamp

from cryocore.errors import InputError
from cryocore.formats.foreign import identify

HEADER_BYTES = 1024
MAX_SIDE = 1 << 15
MODES: dict[int, str] = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
NOT_READ = {3: "complex integers", 4: "complex numbers", 16: "colours", 17: "colours", 101: "4-bit numbers"}
SERIES = range(401, 631)
"""Space groups of several volumes in one file."""

IMOD_STAMP = 1146047817
IMOD_WORDS = slice(152, 160)
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
    mode, flags = int(fields["mode"]), _imod_flags(raw, order)
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
        offset=HEADER_BYTES + int(fields["nsymbt"]),
        axes=_triple(fields, ("mapc", "mapr", "maps")),
        voxel_angstrom=_voxel(fields),
        start=_triple(fields, ("nxstart", "nystart", "nzstart")),
        origin_angstrom=(float(fields["origin"]["x"]), float(fields["origin"]["y"]), float(fields["origin"]["z"])),
        is_series=int(fields["ispg"]) in SERIES and int(fields["mz"]) != sections,
        label=bytes(fields["label"][0]).rstrip() if int(fields["nlabl"]) == 1 else b"",
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


def _best_reading(raw: bytes, path: Path, what: str) -> tuple[str, Any]:
    """Byte order and fields: as the machine stamp says, or the other way if only that makes sense."""
    if len(raw) < HEADER_BYTES:
        raise _foreign(raw, path, what) or InputError(
            f"not an MRC {what}: it has {len(raw)} bytes", file=path, fix="Copy or write it again"
        )
    try:
        stamped = byte_order_from_machine_stamp(np.frombuffer(raw, dtype=HEADER_DTYPE)[0]["machst"])
    except ValueError:
        stamped = "<"
    orders = (stamped, ">" if stamped == "<" else "<")
    readings = [(o, np.frombuffer(raw, dtype=HEADER_DTYPE.newbyteorder(o))[0]) for o in orders]
    sensible = next((reading for reading in readings if _is_sensible(reading[1])), None)
    if sensible is None:
        raise _foreign(raw, path, what) or InputError(
            f"not a readable MRC {what}: mode {int(readings[0][1]['mode'])}, {_size(readings[0][1])}",
            file=path,
            fix=f"Give an MRC {what} of mode {', '.join(map(str, MODES))}",
        )
    return sensible


def _foreign(raw: bytes, path: Path, what: str) -> InputError | None:
    found = identify(path, raw, but="mrc")
    return None if found is None else InputError(f"not an MRC {what}: it is {found.name}", file=path, fix=found.fix)


def _is_sensible(fields: Any) -> bool:
    sides = int(fields["nx"]), int(fields["ny"])
    return (
        int(fields["mode"]) in (*MODES, *NOT_READ)
        and all(0 < side <= MAX_SIDE for side in sides)
        and int(fields["nz"]) > 0
        and int(fields["nsymbt"]) >= 0
    )


def _size(fields: Any) -> str:
    return f"the header gives the size {fields['nx']} x {fields['ny']} x {fields['nz']}"


def _imod_flags(raw: bytes, order: str) -> int:
    """IMOD's flags; those of plain MRC files, in which bytes are signed, where its stamp is missing."""
    stamp, flags = np.frombuffer(raw[IMOD_WORDS], dtype=f"{order}i4").tolist()
    return int(flags) if stamp == IMOD_STAMP else SIGNED_BYTES


def _are_unsigned(fields: Any, flags: int) -> bool:
    """Whether bytes are, which older programs wrote without a stamp: no signed one is larger than 127."""
    low, high = float(fields["dmin"]), float(fields["dmax"])
    return not flags & SIGNED_BYTES or (low >= 0 and 127 < high <= 255)


def _triple(fields: Any, names: tuple[str, str, str]) -> tuple[int, int, int]:
    first, second, third = (int(fields[name]) for name in names)
    return first, second, third


def _voxel(fields: Any) -> tuple[float, float, float]:
    """Cell over intervals; where a volume is flagged as images, one section deep, its sections count."""
    cell = [float(fields["cella"][axis]) for axis in "xyz"]
    intervals = [int(fields[name]) for name in ("mx", "my", "mz")]
    x, y, z = (c / m if m > 0 else math.nan for c, m in zip(cell, intervals, strict=True))
    deep = cell[2] / int(fields["nz"])
    return x, y, deep if intervals[2] == 1 and math.isclose(deep, x, rel_tol=0.01) else z
