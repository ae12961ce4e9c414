"""Particle images from MRC stacks: few, large reads; memory that does not grow with the number of particles."""

from __future__ import annotations

import math
import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cryocore.errors import InputError
from cryocore.formats import BATCH_BYTES
from cryocore.formats.mrc_header import HEADER_BYTES, parse_header
from cryocore.formats.scratch import FileByParts
from cryocore.memory import Memory
from cryocore.tables.particles import Particles
from cryocore.types import Floats32, Ints

MAX_OPEN_FILES = 64
BATCH_STEP = 16
READERS = 2
"""Threads that read ahead, a batch each."""
STORED_TYPES = tuple(np.dtype(t) for t in (np.float32, np.float16, np.int16, np.uint16, np.int8))
"""Types of pixels that the kernels take as they are."""


@dataclass(frozen=True)
class Pixels:
    """Images of one optics group as their files have them.

    ``values`` : ``(n, d, d)``, one of ``STORED_TYPES``
    ``sign`` : -1 where protein is dark in them, or else 1
    """

    values: NDArray[Any]
    sign: float

    def __len__(self) -> int:
        return len(self.values)

    def bright(self) -> Floats32:
        """Float32 pixels in which protein is bright."""
        return np.multiply(self.values, np.float32(self.sign), dtype=np.float32)


Images = Pixels | Floats32 | NDArray[np.int16]
"""A batch: images as they are stored, bright ones ``(n, d, d)``, or packed transforms ``(n, m)``
(:mod:`cryocore.imaging.packed`)."""


@dataclass(frozen=True)
class StackHeader:
    """What the header of a stack says: ``n_images`` images ``(height, width)`` of ``dtype`` from byte ``offset``."""

    width: int
    height: int
    n_images: int
    dtype: np.dtype[Any]
    offset: int
    pixel_size_angstrom: float

    @property
    def image_bytes(self) -> int:
        """Bytes of one image."""
        return self.width * self.height * self.dtype.itemsize


