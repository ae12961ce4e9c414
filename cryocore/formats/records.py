"""NumPy files of records, as cryoSPARC writes its tables: read without pickle, and only what the file has room for."""

from __future__ import annotations

import re
import tokenize
import warnings
from collections.abc import Callable, Collection, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.lib import format as npy
from numpy.typing import NDArray

from cryocore.errors import InputError
from cryocore.formats.foreign import identify
from cryocore.formats.roots import recorded_origin
from cryocore.tables.io import atomic_path
from cryocore.types import Ints

Records = NDArray[np.void]

UID = "uid"
PASSTHROUGH = "*passthrough*.cs"
JOB = re.compile(r"(?:^|_)(J\d+)(?=_)")
"""The job in the name of its files, as in ``cryosparc_P1_J14_062_particles.cs``."""
MAX_HEADER_BYTES = 1 << 20
"""Those of 1000 classes of a 3-D classification; read in 0.2 s, or refused within 5 s where it is damaged."""
COMPRESSED_BEGINS = b"\x94CSDAT"
HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
FAULTS = (ValueError, TypeError, SyntaxError, KeyError, OverflowError, RecursionError, MemoryError, tokenize.TokenError)
"""What NumPy raises for a header that is damaged."""
FIX = "Give a .cs file of particles, or export them again"


