"""What a backend offers: arrays, Fourier transforms, and kernels."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from cryocore.memory import Memory

KERNEL_DIRECTORY = Path(__file__).parent / "kernels"

ARRAY_TYPES = (np.complex64, np.float32, np.int32, np.int16, np.uint16, np.float16, np.int8)
"""Of the arrays that kernels read."""

_INCLUDE = re.compile(r'^#include "(.+)"$', re.MULTILINE)
_FUNCTION = re.compile(r'^extern "C" (?:__global__ )?void (\w+)\(([^)]*)\)', re.MULTILINE)
_COMMENT = re.compile(r"//.*")


@dataclass(frozen=True)
class Kernel:
    """A function of a file in ``kernels``, which is compiled with what it includes when it is first used.

    Files in ``host`` and ``cuda`` are for one machine, those beside these folders for both.

    A module names the files of the kernels that it launches, and so depends on these alone
    (:mod:`cryocore.workflow.provenance`).

    """

    file: str
    name: str

    @property
    def rows(self) -> bool:
        """Whether blocks of a GPU have a warp for each of several rows of an image."""
        return "threadIdx.y" in bodies(self.file)[self.name]

    @property
    def strips(self) -> bool:
        """Whether several blocks of a GPU can share an item, each with some of its rows, bands or samples."""
        return "blockIdx.y" in bodies(self.file)[self.name]

    def kinds(self, args: tuple[Any, ...], array: Any) -> str:
        """The kinds of the arguments, see :func:`signatures`.

        Raises
        ------
        ValueError  if there are more or fewer, one that is read as a number is an array, or one that is read as an
            array is none, of another type than kernels read, or has gaps; ``array``: the class of the device's arrays
        """
        kinds = signatures(self.file)[self.name]
        if len(args) != len(kinds):
            raise ValueError(f"{self.name} takes {len(kinds)} arguments; got {len(args)}")
        if any(kind != "p" and isinstance(a, (array, np.ndarray)) for kind, a in zip(kinds, args, strict=True)):
            raise ValueError(f"{self.name} got an array where it takes a number")
        for given in (a for kind, a in zip(kinds, args, strict=True) if kind == "p" and a is not None):
            if not isinstance(given, array):
                raise ValueError(f"{self.name} needs arrays of the device; got {type(given)}")
            if given.dtype not in ARRAY_TYPES or not given.flags.c_contiguous:
                found = f"{given.dtype}, strides {given.strides}"
                raise ValueError(f"{self.name} needs contiguous arrays of up to 32 bits a number; got {found}")
        return kinds


def kernel_files(machine: str) -> list[str]:
    """The files that are compiled for ``host`` or ``cuda``, each by itself."""
    files = (*KERNEL_DIRECTORY.glob("*.cu"), *(KERNEL_DIRECTORY / machine).iterdir())
    return sorted(path.relative_to(KERNEL_DIRECTORY).as_posix() for path in files)


@cache
def kernel_source(file: str) -> str:
    """A file of kernels as one translation unit, with what it includes."""
    included: set[str] = set()

    def text(name: str) -> str:
        if name in included:
            return ""
        included.add(name)
        return _INCLUDE.sub(lambda found: text(found[1]), (KERNEL_DIRECTORY / name).read_text())

    return text(file)


@cache
def bodies(file: str) -> dict[str, str]:
    """The text of every function of a file, and what follows up to the next one."""
    parts = [(_FUNCTION.match(part), part) for part in re.split(r"^(?=extern \"C\" )", kernel_source(file), flags=re.M)]
    return {found[1]: _COMMENT.sub("", part) for found, part in parts if found}


@cache
def signatures(file: str) -> dict[str, str]:
    """Argument kinds of every function of a file: p pointer (or None), f float32, i int32."""
    functions = _FUNCTION.findall(_COMMENT.sub("", kernel_source(file)))
    kinds = {
        name: ["p" if "*" in a else "f" if "float" in a.split() else "i" for a in text.split(",")]
        for name, text in functions
    }
    return {name: "".join(found) for name, found in kinds.items()}


def constant(file: str, name: str) -> int:
    """What a file of kernels, or one that it includes, defines ``name`` as: such numbers stand in the kernels alone.

    Raises
    ------
    ValueError  if there is no such number, or there are several.
    """
    found = re.findall(rf"^#define {name} (\w+)", kernel_source(file), re.MULTILINE)
    if len(found) != 1 or not found[0].isdigit():
        raise ValueError(f"{file} does not define one integer {name}")
    return int(found[0])


class Backend(Protocol):
    """Arrays of one device and the kernels that work on them."""

    @property
    def name(self) -> str:
        """``cpu`` or ``cuda``; asked for in this package only."""

    @property
    def device(self) -> str:
        """The device of its arrays, as torch calls it: ``cpu`` or ``cuda:0``."""

    @property
    def gpu(self) -> str | None:
        """What tells its GPU from all others of the machine; None: it has none."""

    @property
    def xp(self) -> Any:
        """The array module: numpy, or cupy."""

    @property
    def cache_bytes(self) -> int:
        """What passes from one step to the next should be no larger."""

    def scratch(self, name: str, shape: tuple[int, ...], dtype: Any) -> Any:
        """An array of any content, which the next call with the same name may use again."""

    def launch(self, kernel: Kernel, args: tuple[Any, ...], *, items: int) -> None:
        """Run a kernel over ``items`` independent pieces of work."""

    def rfft2(self, images: Any, width: int | None = None) -> Any:
        """Unnormalised transforms ``(n, d, d//2+1)`` complex64 of images ``(n, d, d)`` float32.

        The first ``width`` coefficients of each row, all by default, are valid, until the next call.
        """

    def memory(self) -> Memory:
        """Host memory for what is copied to the device: it is given out again when that is done."""

    def to_device(self, array: Any) -> Any:
        """A copy (or, on the CPU, the array itself) that kernels can read."""

    def to_host(self, array: Any) -> Any:
        """The array as NumPy."""

    def later(self, array: Any) -> Callable[[], Any]:
        """What gives the array as NumPy when it is there: the device makes the copy once it has made the array."""

    def wait(self) -> None:
        """Return when all kernels have run."""

    def require_room(self, n_bytes: int, what: str, fix: str) -> None:
        """Refuse arrays that the device has no room for: an InputError with what they are, a plural, and what helps."""
