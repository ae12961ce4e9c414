"""MRC files: volumes in and out, stacks out. The same input always gives the same bytes.

Files are written as RELION writes them: origin 0 and start 0, so the object's centre is voxel ``n // 2``
and ChimeraX lays maps of one box over each other; what is made from maps of another place stays there. Volumes have
space group 1, stacks 0. The first label of a volume holds the checksum of its voxels.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterable
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cryocore.errors import InputError
from cryocore.formats.mrc_header import HEADER_BYTES, MrcHeader, new_header, parse_header
from cryocore.maps.placement import Placement
from cryocore.tables.io import atomic_path, why
from cryocore.types import Floats32

LABEL = b"cryocore"
CHECKSUM = LABEL + b", CRC-32 %08x"
GZIP_MAGIC, MAX_GZIP_RATIO = b"\x1f\x8b", 1032
FILE_ERRORS = (OSError, EOFError, zlib.error)
"""What reading a file raises that is missing or damaged."""


def read_map(
    path: str | Path, *, pixel_size_angstrom: float | None = None, cubic: bool = True
) -> tuple[Floats32, float]:
    """Read a volume, whatever its axis order, number type or compression.

    Parameters
    ----------
    path : MRC or CCP4 file, plain or gzipped
    pixel_size_angstrom : replaces the file's voxel size; needed where the file has none
    cubic : refuse a volume whose sides differ

    Returns
    -------
    volume : (nz, ny, nx) float32, indexed ``[z, y, x]``
    pixel_size_angstrom : float

    Raises
    ------
    InputError  if the file is missing, not MRC, shorter than its header says, not one finite volume,
        has unequal or no voxel sizes, is not a cube although ``cubic``, or has other voxels than :func:`write_map`
        wrote.
    """
    path = Path(path)
    header = _read_header(path)
    _check_size(path, header)
    data = _read_data(path, header)
    _check_voxels(path, header, data)
    with np.errstate(invalid="ignore"):  # NaN of the kind that a processor reports
        volume = np.ascontiguousarray(_to_zyx(data, header, path), dtype=np.float32)
    if cubic and len(set(volume.shape)) != 1:
        sides = " x ".join(map(str, volume.shape[::-1]))
        raise InputError(f"the volume is {sides}, not a cube", file=path, fix="Pad or crop it to a cube")
    if not np.isfinite(volume).all():
        raise InputError("the volume holds NaN or infinite voxels", file=path, fix="Write the map again")
    return volume, _voxel_size(path, header) if pixel_size_angstrom is None else float(pixel_size_angstrom)


def read_placement(path: str | Path) -> Placement:
    """What the header of a volume says of its grid; errors as those of :func:`read_map`."""
    return Placement.of(_read_header(Path(path)))


def require_contrast(volume: NDArray[Any], path: str | Path) -> None:
    """Refuse a map in which there is nothing."""
    if volume.min() == volume.max():
        problem = f"all its voxels are equal, {volume.flat[0]:g}"
        raise InputError(problem, file=path, fix="Give a map that shows the molecule")


def write_map(
    path: str | Path, volume: NDArray[Any], pixel_size_angstrom: float, placement: Placement | None = None
) -> None:
    """Write a volume ``(nz, ny, nx)``, indexed ``[z, y, x]``, as float32.

    Its origin and start are those of ``placement``, so that it lies where that map lies; 0 without one.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_map(f"{folder}/map.mrc", np.zeros((8, 8, 8)), 1.5)
    ...     volume, pixel_size_angstrom = read_map(f"{folder}/map.mrc")
    >>> volume.shape, str(volume.dtype), pixel_size_angstrom
    ((8, 8, 8), 'float32', 1.5)
    """
    volume = np.asarray(volume)
    if volume.ndim != 3:
        raise ValueError(f"a volume has three axes; got the shape {volume.shape}")
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        _write(file, volume, pixel_size_angstrom, np.dtype(np.float32), is_stack=False, placement=placement)


def write_stack(
    path: str | Path,
    images: Iterable[NDArray[Any]],
    pixel_size_angstrom: float,
    dtype: type[np.float32] | type[np.float16] = np.float32,
) -> None:
    """Write images ``(n, n)`` one after the other, as float32 or float16; ``images`` may be an iterator.

    An item may also be a batch ``(m, n, n)``.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        _write(file, images, pixel_size_angstrom, np.dtype(dtype), is_stack=True)