def read_records(path: str | Path) -> Records:
    """The rows ``(n,)`` of a ``.cs`` file, n > 0.

    Raises
    ------
    InputError  if the file is missing, no table of records, holds Python objects, or is shorter than its header says.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            shape, dtype = _read_header(file, path)
            start = file.tell()
            n_bytes = file.seek(0, 2) - start
            expected = shape[0] * dtype.itemsize
            if n_bytes < expected:
                problem = f"truncated: {n_bytes} bytes where its header announces {shape[0]} rows, {expected} bytes"
                raise InputError(problem, file=path, fix="Copy the file again")
            file.seek(start)
            return np.fromfile(file, dtype=dtype, count=shape[0])
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", file=path, fix=FIX) from None


def read_shape(path: str | Path) -> tuple[int, tuple[str, ...]]:
    """How many rows a ``.cs`` file has, and the names of its fields, by its header alone."""
    with Path(path).open("rb") as file:
        shape, dtype = _read_header(file, Path(path))
    return shape[0], dtype.names or ()


def write_records(path: str | Path, records: Records) -> None:
    """Write rows as a ``.cs`` file; the same rows always give the same bytes.

    A header beyond 64 kB, of some hundred classes, needs version 2.0 of NumPy's format.
    """
    records = np.ascontiguousarray(records)
    header = npy.header_data_from_array_1_0(records)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        try:
            npy.write_array_header_1_0(file, header)
        except ValueError:
            npy.write_array_header_2_0(file, header)
        file.write(records.view(np.uint8).data)


def _read_header(file: BinaryIO, path: Path) -> tuple[tuple[int], np.dtype[Any]]:
    """Shape and type of the rows; the file stands at the first one."""
    begins = file.read(npy.MAGIC_LEN)
    if begins.startswith(COMPRESSED_BEGINS):
        fix = "Export the particles in cryoSPARC, or save them in its NumPy format"
        raise InputError("it is a compressed cryoSPARC data set", file=path, fix=fix)
    version = (begins[-2], begins[-1]) if len(begins) == npy.MAGIC_LEN else None
    if not begins.startswith(npy.MAGIC_PREFIX) or version not in HEADERS:
        found = identify(path, but="npy")
        if found is not None:
            raise InputError(f"not a cryoSPARC file: it is {found.name}", file=path, fix=found.fix)
        raise InputError("not a cryoSPARC file: it is no NumPy file", file=path, fix=FIX)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python 2 wrote the files of early cryoSPARC versions
            shape, _, dtype = HEADERS[version](file, max_header_size=MAX_HEADER_BYTES)
    except FAULTS as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:80]
        raise InputError(f"its header is damaged ({reason})", file=path, fix=FIX) from None
    if dtype.hasobject:
        raise InputError("it holds Python objects, which are not read", file=path, fix=FIX)
    if dtype.names is None or dtype.itemsize == 0 or len(shape) != 1 or isinstance(shape[0], bool) or shape[0] < 0:
        raise InputError("it holds no table of records", file=path, fix=FIX)
    if shape[0] == 0:
        raise InputError("it has no rows", file=path, fix="Give a file that has particles")
    return (shape[0],), dtype


@dataclass(frozen=True)
class Source:
    """Rows of a file, and where among them each particle is; None: in order."""

    path: Path
    records: Records
    rows: Ints | None = None

    def __len__(self) -> int:
        return len(self.records) if self.rows is None else len(self.rows)

    @property
    def names(self) -> tuple[str, ...]:
        """The fields of the file."""
        return self.records.dtype.names or ()

    def row(self, particle: int) -> int:
        """The row of a particle in the file, from 1."""
        return 1 + (particle if self.rows is None else int(self.rows[particle]))


@dataclass(frozen=True)
class Fields:
    """The fields of a ``.cs`` file and those that passthrough files add, one value per particle.

    A field that several files have is that of the first.
    """

    sources: tuple[Source, ...]

    def __len__(self) -> int:
        return len(self.sources[0])

    @property
    def path(self) -> Path:
        """The file that was asked for."""
        return self.sources[0].path

    @property
    def names(self) -> tuple[str, ...]:
        """All fields, those of the first file first."""
        return tuple(dict.fromkeys(name for source in self.sources for name in source.names))

    def has(self, name: str) -> bool:
        """Whether a file has the field."""
        return any(name in source.names for source in self.sources)

    def source(self, name: str) -> Source:
        """The file that the field is taken from."""
        return next(s for s in self.sources if name in s.names)

    def values(self, name: str) -> NDArray[Any]:
        """The field as it is stored, ``(n, ...)``."""
        source = self.source(name)
        column = source.records[name]
        return column if source.rows is None else column[source.rows]

    def numbers(self, name: str, shape: tuple[int, ...] = ()) -> NDArray[Any]:
        """The field as native numbers, ``(n, *shape)``."""
        values = self.values(name)
        if values.dtype.kind not in "fiub" or values.shape[1:] != shape:
            problem = f"holds {values.dtype.name} {values.shape[1:] or ''} where numbers {shape or ''} are expected"
            raise self.fault(" ".join(problem.split()), name)
        return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))

    def integers(self, name: str, shape: tuple[int, ...] = ()) -> Ints:
        """The field as integers, ``(n, *shape)``."""
        values = self.numbers(name, shape)
        whole = np.isfinite(values) & (np.abs(values.astype(np.float64)) < 2**53)
        bad = np.argwhere(~whole)
        if len(bad):
            raise self.fault(f"{values[tuple(bad[0])]} is no count", name, int(bad[0][0]))
        return values.astype(np.int64)

    def texts(self, name: str) -> pa.Array:
        """The field as a dictionary-encoded column of text."""
        values = self.values(name)
        if values.dtype.kind not in "SU" or values.ndim != 1:
            raise self.fault(f"holds {values.dtype.name} where text is expected", name)
        try:
            stored = pa.array(np.ascontiguousarray(values))
            chunks = stored.chunks if isinstance(stored, pa.ChunkedArray) else [stored]  # large columns come in chunks
            column = pa.chunked_array(chunks).dictionary_encode().unify_dictionaries().combine_chunks()
            words = column.dictionary.cast(pa.string())
        except (pa.ArrowInvalid, UnicodeError):
            raise self.fault("is not UTF-8 text", name) from None
        if pc.any(pc.match_substring_regex(words, "[[:cntrl:]]")).as_py():
            raise self.fault("holds control characters", name)
        return pa.DictionaryArray.from_arrays(column.indices, words)

    def fault(self, problem: str, name: str, particle: int | None = None) -> InputError:
        """What is wrong with a field, or with its value for one particle, where the file has it."""
        source = self.source(name)
        row = None if particle is None else source.row(particle)
        return InputError(problem, file=source.path, row=row, column=name, fix=FIX)


def read_fields(
    path: str | Path,
    passthrough: str | Path | None = None,
    lacking: Callable[[Collection[str]], Set[str]] = lambda names: frozenset(),
) -> Fields:
    """A ``.cs`` file and, joined by ``uid``, the passthrough files that have what it lacks.

    Passthrough files are joined that have all the particles and something that is still lacking, of the folder and, for
    a selection, of that of its parent: first those of the file's own job, by their names, then others, as long as these
    agree with each other.

    Parameters
    ----------
    passthrough : is joined first, and must have all the particles
    lacking : what is missing, where these are the fields

    Raises
    ------
    InputError  if a file is missing or damaged, or it cannot be told which passthrough file is meant.
    """
    path = Path(path)
    own = Source(path, read_records(path))
    ids = _uids(own)
    fields = Fields((own,))
    if passthrough is not None:
        given = _joined(ids, Path(passthrough))
        if given is None:
            problem = f"lacks particles of {path}, or has them twice"
            raise InputError(problem, file=passthrough, column=UID, fix="Give the passthrough file of the same job")
        fields = Fields((own, given))
    if not lacking(fields.names):
        return fields
    known = {source.path.resolve() for source in fields.sources}
    origin = recorded_origin(path)
    folders = [path.parent, *([] if origin is None else [Path(origin).parent])]
    near = {p.resolve(): p for folder in folders for p in sorted(folder.glob(PASSTHROUGH)) if p.resolve() not in known}
    job = _job(path) or (None if origin is None else _job(Path(origin)))
    for place in (p for p in near.values() if job is not None and _job(p) == job):
        if _gain(fields, place, lacking) and (source := _joined_quietly(ids, place)):
            fields = Fields((*fields.sources, source))
    others = [p for p in near.values() if (job is None or _job(p) != job) and _gain(fields, p, lacking)]
    found = [source for p in others if (source := _joined_quietly(ids, p))]
    _require_agreement(found, lacking(fields.names))
    for source in found:
        if lacking(fields.names) - lacking((*fields.names, *source.names)):
            fields = Fields((*fields.sources, source))
    return fields


def _job(path: Path) -> str | None:
    found = JOB.search(path.name)
    return found[1] if found else None


def _gain(fields: Fields, path: Path, lacking: Callable[[Collection[str]], Set[str]]) -> bool:
    """Whether a file has what is lacking."""
    try:
        names = read_shape(path)[1]
    except (InputError, OSError):
        return False
    return bool(lacking(fields.names) - lacking((*fields.names, *names)))


def _require_agreement(sources: list[Source], names: Set[str]) -> None:
    """Refuse files of other jobs that say different things about the same particles."""
    for name in sorted(names):
        having = [s for s in sources if name in s.names]
        for other in having[1:]:
            if not np.array_equal(Fields((having[0],)).values(name), Fields((other,)).values(name)):
                problem = f"it and {having[0].path.name} have all the particles, and differ"
                fix = "Name the right passthrough file (input.passthrough, --passthrough)"
                raise InputError(problem, file=other.path, column=name, fix=fix)


def _uids(source: Source) -> NDArray[np.uint64]:
    """The particles' own numbers ``(n,)``."""
    records, path = source.records, source.path
    if UID not in (records.dtype.names or ()):
        raise InputError("the particles have no uid", file=path, column=UID, fix=FIX)
    values = records[UID]
    if values.dtype.kind not in "ui" or values.ndim != 1:
        raise InputError(f"holds {values.dtype.name} where integers are expected", file=path, column=UID, fix=FIX)
    return values.astype(np.uint64)


def _joined(ids: NDArray[np.uint64], path: Path) -> Source | None:
    """The rows of another file in the order of ``ids``; None if it lacks some or has some twice."""
    source = Source(path, read_records(path))
    others = _uids(source)
    order = np.argsort(others, kind="stable")
    ranked = others[order]
    at = np.minimum(np.searchsorted(ranked, ids), len(ranked) - 1)
    twice = np.append(ranked[1:] == ranked[:-1], False)[at]
    if twice.any() or not np.array_equal(ranked[at], ids):
        return None
    return Source(path, source.records, order[at])


def _joined_quietly(ids: NDArray[np.uint64], path: Path) -> Source | None:
    try:
        return _joined(ids, path)
    except InputError:
        return None
