"""The GPU backend: the same kernels, compiled by NVRTC and run by CuPy."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from cryocore.backend.base import Kernel, kernel_source
from cryocore.backend.devices import choose_device
from cryocore.errors import InputError
from cryocore.memory import Memory

OPTIONS = ("--std=c++17", "--use_fast_math")
THREADS = 128
LANES = 32
BLOCKS, MOST_STRIPS = 16, 32
"""Blocks that fill a multiprocessor, 2048 threads; how many share an item, at most, where there are few items."""
TRIAL = Kernel("cuda/try_out.cu", "add_up")
LARGEST_PINNED = 1 << 26
"""Bytes that go to the device by way of CuPy's pinned memory, which is a power of two of them and is kept."""
GIVEN = ("SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "CUDA_VISIBLE_DEVICES")
"""Variables of the environment that say which GPUs a job was given."""
NONE_GIVEN = {"", "-1", "NoDevFiles"}


@cache
def gpu_fault() -> str | None:
    """Why there is no usable GPU, or None if there is one: it is tried out once per process."""
    try:
        import cupy
    except ImportError as error:
        return f"cupy cannot be imported: {error}"
    try:
        if cupy.cuda.runtime.getDeviceCount() == 0:
            return "cupy finds no CUDA device"
        _try_out(CudaBackend())
    except Exception as error:  # CuPy and the libraries under it raise whatever they have
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        return f"a trial of the GPU failed: {reason}"
    return None


def _try_out(backend: CudaBackend) -> None:
    """Compile and run a kernel and a transform, and compare what they give."""
    values = np.arange(2 * THREADS, dtype=np.float32)
    total = backend.xp.empty(1, dtype=np.float32)
    backend.launch(TRIAL, (backend.to_device(values), len(values), total), items=1)
    transform = backend.rfft2(backend.to_device(values.reshape(1, 16, 16)))
    found = float(backend.to_host(total)[0]), float(backend.to_host(transform)[0, 0, 0].real)
    if found != (values.sum(), values.sum()):
        raise RuntimeError(f"it adds up {values.sum():g} as {found[0]:g} and {found[1]:g}")


def given_gpus(environment: Mapping[str, str] = os.environ) -> str | None:
    """How the environment says that this job was given GPUs, as ``SLURM_JOB_GPUS=0``; None: it says nothing."""
    said = ((name, environment.get(name, "")) for name in GIVEN)
    return next((f"{name}={value}" for name, value in said if value not in NONE_GIVEN), None)


def gpu_names() -> list[str]:
    """The GPUs that this process sees, as ``NVIDIA H200 (compute capability 9.0, 139.8 GiB, 139.2 free)``; there have
    to be some."""
    from cupy.cuda import Device, runtime

    found = []
    for i in range(runtime.getDeviceCount()):
        about = runtime.getDeviceProperties(i)
        with Device(i):
            free, total = (n / 2**30 for n in runtime.memGetInfo())
        capability = f"{about['major']}.{about['minor']}"
        found.append(f"{about['name'].decode()} (compute capability {capability}, {total:.1f} GiB, {free:.1f} free)")
    return found


def cuda_versions() -> str:
    """The CUDA of driver and libraries, as ``13.0 by the driver, 12.9 by CuPy, NVRTC 12.9``; CuPy has to be there."""
    from cupy.cuda import nvrtc, runtime

    driver, ours = (f"{v // 1000}.{v % 1000 // 10}" for v in (runtime.driverGetVersion(), runtime.runtimeGetVersion()))
    return f"{driver} by the driver, {ours} by CuPy, NVRTC {'.'.join(map(str, nvrtc.getVersion()))}"


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


@cache
def _processors() -> int:
    """Multiprocessors of that GPU."""
    from cupy.cuda import runtime

    return int(runtime.getDeviceProperties(_device())["multiProcessorCount"])


def pinned(n_bytes: int) -> NDArray[np.uint8]:
    """Host memory of at least so many bytes that the device copies from, and to, by itself."""
    from cupy.cuda import Device, alloc_pinned_memory

    with Device(_device()):  # threads begin at device 0
        return np.frombuffer(alloc_pinned_memory(n_bytes), dtype=np.uint8)


class PinnedMemory(Memory):
    """Memory that is given out again when the device has copied what was in it.

    ``copied`` : the event after the last copy; None: nothing is being copied
    """

    copied: Any = None

    def array(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """See :class:`Memory`."""
        if self.copied is not None:
            self.copied.synchronize()
            self.copied = None
        return super().array(shape, dtype)

    def allocate(self, n_bytes: int) -> NDArray[np.uint8]:
        """Fresh memory."""
        return pinned(n_bytes)


class CudaBackend:
    """CuPy arrays on one device; see :func:`cryocore.backend.devices.choose_device`."""

    name = "cuda"
    cache_bytes = 1 << 30

    def __init__(self) -> None:
        import cupy

        cupy.cuda.Device(_device()).use()
        self.xp = cupy
        self._memories: WeakSet[PinnedMemory] = WeakSet()

    @property
    def device(self) -> str:
        """The device, as torch calls it."""
        return f"cuda:{_device()}"

    @property
    def gpu(self) -> str:
        """What tells its GPU from all others of the machine."""
        return str(self.xp.cuda.runtime.deviceGetPCIBusId(_device()))

    def launch(self, kernel: Kernel, args: tuple[Any, ...], *, items: int) -> None:
        """Run a kernel over ``items`` independent pieces of work."""
        kinds = kernel.kinds(args, self.xp.ndarray)
        values = tuple(_argument(k, a) for k, a in zip(kinds, args, strict=True))
        strips = min(MOST_STRIPS, BLOCKS * _processors() // max(items, 1)) if kernel.strips else 1
        grid, block = (min(items, 2**31 - 1), max(strips, 1)), (LANES, THREADS // LANES) if kernel.rows else (THREADS,)
        module_of(kernel.file).get_function(kernel.name)(grid, block, values, shared_mem=4 * THREADS)

    def scratch(self, name: str, shape: tuple[int, ...], dtype: Any) -> Any:
        """An array of any content; CuPy keeps freed memory for the next one."""
        return self.xp.empty(shape, dtype=dtype)

    def rfft2(self, images: Any, width: int | None = None) -> Any:
        """Unnormalised transforms of a batch of images."""
        return self.xp.fft.rfft2(images)

    def memory(self) -> Memory:
        """Memory that the device copies from by itself."""
        made = PinnedMemory()
        self._memories.add(made)
        return made

    def to_device(self, array: Any) -> Any:
        """A contiguous copy on the device; of an array in :meth:`memory` it is made by the device, later."""
        if isinstance(array, np.ndarray):
            lent = next((m for m in self._memories if m.holds(array)), None)
            if lent is not None or array.nbytes > LARGEST_PINNED:
                out = self.xp.empty(array.shape, dtype=array.dtype)
                out.set(np.ascontiguousarray(array), stream=lent and self.xp.cuda.get_current_stream())
                if lent is not None:
                    lent.copied = self._event()
                return out
        return self.xp.ascontiguousarray(self.xp.asarray(array))

    def to_host(self, array: Any) -> Any:
        """A copy as NumPy."""
        return self.xp.asnumpy(array)

    def later(self, array: Any) -> Callable[[], Any]:
        """What waits for a copy that the device makes after what it was told to do until now."""
        out = pinned(array.nbytes)[: array.nbytes].view(array.dtype).reshape(array.shape)
        array.get(out=out, blocking=False)
        done = self._event()

        def wait() -> Any:
            done.synchronize()
            return out

        return wait

    def _event(self) -> Any:
        """What can be waited for: all that the device was told to do until now."""
        event = self.xp.cuda.Event(disable_timing=True)
        event.record()
        return event

    def wait(self) -> None:
        """Return when all kernels have run."""
        self.xp.cuda.Device(_device()).synchronize()

    def require_room(self, n_bytes: int, what: str, fix: str) -> None:
        """Refuse arrays that the GPU has no room for, with what it would need."""
        cuda = self.xp.cuda
        free = cuda.runtime.memGetInfo()[0] + self.xp.get_default_memory_pool().free_bytes()
        if n_bytes > free:
            need, left = n_bytes / 2**30, free / 2**30
            problem = f"{what} need {need:.3g} GiB of the GPU's memory, and {left:.3g} GiB are free"
            raise InputError(problem, fix=f"{fix}, end what else runs on the GPU, or set backend: cpu")


def _argument(kind: str, value: Any) -> Any:
    if kind == "p":
        return np.uintp(0) if value is None else value
    return np.int32(value) if kind == "i" else np.float32(value)