def _write(
    file: BinaryIO,
    parts: Iterable[NDArray[Any]],
    pixel_size_angstrom: float,
    dtype: np.dtype[Any],
    *,
    is_stack: bool,
    placement: Placement | None = None,
) -> None:
    """Write the sections one by one, then the header, which needs their statistics."""
    file.write(bytes(HEADER_BYTES))
    count, total, squares, low, high, checksum = 0, 0.0, 0.0, np.inf, -np.inf, 0
    shape: tuple[int, ...] | None = None
    for part in parts:
        sections = np.asarray(part, dtype=dtype.newbyteorder("<"))
        if shape is None:
            shape = sections.shape[-2:]
        if sections.ndim not in (2, 3) or sections.shape[-2:] != shape:
            raise ValueError(f"every image must be {shape}; got {sections.shape}")
        data = np.ascontiguousarray(sections).data
        file.write(data)
        checksum = checksum if is_stack else zlib.crc32(data, checksum)
        if sections.size:
            values = sections.astype(np.float64)
            total, squares = total + values.sum(), squares + np.square(values).sum()
            low, high = min(low, values.min()), max(high, values.max())
            count += sections.size // (shape[0] * shape[1])
    if shape is None or count == 0:
        raise ValueError("there are no images to write")
    mean = total / (count * shape[0] * shape[1])
    rms = np.sqrt(max(squares / (count * shape[0] * shape[1]) - mean**2, 0.0))
    header = new_header((count, *shape), dtype, pixel_size_angstrom, is_stack=is_stack)
    if placement is not None:
        header["nxstart"], header["nystart"], header["nzstart"] = placement.start
        header["origin"]["x"], header["origin"]["y"], header["origin"]["z"] = placement.origin_angstrom
    header["dmin"], header["dmax"], header["dmean"], header["rms"] = low, high, mean, rms
    header["nlabl"], header["label"][0] = 1, LABEL if is_stack else CHECKSUM % checksum
    file.seek(0)
    file.write(header.tobytes())


def _open(path: Path) -> gzip.GzipFile | BufferedReader:
    """The file, decompressed."""
    with path.open("rb") as file:
        begin = file.read(2)
    return gzip.open(path, "rb") if begin == GZIP_MAGIC else path.open("rb")


def _read_header(path: Path) -> MrcHeader:
    """The header of a plain or gzipped file."""
    try:
        with _open(path) as file:
            raw = file.read(HEADER_BYTES)
    except FileNotFoundError:
        raise InputError("file does not exist", file=path, fix="Correct the path") from None
    except FILE_ERRORS as error:
        raise _not_mrc(path, why(error)) from None
    return parse_header(raw, path, "map")


def _not_mrc(path: Path, reason: str) -> InputError:
    return InputError(f"not a readable MRC map ({reason})", file=path, fix="Give an MRC or CCP4 volume")


def _check_size(path: Path, header: MrcHeader) -> None:
    """Compare what the header declares with the most that the file can hold, before anything is allocated."""
    with path.open("rb") as file:
        ratio = MAX_GZIP_RATIO if file.read(2) == GZIP_MAGIC else 1
    held = path.stat().st_size * ratio
    if header.n_bytes > held:
        raise InputError(
            f"the file is truncated: its header declares {header.n_bytes} bytes, there are at most {held}",
            file=path,
            fix="Copy or download it again",
        )


def _check_voxels(path: Path, header: MrcHeader, data: NDArray[Any]) -> None:
    """Compare voxels with the checksum that this project writes; programs that change a map add a label of theirs."""
    if not header.label.startswith(CHECKSUM.partition(b"%")[0]):
        return
    if header.label != CHECKSUM % zlib.crc32(np.ascontiguousarray(data).data):
        raise InputError(
            "damaged: its voxels do not match the checksum in its header",
            file=path,
            fix="Delete it and run snakemake again; if they were changed on purpose, write them as a new file",
        )


def _read_data(path: Path, header: MrcHeader) -> NDArray[Any]:
    """The voxels ``(section, row, column)``."""
    sides = header.sections, header.rows, header.columns
    n_bytes = math.prod(sides) * header.dtype.itemsize
    try:
        with _open(path) as file:
            file.seek(header.offset)
            data = file.read(n_bytes)
            file.read(1)  # past the last byte, gzip compares its checksum
    except FILE_ERRORS as error:
        raise _not_mrc(path, why(error)) from None
    if len(data) < n_bytes:
        raise _not_mrc(path, "it holds fewer voxels than its header declares")
    return np.frombuffer(data, header.dtype).reshape(sides)


def _to_zyx(data: NDArray[Any], header: MrcHeader, path: Path) -> NDArray[Any]:
    """Turn (section, row, column) into (z, y, x)."""
    if len(data) == 1 or header.is_series:
        what = "a series of volumes" if header.is_series else "one image"
        raise InputError(f"it holds {what}", file=path, fix="Give one volume, not an image or a series")
    if not any(header.axes):
        return data
    if sorted(header.axes) != [1, 2, 3]:
        raise _not_mrc(path, f"the axis order {list(header.axes)} is not an order of 1 2 3")
    stored = header.axes[::-1]
    return data.transpose([stored.index(axis) for axis in (3, 2, 1)])


def _voxel_size(path: Path, header: MrcHeader) -> float:
    """Voxel size in Å; the same along all axes to 1 %."""
    sizes = np.array(header.voxel_angstrom)
    if not (np.isfinite(sizes).all() and (sizes > 0).all()):
        raise InputError(
            "the header gives no voxel size",
            file=path,
            fix="Write it into the header, as IMOD's alterheader does",
        )
    if sizes.max() > 1.01 * sizes.min():
        raise InputError(
            f"the voxel is {sizes[0]:.4g} x {sizes[1]:.4g} x {sizes[2]:.4g} Å, not a cube",
            file=path,
            fix="Resample the map, or correct its header",
        )
    return float(sizes[0])
