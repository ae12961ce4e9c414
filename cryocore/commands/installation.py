"""What this installation computes with, for ``cryocore info`` without a file."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path

from cryocore import __version__
from cryocore.backend.cpu import compile_all, compiler_version
from cryocore.backend.cuda import cuda_versions, given_gpus, gpu_fault, gpu_names
from cryocore.cores import available_cores
from cryocore.errors import InputError

DRIVER = Path("/proc/driver/nvidia/version")


def installation() -> dict[str, str]:
    """What a request for help has to say: versions, compiled kernels and GPUs, each with what stands in its way.

    Kernels that are not compiled yet are compiled; the GPU is tried out.
    """
    fault, given = gpu_fault(), given_gpus()
    return {
        "cryocore": __version__,
        "Python": f"{platform.python_version()}, {sys.executable}",
        "system": f"{platform.platform()}, {_memory_gib():.0f} GiB of memory",
        "CPU": f"{available_cores()} cores; kernels {_kernels()}",
        "GPU": f"none: {fault}" if fault else "; ".join(gpu_names()),
        "CUDA": "-" if fault else cuda_versions(),
        "driver": _driver(),
        "CuPy": _version("cupy-cuda12x", "cupy-cuda13x", "cupy"),
        "torch": _version("torch"),
        "backend": f"auto takes the {'CPU' if fault else 'GPU'}{_although(given) if fault and given else ''}",
    }


def _although(given: str) -> str:
    return f", although the job was given a GPU ({given})"


def _memory_gib() -> float:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30


def _driver() -> str:
    """The driver of NVIDIA's kernel module, with its version."""
    try:
        return DRIVER.read_text().splitlines()[0].removeprefix("NVRM version: ")
    except OSError:
        return "none of NVIDIA's"


def _kernels() -> str:
    try:
        return f"{compile_all()}, by {compiler_version()}"
    except InputError as error:
        return f"cannot be compiled: {error}"


def _version(*names: str) -> str:
    """The version of the first package that is installed, under any of its names."""
    for name in names:
        try:
            return f"{metadata.version(name)} ({name})"
        except metadata.PackageNotFoundError:
            continue
    return "not installed"
