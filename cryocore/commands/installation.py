"""What this installation computes with, for ``cryocore info`` without a file."""

from __future__ import annotations

import platform
import sys
from importlib import metadata

from cryocore import __version__
from cryocore.backend.cpu import compile_all
from cryocore.backend.cuda import gpu_fault, gpu_names
from cryocore.cores import available_cores
from cryocore.errors import InputError


def installation() -> dict[str, str]:
    """Versions, the compiled kernels of the CPU and the GPUs, each with the fault that stands in its way.

    Kernels that are not compiled yet are compiled.
    """
    fault = gpu_fault()
    return {
        "cryocore": __version__,
        "Python": f"{platform.python_version()}, {sys.executable}",
        "CPU": f"{available_cores()} cores; kernels {_kernels()}",
        "GPU": f"none: {fault}" if fault else ", ".join(gpu_names()),
        "CuPy": _version("cupy-cuda12x", "cupy-cuda13x", "cupy"),
        "torch": _version("torch"),
        "backend": f"auto takes the {'CPU' if fault else 'GPU'}",
    }


def _kernels() -> str:
    try:
        return str(compile_all())
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
