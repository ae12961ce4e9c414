"""Particle images from MRC stacks: few, large reads; memory that does not grow with the number of particles."""

from __future__ import annotations

import math
import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
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
from cryocore.tables.particles import Particles
from cryocore.types import Floats32, Ints

Images = Floats32 | NDArray[np.int16]
"""A batch: pixels ``(n, d, d)`` float32, or packed transforms ``(n, m)`` int16 (:mod:`cryocore.imaging.packed`)."""

MAX_OPEN_FILES = 64
BATCH_STEP = 16


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


def read_images(path: str | Path) -> Floats32:
    """All images ``(n, h, w)`` of a stack that fits the memory.

    Raises
    ------
    InputError  as :func:`read_header`.
    """
    header = read_header(path)
    shape = (header.n_images, header.height, header.width)
    return np.array(np.memmap(path, header.dtype, "r", header.offset, shape), dtype=np.float32)


@dataclass(frozen=True)
class _OpenStack:
    parts: FileByParts
    header: StackHeader


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

    def read(self, rows: NDArray[np.integer[Any]], memory: Floats32 | None = None) -> Floats32:
        """Images ``(n, d, d)`` of the given rows, in their order; at the start of ``memory`` if it is large enough.

        Protein is bright in them, whatever the file's contrast.

        Raises
        ------
        InputError  if a stack has gone, is shorter than before or has other images.
        ValueError  if the rows' boxes differ.
        """
        rows = np.asarray(rows, dtype=np.int64)
        if not len(rows):
            raise ValueError("rows must not be empty")
        boxes = np.unique(self._box[rows])
        if len(boxes) > 1:
            raise ValueError(f"rows of one read must share their box; got {boxes.tolist()}")
        box = int(boxes[0])
        order = np.lexsort((self._slice[rows], self._stack[rows]))
        stack, image = self._stack[rows][order], self._slice[rows][order]
        size = len(rows) * box * box
        flat = np.empty(size, dtype=np.float32) if memory is None or len(memory) < size else memory[:size]
        out = flat.reshape(len(rows), box, box)
        new_run = (np.diff(stack, prepend=-1) != 0) | (np.diff(image, prepend=-1) != 1)
        starts = np.flatnonzero(new_run)
        with self._lock:
            for low, high in zip(starts, [*starts[1:], len(rows)], strict=True):
                to, n = order[low:high], int(high - low)
                neighbours = n == 1 or bool(np.all(np.diff(to) == 1))
                target = out[to[0] : to[0] + n] if neighbours else np.empty((n, box, box), dtype=np.float32)
                self._read_run(int(stack[low]), int(image[low]), target)
                if not neighbours:
                    out[to] = target
        dark = self._dark[rows]
        if dark.any():
            np.negative(out, out=out, where=dark[:, None, None])
        return out

    def _read_run(self, stack: int, first: int, target: Floats32) -> None:
        """Read images that lie side by side in one stack, the ``first`` and those after it, into ``target``."""
        n, box = target.shape[:2]
        file = self._stack_file(stack)
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

    def _stack_file(self, stack: int) -> _OpenStack:
        """The open file of a stack; the one used longest ago is closed when there are too many."""
        if stack in self._open:
            self._open.move_to_end(stack)
            return self._open[stack]
        path = self._root / self._names[stack]
        header = read_header(path)
        if len(self._open) >= MAX_OPEN_FILES:
            self._open.popitem(last=False)[1].parts.close()
        self._open[stack] = _OpenStack(FileByParts(path, "stack"), header)
        return self._open[stack]


class Reader(Protocol):
    """Images by row; a context manager."""

    def __enter__(self) -> Self:
        """Itself."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close what is open."""

    def read(self, rows: NDArray[np.integer[Any]], memory: NDArray[Any] | None = None) -> Images:
        """Images of rows of one optics group, in their order; at the start of ``memory`` if it is large enough."""


Source = Callable[[Particles], Reader]


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
) -> Iterator[tuple[Ints, Any]]:
    """Images of the given rows, batch by batch; the next batch is read while one is used.

    Parameters
    ----------
    rows : (n,)       rows of ``particles``, each read as often as it is named
    size : largest number of images at a time
    progress : label of a progress bar on a terminal; None shows none
    source : what opens a reader; default: the stacks

    Yields
    ------
    rows : (m,) int64
    images : what the reader gives, of one optics group: pixels (m, d, d) float32 from the stacks; their memory is used
        again for later batches

    Batches go through the optics groups in order, and through stacks and slices within them, whatever the order of
    ``rows``.
    """
    plan = _plan(particles, np.asarray(rows, dtype=np.int64), size)
    bar = tqdm(total=sum(map(len, plan)), desc=progress, unit="img", disable=None if progress else True)
    with bar, source(particles) as reader, ThreadPoolExecutor(1, "read-ahead") as pool:
        for batch, images in zip(plan, _read_ahead(reader, plan, pool), strict=True):
            yield batch, images
            bar.update(len(batch))


def _read_ahead(reader: Reader, plan: list[Ints], pool: ThreadPoolExecutor) -> Iterator[Images]:
    """The images of each batch; the one after it is being read meanwhile, into the memory of the one before."""
    pending: deque[Future[Images]] = deque()
    used: deque[NDArray[Any]] = deque()
    for batch in plan:
        memory = used.popleft() if used else None
        pending.append(pool.submit(reader.read, batch, memory))
        if len(pending) > 1:
            images = pending.popleft().result()
            used.append(images.reshape(-1))
            yield images
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
