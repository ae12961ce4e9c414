"""The CPU backend: the kernels, compiled by the system's C++ compiler and run by a pool of threads."""

from __future__ import annotations

import ctypes
import hashlib
import itertools
import logging
import os
import platform
import shlex
import shutil
import stat
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from cryocore.backend.base import Kernel, kernel_files, kernel_source, signatures
from cryocore.cores import available_cores
from cryocore.errors import InputError
from cryocore.memory import Memory

log = logging.getLogger(__name__)

FLAGS = ("-x", "c++", "-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
SAME_ROUNDING = "-ffp-contract=off"
"""Products are rounded before they are added, also where the processor could do both at once: the kernels give the same
bits on every x86-64 processor."""
CFLAGS_VARIABLE = "CRYOCORE_CFLAGS"
"""The environment variable whose flags come after these, and win."""
FORWARD = Kernel("host/fourier.cpp", "forward_planes")
_KINDS = {"p": ctypes.c_void_p, "i": ctypes.c_int, "f": ctypes.c_float}


class CpuBackend:
    """NumPy arrays; every kernel is spread over ``threads`` threads (default: the cores this process may use)."""

    name = device = "cpu"
    gpu = None
    xp = np
    memory = Memory

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or available_cores()
        _compiler()  # refused here rather than in the middle of a stage
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="cryocore")
        self._scratch: defaultdict[str, Memory] = defaultdict(Memory)
        self.cache_bytes = self.threads << 21

    def launch(self, kernel: Kernel, args: tuple[Any, ...], *, items: int) -> None:
        """Run a kernel over ``items`` independent pieces of work."""
        library, grid = load_library(kernel.file), max(1, min(items, 8 * self.threads))
        function, set_block, blocks = getattr(library, kernel.name), library.set_block, itertools.count()
        kinds = kernel.kinds(args, np.ndarray)
        arguments = [_argument(k, a) for k, a in zip(kinds, args, strict=True)]

        def work() -> None:
            while (block := next(blocks)) < grid:
                set_block(block, grid)
                function(*arguments)

        futures = [self._pool.submit(work) for _ in range(min(self.threads, grid))]
        try:
            for future in futures:
                future.result()
        finally:
            # an interrupt must not free arrays that threads still write to
            wait(futures)

    def scratch(self, name: str, shape: tuple[int, ...], dtype: Any) -> Any:
        """An array of any content, in the memory of the last one of that name."""
        return self._scratch[name].array(shape, dtype)

    def rfft2(self, images: Any, width: int | None = None) -> Any:
        """Unnormalised transforms of a batch of images, in the memory of the last ones."""
        n, d = images.shape[:2]
        out = self.scratch("transforms", (n, d, d // 2 + 1), np.complex64)
        window = n, 0, d, 0, d, d
        self.launch(FORWARD, (images, *window, width or d // 2 + 1, out), items=n)
        return out

    def to_device(self, array: Any) -> Any:
        """The array itself, contiguous."""
        return np.ascontiguousarray(array)

    def to_host(self, array: Any) -> Any:
        """The array itself."""
        return array

    def later(self, array: Any) -> Callable[[], Any]:
        """What gives the array itself."""
        return lambda: array

    def wait(self) -> None:
        """Nothing: they have run when a launch returns."""

    def require_room(self, n_bytes: int, what: str, fix: str) -> None:
        """Nothing: jobs ask for the memory that they need (:mod:`cryocore.workflow.resources`)."""


def host() -> CpuBackend:
    """The CPU, whatever device the images are on: for maps that are finished, and what is made of them."""
    return _host(available_cores(), os.getpid())


@cache
def _host(threads: int, process: int) -> CpuBackend:
    """One of each process: its threads are not those of the process that it was forked from."""
    return CpuBackend(threads)


def _argument(kind: str, value: Any) -> Any:
    return _KINDS[kind](value.ctypes.data if isinstance(value, np.ndarray) else value)


def compile_all() -> Path:
    """Compile all kernels that are not compiled yet; the folder of the libraries."""
    libraries = [compile_library(file, compiler_flags()) for file in kernel_files("host")]
    return libraries[0].parent


@cache
def load_library(file: str) -> ctypes.CDLL:
    """Compile the kernels of a file, or find them compiled, and load them."""
    library = ctypes.CDLL(str(compile_library(file, compiler_flags())))
    for name, kinds in signatures(file).items():
        function: Callable[..., Any] = getattr(library, name)
        function.argtypes = [_KINDS[k] for k in kinds]  # type: ignore[attr-defined]
        function.restype = None  # type: ignore[attr-defined]
    return library


def compiler_flags() -> tuple[str, ...]:
    """Flags of the host compiler; those of ``CRYOCORE_CFLAGS``, split as a shell does, come last."""
    try:
        return (*FLAGS, SAME_ROUNDING, *shlex.split(os.environ.get(CFLAGS_VARIABLE, "")))
    except ValueError as error:
        raise InputError(f"{CFLAGS_VARIABLE}: {error}", fix="Close the quotation, or unset it") from None


def compile_library(file: str, flags: Sequence[str]) -> Path:
    """A shared library of a file of kernels, cached by source, compiler, flags and processor."""
    compiler, source, name = _compiler(), kernel_source(file), Path(file).stem
    version = _version(compiler)
    key = hashlib.sha256("\0".join([source, version, *flags, _processor()]).encode()).hexdigest()[:24]
    directory = _cache_directory()
    target = directory / f"{name}-{key}.so"
    if target.exists():
        return target
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        text, built = Path(scratch) / "kernels.cpp", Path(scratch) / "kernels.so"
        text.write_text(source)
        result = subprocess.run(
            [compiler, *flags, str(text), "-o", str(built)], capture_output=True, text=True, check=False
        )
        if result.returncode:
            last = (result.stderr.strip() or "it printed nothing").splitlines()[-1]
            raise InputError(
                f"the C++ compiler cannot compile the kernels ({last})",
                file=compiler,
                fix="Install g++ 9 or later, or name another compiler with CXX",
            )
        built.replace(target)
    log.info("compiled the CPU kernels of %s into %s", file, target)
    return target


def compiler_version() -> str:
    """The compiler and its version, as it says it."""
    return _version(_compiler()).splitlines()[0]


def _version(compiler: str) -> str:
    return subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout


def _compiler() -> str:
    for name in (os.environ.get("CXX"), "g++", "clang++", "c++"):
        if name and shutil.which(name):
            return name
    raise InputError("no C++ compiler was found", fix="Install one (Debian: apt install g++; conda: gxx), or set CXX")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())


def _cache_directory() -> Path:
    base = os.environ.get("CRYOCORE_CACHE_DIR") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "cryocore"
    )
    directory = Path(base)
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if directory.stat().st_mode & 0o002:
            raise PermissionError(f"everybody may write into {directory}")
        with tempfile.TemporaryFile(dir=directory):
            return directory
    except OSError:
        fallback = Path(tempfile.gettempdir()) / f"cryocore-{os.getuid()}"
        fallback.mkdir(mode=0o700, exist_ok=True)
        state = fallback.lstat()
        if state.st_uid != os.getuid() or state.st_mode & 0o022 or not stat.S_ISDIR(state.st_mode):
            raise InputError("no private cache directory", fix="Set CRYOCORE_CACHE_DIR") from None
        return fallback
