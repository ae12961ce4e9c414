"""Kernels: the CUDA branch of the source, compiled by g++, its threads run one after the other (runtime.cpp)."""

from __future__ import annotations

import ctypes
import hashlib
import itertools
import os
import re
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from cupy._arrays import ndarray
from cupy._memory import HEAP_BYTES, WORD_BYTES, heap

HERE = Path(__file__).parent
CHECKED = os.environ.get("EMULATOR_CHECK", "1") != "0"
ORDER = ("forward", "reverse", "shuffle").index(os.environ.get("EMULATOR_ORDER", "forward"))
FLAGS = (
    "-D__CUDACC__",
    "-D__CUDA_ARCH__=900",
    "-std=c++17",
    "-O2",
    "-fPIC",
    "-w",
    "-fno-strict-aliasing",
    "-march=native",
)
HOOKS = ("-fsanitize=thread", "--param=tsan-instrument-func-entry-exit=0")
BEFORE = ('#include "device.h"', "#define __CUDACC__ 1", "#define __CUDA_ARCH__ 900", "#line 1")
KERNEL = re.compile(r"__global__\s+void\s+(\w+)\s*\(")
DYNAMIC = re.compile(r"extern\s+__shared__\s+(\w+)\s+(\w+)\s*\[\s*\]\s*;")
POINTEES = {"F": (np.float32, np.complex64), "C": (np.complex64,), "I": (np.int32, np.int16)}
SCALARS = {"i": np.int32, "f": np.float32}
MOST_THREADS, MOST_SHARED_BYTES = 1024, 48 << 10
_numbers = itertools.count(1)


class CUDADriverError(RuntimeError):
    """As cupy.cuda.driver.CUDADriverError."""


class EmulatorError(RuntimeError):
    """What a GPU would do wrong, perhaps without a word."""


class _Array(ctypes.Structure):
    _fields_ = [
        ("base", ctypes.c_void_p),
        ("bytes", ctypes.c_uint64),
        ("written", ctypes.c_void_p),
        ("words", ctypes.c_void_p),
    ]

    @classmethod
    def of(cls, array: ndarray) -> _Array:
        memory, address = array.memory, _address(array)
        if memory is None or not CHECKED:
            return cls(address, array.nbytes, None, None)
        word = (address - memory.address) // 4
        written, words = memory.written.ctypes.data + word, memory.words.ctypes.data + WORD_BYTES * word
        return cls(address, array.nbytes, written, words)


class _Launch(ctypes.Structure):
    _fields_ = [
        ("number", ctypes.c_uint32),
        ("order", ctypes.c_int),
        ("grid", ctypes.c_uint32 * 3),
        ("block", ctypes.c_uint32 * 3),
        ("shared_bytes", ctypes.c_int),
        ("n_arrays", ctypes.c_int),
        ("arrays", ctypes.POINTER(_Array)),
        ("arguments", ctypes.POINTER(ctypes.c_void_p)),
        ("fault", ctypes.c_char * 512),
    ]


class RawModule:
    """A source of kernels."""

    def __init__(self, *, code: str, options: tuple[str, ...], **_: Any) -> None:
        if not isinstance(options, tuple) or not all(isinstance(o, str) for o in options):
            raise TypeError("options are a tuple of strings")
        self._code = code

    def get_function(self, name: str) -> _Function:
        """A kernel of that name."""
        return _Function(self._code, name)