def read_header(path: str | Path) -> StackHeader:
    """Read the header of a stack and check the size of the file against it.

    Raises
    ------
    InputError  if the file is missing, not MRC, of a mode other than 0, 1, 2, 6, 12, a series of volumes, stored along
        other axes than images are, or shorter than its header says.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            raw = file.read(HEADER_BYTES)
            n_bytes = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise InputError(
            f"the stack cannot be read ({error.strerror})", file=path, fix="Restore it, or correct the image root"
        ) from None
    found = parse_header(raw, path, "stack")
    if found.is_series:
        problem, fix = "it holds a series of volumes, not of images", "Give single-particle images"
        raise InputError(problem, file=path, fix=fix)
    if sorted(found.axes) == [1, 2, 3] and found.axes != (1, 2, 3):
        problem = f"its columns, rows and sections run along the axes {' '.join('xyz'[a - 1] for a in found.axes)}"
        raise InputError(problem, file=path, fix="Write the images along x, y and z")
    if n_bytes < found.n_bytes:
        raise InputError(
            f"truncated: {n_bytes} bytes where its header announces {found.sections} images of "
            f"{found.columns} x {found.rows}, {found.n_bytes} bytes",
            file=path,
            fix="Copy or write the stack again",
        )
    pixel = found.voxel_angstrom[0]
    return StackHeader(
        width=found.columns,
        height=found.rows,
        n_images=found.sections,
        dtype=found.dtype,
        offset=found.offset,
        pixel_size_angstrom=pixel if math.isfinite(pixel) else 0.0,
    )


def mapped_images(path: str | Path) -> NDArray[Any]:
    """All images ``(n, h, w)`` of a stack, left on disk until they are used.

    Raises
    ------
    InputError  as :func:`read_header`.
    """
    header = read_header(path)
    return np.memmap(path, header.dtype, "r", header.offset, (header.n_images, header.height, header.width))


def read_images(path: str | Path) -> Floats32:
    """All images ``(n, h, w)`` of a stack that fits the memory.

    Raises
    ------
    InputError  as :func:`read_header`.
    """
    return np.array(mapped_images(path), dtype=np.float32)


@dataclass
class _OpenStack:
    parts: FileByParts
    header: StackHeader
    readers: int = 0


class StackReader:
    """Reads images of a data set by row; a context manager that keeps a few files open.

    >>> with StackReader(particles) as reader:          # doctest: +SKIP
    ...     images = reader.read(np.arange(100))
    """

    def __init__(self, particles: Particles) -> None:
        self._root = Path(particles.root)
        self._stack, self._names = particles.codes("stack")
        self._slice = particles.column("slice").astype(np.int64)
        self._box = np.array([o.box for o in particles.optics])[particles.column("optics_group")]
        self._dark = np.array([o.image_sign < 0 for o in particles.optics])[particles.column("optics_group")]
        self._open: OrderedDict[int, _OpenStack] = OrderedDict()
        self._kinds: dict[int, np.dtype[Any]] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all files."""
        with self._lock:
            while self._open:
                self._open.popitem()[1].parts.close()

    def read(self, rows: NDArray[np.integer[Any]], memory: Memory | None = None) -> Any:
        """Images ``(n, d, d)`` float32 of the given rows, in their order, in ``memory`` if it is given.

        Protein is bright in them, whatever the file's contrast.

        Raises
        ------
        InputError  if a stack has gone, is shorter than before or has other images.
        ValueError  if the rows' boxes differ.
        """
        out = self._images(np.asarray(rows, dtype=np.int64), np.dtype(np.float32), memory or Memory())
        dark = self._dark[rows]
        if dark.any():
            np.negative(out, out=out, where=dark[:, None, None])
        return out

    def _images(self, rows: Ints, dtype: np.dtype[Any], memory: Memory) -> NDArray[Any]:
        """Images of rows as numbers of a type, in the files' contrast."""
        if not len(rows):
            raise ValueError("rows must not be empty")
        boxes = np.unique(self._box[rows])
        if len(boxes) > 1:
            raise ValueError(f"rows of one read must share their box; got {boxes.tolist()}")
        box = int(boxes[0])
        order = np.lexsort((self._slice[rows], self._stack[rows]))
        stack, image = self._stack[rows][order], self._slice[rows][order]
        out = memory.array((len(rows), box, box), dtype)
        new_run = (np.diff(stack, prepend=-1) != 0) | (np.diff(image, prepend=-1) != 1)
        starts = np.flatnonzero(new_run)
        for low, high in zip(starts, [*starts[1:], len(rows)], strict=True):
            to, n = order[low:high], int(high - low)
            neighbours = n == 1 or bool(np.all(np.diff(to) == 1))
            target = out[to[0] : to[0] + n] if neighbours else np.empty((n, box, box), dtype=dtype)
            self._read_run(int(stack[low]), int(image[low]), target)
            if not neighbours:
                out[to] = target
        return out

    def _read_run(self, stack: int, first: int, target: NDArray[Any]) -> None:
        """Read images that lie side by side in one stack, the ``first`` and those after it, into ``target``."""
        n, box = target.shape[:2]
        with self._stack_file(stack) as file:
            header = file.header
            if (header.height, header.width) != (box, box) or first + n > header.n_images:
                raise InputError(
                    f"holds {header.n_images} images of {header.width} x {header.height}, where image {first + n} of "
                    f"{box} x {box} is expected",
                    file=file.parts.path,
                    fix="The stack has changed: run the workflow from the start",
                )
            as_stored = header.dtype == target.dtype
            data = target.reshape(-1).view(np.uint8) if as_stored else np.empty(n * header.image_bytes, dtype=np.uint8)
            file.parts.read(data, header.offset + first * header.image_bytes)
        if not as_stored:
            target[...] = data.view(header.dtype).reshape(n, box, box)

    @contextmanager
    def _stack_file(self, stack: int) -> Iterator[_OpenStack]:
        """The open file of a stack; of those that nobody reads, the one used longest ago is closed when there are too
        many."""
        with self._lock:
            if stack not in self._open:
                path = self._root / self._names[stack]
                header = read_header(path)
                if len(self._open) >= MAX_OPEN_FILES:
                    unused = next((old for old, file in self._open.items() if not file.readers), None)
                    if unused is not None:
                        self._open.pop(unused).parts.close()
                self._open[stack] = _OpenStack(FileByParts(path, "stack"), header)
            self._open.move_to_end(stack)
            file = self._open[stack]
            file.readers += 1
        try:
            yield file
        finally:
            with self._lock:
                file.readers -= 1


