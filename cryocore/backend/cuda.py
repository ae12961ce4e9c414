"""The GPU backend: the same kernels, compiled by NVRTC and run by CuPy."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from cryocore.backend.base import Kernel, kernel_source
from cryocore.backend.devices import choose_device

OPTIONS = ("--std=c++17", "--use_fast_math")
THREADS = 128
LANES = 32


def gpu_fault() -> str | None:
    """Why there is no usable GPU, or None if there is one."""
    try:
        import cupy
    except ImportError as error:
        return f"cupy cannot be imported: {error}"
    if not cupy.is_available():
        return "cupy finds no CUDA device"
    return None


def gpu_names() -> list[str]:
    """What the GPUs that this process sees are called; there have to be some."""
    from cupy.cuda import runtime

    return [runtime.getDeviceProperties(i)["name"].decode() for i in range(runtime.getDeviceCount())]


@cache
def module_of(file: str) -> Any:
    """The kernels of a file, compiled when one is first launched."""
    import cupy

    return cupy.RawModule(code=kernel_source(file), options=OPTIONS, backend="nvrtc", name_expressions=None)


@cache
def _device() -> int:
    """The GPU of this process."""
    from cupy.cuda import runtime

    return choose_device([runtime.deviceGetPCIBusId(i) for i in range(runtime.getDeviceCount())])


class CudaBackend:
    """CuPy arrays on one device; see :func:`cryocore.backend.devices.choose_device`."""

    name = "cuda"
    cache_bytes = 1 << 30

    def __init__(self) -> None:
        import cupy

        cupy.cuda.Device(_device()).use()
        self.xp = cupy

    @property
    def device(self) -> str:
        """The device, as torch calls it."""
        return f"cuda:{_device()}"

    def launch(self, kernel: Kernel, args: tuple[Any, ...], *, items: int) -> None:
        """Run a kernel over ``items`` independent pieces of work."""
        values = tuple(_argument(k, a) for k, a in zip(kernel.kinds(args), args, strict=True))
        block = (LANES, THREADS // LANES) if kernel.rows else (THREADS,)
        module_of(kernel.file).get_function(kernel.name)(
            (min(items, 2**31 - 1),), block, values, shared_mem=4 * THREADS
        )

    def scratch(self, name: str, shape: tuple[int, ...], dtype: Any) -> Any:
        """An array of any content; CuPy keeps freed memory for the next one."""
        return self.xp.empty(shape, dtype=dtype)

    def rfft2(self, images: Any) -> Any:
        """Unnormalised transforms of a batch of images."""
        return self.xp.fft.rfft2(images)

    def to_device(self, array: Any) -> Any:
        """A contiguous copy on the device."""
        return self.xp.ascontiguousarray(self.xp.asarray(array))

    def to_host(self, array: Any) -> Any:
        """A copy as NumPy."""
        return self.xp.asnumpy(array)


def _argument(kind: str, value: Any) -> Any:
    if kind == "p":
        return np.uintp(0) if value is None else value
    return np.int32(value) if kind == "i" else np.float32(value)
