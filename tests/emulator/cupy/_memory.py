"""Device memory: pages of its own for every array, unreadable ones on both sides of it."""

from __future__ import annotations

import ctypes
import mmap
import os

import numpy as np

PAGE = mmap.PAGESIZE
ALIGNMENT = 512
"""As CuPy's pool gives it."""
WORD_BYTES = 36
"""sizeof(Word) of runtime.cpp."""
HEAP_BYTES = 1 << 42
NO_ACCESS, READ_AND_WRITE, PRIVATE_UNRESERVED, FORGET = 0, 3, 0x2 | 0x20 | 0x4000, 4

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
for _function in (_libc.mprotect, _libc.madvise):
    _function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


class OutOfMemoryError(MemoryError):
    """As cupy.cuda.memory.OutOfMemoryError."""


def devices() -> int:
    """How many devices there are."""
    return int(os.environ.get("EMULATOR_DEVICES", "1"))


class Heap:
    """Addresses are given out once: what is freed stays unreadable."""

    def __init__(self) -> None:
        self.base = _libc.mmap(None, HEAP_BYTES, NO_ACCESS, PRIVATE_UNRESERVED, -1, 0)
        if self.base in (None, ctypes.c_void_p(-1).value):
            raise MemoryError("no room for the addresses of the emulated device")
        self._next = self.base + PAGE
        self.used = 0

    @property
    def limit(self) -> int:
        """Bytes of the device."""
        return int(os.environ.get("EMULATOR_MEMORY", 140 << 30))

    def take(self, n_bytes: int) -> tuple[int, int, int]:
        """Address of an array whose end meets an unreadable page as closely as alignment lets; its pages and theirs."""
        rounded = _rounded(n_bytes, ALIGNMENT)
        if self.used + rounded > self.limit:
            raise OutOfMemoryError(
                f"Out of memory allocating {rounded:,} bytes (allocated so far: {self.used:,} bytes)."
            )
        size, start = _rounded(rounded, PAGE), self._next
        self._next += size + PAGE
        if self._next > self.base + HEAP_BYTES:
            raise MemoryError("the emulator has given out all its addresses")
        if _libc.mprotect(start, size, READ_AND_WRITE):
            raise OSError(ctypes.get_errno(), "mprotect")
        self.used += rounded
        return start + size - rounded, start, size

    def give_back(self, start: int, size: int, n_bytes: int) -> None:
        """Free what :meth:`take` gave."""
        _libc.madvise(start, size, FORGET)
        _libc.mprotect(start, size, NO_ACCESS)
        self.used -= _rounded(n_bytes, ALIGNMENT)


def _rounded(n_bytes: int, to: int) -> int:
    return -(-max(n_bytes, 1) // to) * to


heap = Heap()


class Memory:
    """One allocation, full of NaN; ``written`` has a byte for every 4, what of it has been."""

    def __init__(self, n_bytes: int) -> None:
        self.address, self._start, self._size = heap.take(n_bytes)
        self.n_bytes = n_bytes
        ctypes.memset(self.address, 0xFF, n_bytes)
        self.written = np.zeros(-(-n_bytes // 4), dtype=np.uint8)
        self._words: np.ndarray | None = None
        self.__array_interface__ = {"data": (self.address, False), "shape": (n_bytes,), "typestr": "|u1", "version": 3}

    @property
    def words(self) -> np.ndarray:
        """Who touched which word last, for runtime.cpp."""
        if self._words is None:
            self._words = np.zeros(len(self.written) * WORD_BYTES, dtype=np.uint8)
        return self._words

    def __del__(self) -> None:
        if hasattr(self, "_size"):  # there was room
            heap.give_back(self._start, self._size, self.n_bytes)