class StoredReader(StackReader):
    """Reads images as they are stored, so that they are converted where they are transformed."""

    def read(self, rows: NDArray[np.integer[Any]], memory: Memory | None = None) -> Pixels:
        """Images of rows of one optics group, in their order, in ``memory`` if it is given.

        They have the type that the first of them is stored with, or float32 where the kernels take no such type, or
        not for all.

        Raises
        ------
        InputError, ValueError  as those of all stacks.
        """
        at = np.asarray(rows, dtype=np.int64)
        dark = np.unique(self._dark[at])
        if len(dark) > 1:
            raise ValueError("rows of one read must share their contrast")
        kinds = {self._kind(int(stack)) for stack in np.unique(self._stack[at])}
        kind = kinds.pop() if len(kinds) == 1 else np.dtype(np.float32)
        return Pixels(self._images(at, kind, memory or Memory()), -1.0 if dark.any() else 1.0)

    def _kind(self, stack: int) -> np.dtype[Any]:
        """As what pixels of a stack are read."""
        if stack not in self._kinds:
            with self._stack_file(stack) as file:
                kind = file.header.dtype
            self._kinds[stack] = kind if kind in STORED_TYPES else np.dtype(np.float32)
        return self._kinds[stack]


class Reader(Protocol):
    """Images by row; a context manager."""

    def __enter__(self) -> Self:
        """Itself."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close what is open."""

    def read(self, rows: NDArray[np.integer[Any]], memory: Memory | None = None) -> Images:
        """Images of rows of one optics group, in their order, in ``memory`` if it is given; called from threads."""


Source = Callable[[Particles], Reader]


def beside(source: Source, work: Callable[[Ints], Any]) -> Callable[[Particles], Any]:
    """A source whose readers give images and what ``work`` makes of the rows, in the thread that reads."""
    return lambda particles: _Beside(source(particles), work)


class _Beside:
    def __init__(self, reader: Reader, work: Callable[[Ints], Any]) -> None:
        self._reader, self._work = reader, work

    def __enter__(self) -> Self:
        self._reader.__enter__()
        return self

    def __exit__(self, *given: Any) -> None:
        self._reader.__exit__(*given)

    def read(self, rows: Ints, memory: Memory | None = None) -> tuple[Images, Any]:
        return self._reader.read(rows, memory), self._work(rows)


def batch_size(box: int) -> int:
    """Images of side ``box`` that one batch should hold: some 32 MiB, a multiple of 16 images up to 1024.

    It depends on nothing else, so that sums are taken in the same order on every machine.

    >>> batch_size(96), batch_size(256), batch_size(1024)
    (896, 128, 16)
    """
    fitting = BATCH_BYTES // (4 * box * box) // BATCH_STEP * BATCH_STEP
    return int(np.clip(fitting, BATCH_STEP, 1024))


def batches(
    particles: Particles,
    rows: NDArray[np.integer[Any]],
    size: int,
    *,
    progress: str | None = None,
    source: Source = StackReader,
    memory: Callable[[], Memory] = Memory,
) -> Iterator[tuple[Ints, Any]]:
    """Images of the given rows, batch by batch; the next ones are read while one is used.

    Parameters
    ----------
    rows : (n,)       rows of ``particles``, each read as often as it is named
    size : largest number of images at a time
    progress : label of a progress bar on a terminal; None shows none
    source : what opens a reader; default: the stacks
    memory : gives what is read into: that of the backend which images go to

    Yields
    ------
    rows : (m,) int64
    images : what the reader gives, of one optics group: pixels (m, d, d) float32 from the stacks by default; their
        memory is used again for later batches

    Batches go through the optics groups in order, and through stacks and slices within them, whatever the order of
    ``rows``.
    """
    plan = _plan(particles, np.asarray(rows, dtype=np.int64), size)
    bar = tqdm(total=sum(map(len, plan)), desc=progress, unit="img", disable=None if progress else True)
    with bar, source(particles) as reader, ThreadPoolExecutor(READERS, "read-ahead") as pool:
        for batch, images in zip(plan, _read_ahead(reader, plan, pool, memory), strict=True):
            yield batch, images
            bar.update(len(batch))


def _read_ahead(
    reader: Reader, plan: list[Ints], pool: ThreadPoolExecutor, memory: Callable[[], Memory]
) -> Iterator[Images]:
    """The images of each batch; those after it are being read meanwhile, one of them into the memory of the one
    before."""
    pending: deque[Future[Images]] = deque()
    memories = [memory() for _ in range(READERS + 1)]
    for i, batch in enumerate(plan):
        pending.append(pool.submit(reader.read, batch, memories[i % len(memories)]))
        if len(pending) > READERS:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _plan(particles: Particles, rows: Ints, size: int) -> list[Ints]:
    """The rows in reading order, cut into batches of one optics group each."""
    if size < 1:
        raise ValueError(f"a batch holds at least 1 image; got {size}")
    group = particles.column("optics_group")[rows]
    stack, _ = particles.codes("stack")
    order = np.lexsort((particles.column("slice")[rows], stack[rows], group))
    plan: list[Ints] = []
    for members in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        plan += [rows[members[i : i + size]] for i in range(0, len(members), size)]
    return plan
