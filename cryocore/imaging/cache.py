"""The file of packed transforms: written in one pass, read with few large reads, refused if of other images or damaged.

It is an uncompressed ``.npz``: ``numpy.load`` opens it. Members: ``identity_*`` (what it was made from), ``shells``
(the last one in use of each optics group), ``group_<g>`` (records in reading order), ``ids`` and ``checksums``
(the particle and the CRC-32 of each record, one group after the other). Records are read where they lie, past the
archive's own checksums.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from cryocore.errors import InputError
from cryocore.formats.mrc_header import HEADER_BYTES
from cryocore.formats.scratch import FileByParts
from cryocore.formats.stacks import Source, StoredReader
from cryocore.imaging.packed import Records, record_type
from cryocore.memory import Memory
from cryocore.tables.io import AGAIN, ARCHIVE_ERRORS, atomic_path, open_arrays, why
from cryocore.tables.particles import Particles

WHAT = "transforms"
LOCAL_HEADER_BYTES = 30


def particles_digest(particles: Particles) -> str:
    """What tells the images: each particle's id, its stack and slice, and the box; no pose, no CTF."""
    codes, names = particles.codes("stack")
    digest = hashlib.sha256("\0".join(names).encode())
    for values in (codes, particles.column("slice"), particles.column("optics_group")):
        digest.update(np.ascontiguousarray(values, dtype=np.int64).tobytes())
    digest.update(np.ascontiguousarray(particles.ids).tobytes())
    digest.update(repr([o.box for o in particles.optics]).encode())
    return digest.hexdigest()[:32]


def stack_digests(particles: Particles) -> list[str]:
    """The state of each stack: its header, size and time of change."""
    return [_stack_digest(Path(particles.root) / name) for name in particles.codes("stack")[1]]


def _stack_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            header, state = file.read(HEADER_BYTES), os.fstat(file.fileno())
    except OSError as error:
        raise InputError(
            f"the stack cannot be read ({why(error)})", file=path, fix="Restore it, or correct the image root"
        ) from None
    return hashlib.sha256(header + struct.pack("<qq", state.st_size, state.st_mtime_ns)).hexdigest()[:32]


def write_transforms(
    path: Path, particles: Particles, shells: list[int], batches: Iterable[tuple[NDArray[np.int64], Records]]
) -> None:
    """Write records as they come: rows of ``particles`` and their records, one optics group after the other."""
    stacks = stack_digests(particles)
    group = particles.column("optics_group")
    count = np.bincount(group, minlength=len(particles.optics))
    order: list[NDArray[np.uint64]] = []
    checksums: list[NDArray[np.uint32]] = []
    with atomic_path(path) as temporary, ZipFile(temporary, "w", allowZip64=True) as file, ExitStack() as member:
        _write_array(file, "identity_particles", np.array(particles_digest(particles)))
        _write_array(file, "identity_stacks", np.array(stacks))
        _write_array(file, "shells", np.array(shells))
        last, to = -1, None
        for rows, records in batches:
            g = int(group[rows[0]])
            if to is None or g != last:
                member.close()
                to = member.enter_context(_array_member(file, f"group_{g}", record_type(shells[g]), int(count[g])))
                last = g
            to(records)
            order.append(particles.ids[rows])
            checksums.append(record_checksums(records))
        member.close()
        _write_array(file, "ids", np.concatenate(order))
        _write_array(file, "checksums", np.concatenate(checksums))


def record_checksums(records: Records) -> NDArray[np.uint32]:
    """The CRC-32 of each record, ``(n,)``."""
    return np.fromiter(map(zlib.crc32, records), dtype=np.uint32, count=len(records))


def _write_array(file: ZipFile, name: str, values: NDArray[Any]) -> None:
    with file.open(f"{name}.npy", "w", force_zip64=True) as member:
        np.lib.format.write_array(member, values, allow_pickle=False)


@contextmanager
def _array_member(file: ZipFile, name: str, dtype: np.dtype[Any], n: int) -> Iterator[Callable[[Records], Any]]:
    """An array ``(n,)`` in the file; the function that adds to it."""
    with file.open(f"{name}.npy", "w", force_zip64=True) as member:
        description = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (n,)}
        np.lib.format.write_array_header_2_0(member, description)
        yield lambda records: member.write(records.data.cast("B"))


