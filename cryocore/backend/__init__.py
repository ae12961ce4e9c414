"""How kernels run: one arithmetic, compiled for the CPU or for the GPU; insertion has a schedule for each.

A stage chooses a backend once, at its edge, and hands it down. Nothing outside this package asks which one it is.
"""

from __future__ import annotations

import logging

from cryocore.backend.base import Backend, Kernel, constant
from cryocore.backend.cpu import CpuBackend, host
from cryocore.errors import InputError

__all__ = ["Backend", "CpuBackend", "Kernel", "constant", "get_backend", "host"]

log = logging.getLogger(__name__)


def get_backend(name: str = "auto", *, threads: int | None = None) -> Backend:
    """The backend ``cpu`` or ``cuda``; ``auto`` takes the GPU where there is one that works.

    Raises
    ------
    InputError  if ``cuda`` is asked for and there is no usable GPU, or no C++ compiler for ``cpu``.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"there is no backend {name!r}", fix="Use auto, cpu or cuda")
    if name != "cpu":
        from cryocore.backend.cuda import CudaBackend, given_gpus, gpu_fault

        fault = gpu_fault()
        if fault is None:
            log.debug("using the GPU")
            return CudaBackend()
        if name == "cuda":
            raise InputError(
                f"no usable GPU ({fault})", fix="Install the gpu-cu12 or gpu-cu13 extra, or set backend: cpu"
            )
        if given := given_gpus():
            log.warning("using the CPU, although the job was given a GPU (%s): %s", given, fault)
        else:
            log.debug("no GPU (%s): using the CPU", fault)
    return CpuBackend(threads=threads)