class _Function:
    def __init__(self, code: str, name: str) -> None:
        self.name, library = name, _compiled(code)
        try:
            kinds, self._run = getattr(library, f"emulator_kinds_{name}"), getattr(library, f"emulator_run_{name}")
        except AttributeError:
            raise CUDADriverError(f"CUDA_ERROR_NOT_FOUND: named symbol not found ({name})") from None
        kinds.restype = ctypes.c_char_p
        self.kinds = kinds().decode()

    def __call__(
        self, grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...], *, shared_mem: int
    ) -> None:
        grid, block = (tuple(max(1, int(n)) for n in (*g, 1, 1)[:3]) for g in (grid, block))  # CuPy makes 1 of 0
        fits = grid[0] < 1 << 31 and max(grid[1:]) < 1 << 16 and np.prod(block) <= MOST_THREADS and block[2] <= 64
        if not fits or not 0 <= shared_mem <= MOST_SHARED_BYTES:
            raise CUDADriverError(f"CUDA_ERROR_INVALID_VALUE: grid {grid}, block {block}, {shared_mem} shared bytes")
        if len(args) != len(self.kinds):
            raise EmulatorError(f"{self.name} takes {len(self.kinds)} arguments; got {len(args)}")
        values = [self._argument(i, k, a) for i, (k, a) in enumerate(zip(self.kinds, args, strict=True))]
        arrays = [a for a in args if isinstance(a, ndarray)]
        launch = _Launch(
            number=next(_numbers),
            order=ORDER,
            grid=grid,
            block=block,
            shared_bytes=shared_mem,
            n_arrays=len(arrays),
            arrays=(_Array * len(arrays))(*(_Array.of(a) for a in arrays)),
            arguments=(ctypes.c_void_p * len(values))(*(ctypes.addressof(v) for v in values)),
        )
        if self._run(ctypes.byref(launch)):
            raise EmulatorError(f"{self.name}: {launch.fault.decode()}; arrays are counted from 0 among those given")
        if not CHECKED:
            for array in arrays:
                array.wrote()

    def _argument(self, i: int, kind: str, value: Any) -> Any:
        where = f"argument {i} of {self.name}"
        if kind in SCALARS:
            if type(value) is not SCALARS[kind]:
                raise EmulatorError(f"{where} is of kind {kind}; got {type(value)}")
            return (ctypes.c_int if kind == "i" else ctypes.c_float)(value)
        if isinstance(value, np.uintp):
            return ctypes.c_uint64(int(value))
        if not isinstance(value, ndarray):
            raise TypeError(f"{where} is a pointer to device memory; got {type(value)}")
        if not value.flags.c_contiguous:
            raise EmulatorError(f"{where} is not contiguous: strides {value.strides}")
        if value.dtype not in POINTEES.get(kind, (value.dtype,)):
            raise EmulatorError(f"{where} points to {kind}; got {value.dtype}")
        return ctypes.c_uint64(_address(value))


def _address(array: ndarray) -> int:
    return array.host.__array_interface__["data"][0]


@cache
def _compiled(source: str) -> ctypes.CDLL:
    text = DYNAMIC.sub(r"\1 *\2 = (\1 *)emulator::shared_memory();", source)
    kernels = [f"EMULATED({name})" for name in KERNEL.findall(source)]
    text = "\n".join(
        ['#include "device.h"', "#define __CUDACC__ 1", "#define __CUDA_ARCH__ 900", "#line 1", text, *kernels, ""]
    )
    runtime, compiler = HERE / "runtime.cpp", os.environ.get("CXX", "g++")
    own = runtime.read_text() + (HERE / "device.h").read_text()
    key = hashlib.sha256("\0".join([text, own, compiler, *FLAGS, str(CHECKED)]).encode()).hexdigest()[:20]
    folder = Path(tempfile.gettempdir()) / f"cryocore-emulator-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    target = folder / f"{key}.so"
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            (Path(scratch) / "kernels.cpp").write_text(text)
            for command in (
                [*FLAGS, *(HOOKS if CHECKED else ()), f"-I{HERE}", "-c", "kernels.cpp"],
                [*FLAGS, *(["-DCHECKED"] if CHECKED else ()), f"-I{HERE}", "-c", str(runtime)],
                ["-shared", "kernels.o", "runtime.o", "-o", "all.so"],
            ):
                done = subprocess.run([compiler, *command], cwd=scratch, capture_output=True, text=True, check=False)
                if done.returncode:
                    raise EmulatorError(f"g++ cannot compile the kernels:\n{done.stderr[-3000:]}")
            (Path(scratch) / "all.so").replace(target)
    library = ctypes.CDLL(str(target))
    library.emulator_heap(ctypes.c_void_p(heap.base), ctypes.c_uint64(HEAP_BYTES))
    return library