@dataclass(frozen=True)
class Transforms:
    """An open file of transforms: where the record of each particle lies, and its checksum.

    ``ids`` are sorted; ``offset`` is the byte of each one's record and ``checksum`` its CRC-32, ``(n,)``.
    """

    path: Path
    ids: NDArray[np.uint64]
    offset: NDArray[np.int64]
    checksum: NDArray[np.uint32]
    shells: tuple[int, ...]

    @classmethod
    def of(cls, path: Path, particles: Particles, shells: list[int]) -> Self:
        """Open the file of the images of ``particles`` within so many shells of each optics group.

        Raises
        ------
        InputError  if it is of other particles, of stacks that have changed since, of another band, or broken.
        """
        with open_arrays(path, WHAT) as file:
            names = ("identity_particles", "identity_stacks", "shells", "ids", "checksums")
            made = {name: file[name] for name in names}
        if str(made["identity_particles"]) != particles_digest(particles):
            raise InputError("transforms of other particles", file=path, fix=AGAIN)
        if made["shells"].tolist() != shells:
            raise InputError(
                f"transforms of {made['shells'].tolist()} shells, where {shells} are in use", file=path, fix=AGAIN
            )
        changed = np.flatnonzero(made["identity_stacks"] != np.array(stack_digests(particles)))
        if len(changed):
            name = particles.codes("stack")[1][changed[0]]
            raise InputError(f"made before {name} changed", file=path, fix=AGAIN)
        count = np.bincount(particles.column("optics_group"), minlength=len(shells))
        offsets = [
            _member_offset(path, f"group_{g}") + record_type(shells[g]).itemsize * np.arange(n)
            for g, n in enumerate(count)
            if n
        ]
        order = np.argsort(made["ids"])
        return cls(path, made["ids"][order], np.concatenate(offsets)[order], made["checksums"][order], tuple(shells))

    def reader(self, particles: Particles) -> TransformReader:
        """A reader of some of the particles, by row."""
        at = np.searchsorted(self.ids, particles.ids)
        group = particles.column("optics_group")
        return TransformReader(self.path, self.offset[at], self.checksum[at], group, self.shells)


def image_source(path: Path | None, particles: Particles, shells: list[int]) -> Source:
    """Where images are read from: the stacks, or the file of their transforms."""
    return StoredReader if path is None else Transforms.of(path, particles, shells).reader


class TransformReader:
    """Reads packed transforms of a data set by row; a context manager that keeps one file open."""

    def __init__(
        self,
        path: Path,
        offset: NDArray[np.int64],
        checksum: NDArray[np.uint32],
        group: NDArray[np.integer[Any]],
        shells: tuple[int, ...],
    ) -> None:
        self._path, self._offset, self._checksum, self._group = path, offset, checksum, group
        self._bytes = [record_type(s).itemsize for s in shells]
        self._parts = FileByParts(path, WHAT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._parts.close()

    def read(self, rows: NDArray[np.integer[Any]], memory: Memory | None = None) -> Records:
        """Records ``(n, m)`` int16 of rows of one optics group, in ``memory`` if it is given.

        Raises
        ------
        InputError  if the file is shorter than before, or a record does not match its checksum.
        """
        width = self._bytes[int(self._group[rows[0]])]
        out = (memory or Memory()).array((len(rows), width // 2), np.int16)
        offset = self._offset[rows]
        starts = np.flatnonzero(np.diff(offset, prepend=-width - 1) != width)
        for low, high in zip(starts, [*starts[1:], len(rows)], strict=True):
            data = out[low:high].reshape(-1).view(np.uint8)
            self._parts.read(data, int(offset[low]))
        damaged = np.count_nonzero(record_checksums(out) != self._checksum[rows])
        if damaged:
            problem = f"damaged: {damaged} of {len(rows)} transforms do not match their checksums"
            raise InputError(problem, file=self._path, fix=AGAIN)
        return out


def _member_offset(path: Path, name: str) -> int:
    """Where the values of an uncompressed array begin in the file."""
    try:
        with path.open("rb") as stream, ZipFile(stream) as file:
            with file.open(f"{name}.npy") as member:
                np.lib.format.read_magic(member)
                np.lib.format.read_array_header_2_0(member)
                n_bytes = member.tell()
            at = file.getinfo(f"{name}.npy").header_offset
            stream.seek(at)
            header = stream.read(LOCAL_HEADER_BYTES)
            return at + LOCAL_HEADER_BYTES + sum(struct.unpack("<HH", header[26:30])) + n_bytes
    except ARCHIVE_ERRORS as error:
        raise InputError(f"the {WHAT} cannot be read ({why(error)})", file=path, fix=AGAIN) from None
