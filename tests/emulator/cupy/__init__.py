"""A stand-in for CuPy on machines without a GPU: the CUDA branch of the kernels, run on the CPU and checked.

It has what cryocore uses of CuPy, and refuses what CuPy refuses. Kernels given to :class:`RawModule` are compiled by
g++ with ``__CUDACC__`` defined, and run with real threads, barriers, shared memory and atomics (``runtime.cpp``).
Noticed are

- NumPy arrays where those of the device are needed, and the other way round: TypeError, as in CuPy;
- arguments of a wrong number, kind or type, arrays with gaps;
- accesses outside the arrays that a kernel was given, and to freed memory;
- reads of what nobody has written, by kernels or by the host;
- two threads at one word with no barrier between them, unless both read or both add atomically;
- threads that end while others wait, or that wait at different barriers;
- host memory that is written to while the device may still be copying it, or read before a copy is there;
- a grid, block or shared memory that no GPU takes.

Each is an :class:`EmulatorError` unless said otherwise. There is nothing of speed, several streams, the
order of atomic additions, fast-math but for subnormal numbers, or CuPy's memory pool; FFTs are SciPy's. Tensors
of torch stay in host memory: what torch refuses between devices is not seen.

Variables of the environment: ``EMULATOR_CHECK`` (1; 0: barriers and unreadable pages alone, some 10 times faster),
``EMULATOR_ORDER`` (``forward``, ``reverse`` or ``shuffle``: of blocks, and of threads between barriers),
``EMULATOR_MEMORY`` (bytes, default 140 GiB), ``EMULATOR_DEVICES`` (how many GPUs, default 1).
"""

from __future__ import annotations

import sys
import types
from typing import Any

import numpy as np
import scipy.fft

from cupy._arrays import compute, ndarray
from cupy._copies import Event, alloc_pinned_memory, settle
from cupy._kernels import CUDADriverError, EmulatorError, RawModule
from cupy._memory import OutOfMemoryError, devices, heap

__version__ = "14.emulated"
__all__ = ["CUDADriverError", "EmulatorError", "OutOfMemoryError", "RawModule", "ndarray"]

empty = ndarray.empty


def zeros(shape: Any, dtype: Any = float) -> ndarray:
    """An array of zeros."""
    out = empty(shape, dtype)
    out[...] = 0
    return out


def empty_like(array: ndarray) -> ndarray:
    """An array of the shape and type of another."""
    return empty(array.shape, array.dtype)


def asarray(values: Any, dtype: Any = None) -> ndarray:
    """The array itself, or a copy of host values on the device."""
    if isinstance(values, ndarray):
        return values if dtype in (None, values.dtype) else values.astype(dtype)
    return ndarray.of(np.asarray(values, dtype=dtype))


def ascontiguousarray(values: Any) -> ndarray:
    """The array without gaps."""
    values = asarray(values)
    return values if values.flags.c_contiguous else values.copy()


def asnumpy(values: Any) -> np.ndarray:
    """A copy in host memory."""
    return values.get() if isinstance(values, ndarray) else np.asarray(values)


def from_dlpack(tensor: Any) -> ndarray:
    """The array of a tensor, which is in host memory: it is neither known what of it is written nor who touches it."""
    return ndarray(np.from_dlpack(tensor), None)


def get_default_memory_pool() -> Any:
    """Freed memory is kept by no pool."""
    return types.SimpleNamespace(free_bytes=lambda: 0)


def where(condition: ndarray, first: Any, second: Any) -> ndarray:
    """Values of the first array where a condition holds, else of the second."""
    return compute(np.where, condition, first, second)


def bincount(x: ndarray, weights: ndarray, minlength: int) -> ndarray:
    """Sums of weights by number, in double precision."""
    if x.ndim != 1 or x.shape != weights.shape or x.dtype.kind not in "iu":
        raise ValueError("bincount() takes integers and weights of one axis and length")
    return ndarray.of(np.bincount(x.read(), weights=weights.read(), minlength=minlength))


def _transform(name: str) -> Any:
    """A transform of SciPy, which keeps single precision as cuFFT does."""
    return lambda values, **given: compute(lambda v: getattr(scipy.fft, name)(v, **given), values)


class _Device:
    def __init__(self, number: int) -> None:
        if not 0 <= number < devices():
            raise RuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        self.id = number

    def use(self) -> None:
        """Nothing: all devices are one."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: Any) -> None:
        pass

    def synchronize(self) -> None:
        """Kernels have ended when a launch returns; copies end here."""
        settle()


def _module(name: str, **members: Any) -> types.ModuleType:
    made = types.ModuleType(f"cupy.{name}")
    made.__dict__.update(members)
    sys.modules[f"cupy.{name}"] = made
    return made


fft = _module("fft", **{name: _transform(name) for name in ("fft", "ifft", "rfft", "irfft", "rfft2")})
cuda = _module(
    "cuda",
    Device=_Device,
    Event=Event,
    alloc_pinned_memory=alloc_pinned_memory,
    get_current_stream=object,
    memory=_module("cuda.memory", OutOfMemoryError=OutOfMemoryError),
    nvrtc=_module("cuda.nvrtc", getVersion=lambda: (12, 9)),
    runtime=_module(
        "cuda.runtime",
        getDeviceCount=devices,
        getDeviceProperties=lambda i: {"name": b"emulated GPU", "major": 9, "minor": 0, "multiProcessorCount": 8},
        driverGetVersion=lambda: 13000,
        runtimeGetVersion=lambda: 12090,
        deviceGetPCIBusId=lambda i: f"0000:{i + 1:02x}:00.0",
        memGetInfo=lambda: (heap.limit - heap.used, heap.limit),
    ),
)
