"""What kernels take of a GPU, without one: ``python -m benchmarks.occupancy PTXAS`` writes docs/measurements/gpu.md.

``PTXAS`` is the assembler of CUDA 12.9 (``pip install nvidia-cuda-nvcc-cu12==12.9.*`` in an environment of its own).
"""

from __future__ import annotations

import ctypes
import importlib.util
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.performance.repeated import repeat, simulated
from benchmarks.validation.common import ROOT
from cryocore.backend import CpuBackend
from cryocore.backend.base import kernel_files, kernel_source, signatures
from cryocore.backend.cuda import LANES, OPTIONS, THREADS
from cryocore.config.reconstruct import Reconstruct
from cryocore.config.score import Score
from cryocore.errors import InputError
from cryocore.imaging.accumulate import require_room_of_maps
from cryocore.imaging.grid import FourierGrid
from cryocore.imaging.voxels import pack_voxels
from cryocore.reconstruct import reconstruct
from cryocore.reconstruct.iterative.stage import require_room as require_room_of_epochs
from cryocore.reconstruct.solved import is_large
from cryocore.score import score
from cryocore.score.reference import PADDING

WARPS = {"70": 64, "75": 32, "80": 64, "86": 48, "89": 48, "90": 64, "100": 64, "120": 48}
"""Of a multiprocessor, by compute capability."""
PARTITIONS, PARTITION_REGISTERS, REGISTER_STEP = 4, 16384, 256
BOXES = (128, 256, 384, 512, 640)
TRANSFER_BOX = 128
CARDS = "V100 | T4 | A100 | 30 series, A40 | 40 series, L40 | H200 | B200 | 50 series"
FOUND = re.compile(r"Compiling entry function '(\w+)'.*?(\d+) bytes stack frame.*?Used (\d+) registers", re.DOTALL)


@dataclass(frozen=True)
class Usage:
    """Registers of a thread, and bytes of its stack."""

    registers: int
    stack: int

    def occupancy(self, architecture: str) -> float:
        """Share of a multiprocessor's warps that registers allow in whole blocks.

        >>> Usage(48, 0).occupancy("90"), Usage(86, 0).occupancy("70"), Usage(40, 0).occupancy("86")
        (0.625, 0.3125, 1.0)
        """
        of_warp = -(-self.registers * LANES // REGISTER_STEP) * REGISTER_STEP
        blocks = PARTITIONS * (PARTITION_REGISTERS // of_warp) * LANES // THREADS
        return min(1.0, blocks * THREADS / LANES / WARPS[architecture])


def nvrtc() -> ctypes.CDLL | None:
    """The library of the package nvidia-cuda-nvrtc-cu12, where it is installed."""
    spec = importlib.util.find_spec("nvidia.cuda_nvrtc")
    if spec is None or not spec.submodule_search_locations:
        return None
    return ctypes.CDLL(str(next(Path(spec.submodule_search_locations[0]).glob("lib/libnvrtc.so.*"))))


def compile_ptx(library: ctypes.CDLL, source: str, architecture: str) -> tuple[int, str, bytes]:
    """The status of the compilation, its messages, and the PTX."""
    options = [f"--gpu-architecture=compute_{architecture}", *OPTIONS]
    program = ctypes.c_void_p()
    library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernels.cu", 0, None, None)
    array = (ctypes.c_char_p * len(options))(*[o.encode() for o in options])
    status = library.nvrtcCompileProgram(program, len(options), array)
    size = ctypes.c_size_t()
    library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    library.nvrtcGetProgramLog(program, log)
    ptx = b""
    if status == 0:
        library.nvrtcGetPTXSize(program, ctypes.byref(size))
        text = ctypes.create_string_buffer(size.value)
        library.nvrtcGetPTX(program, text)
        ptx = text.value
    library.nvrtcDestroyProgram(ctypes.byref(program))
    return status, log.value.decode(), ptx


def usages(library: ctypes.CDLL, ptxas: str, architecture: str) -> dict[str, Usage]:
    """What each kernel takes on GPUs of one compute capability."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="cryocore-ptx-") as folder:
        for file in kernel_files("cuda"):
            status, log, ptx = compile_ptx(library, kernel_source(file), architecture)
            if status:
                raise RuntimeError(f"{file}: {log}")
            path = Path(folder) / "kernels.ptx"
            path.write_bytes(ptx)
            command = [ptxas, f"-arch=sm_{architecture}", "-v", str(path), "-o", "/dev/null"]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
            found |= {name: Usage(int(registers), int(stack)) for name, stack, registers in FOUND.findall(said)}
    missing = {n for f in kernel_files("cuda") for n in signatures(f)} - {"set_block"} - set(found)
    if missing:
        raise RuntimeError(f"nothing is said of {', '.join(sorted(missing))}")
    return found


def device_gib(box: int) -> list[float]:
    """GiB that the sums take at padding 2, the half maps that images are compared with, and the iterative method, as
    the program asks for."""
    asked: list[int] = []

    def require_room(n_bytes: int, what: str, fix: str) -> None:
        asked.append(n_bytes)
        raise InputError(what, fix=fix)

    backend: Any = SimpleNamespace(require_room=require_room, xp=None)
    coarse = FourierGrid(box, 1.0, box, (box - 1) // 2)
    density = np.broadcast_to(np.float32(1.0), (2, *coarse.shape))
    grid = FourierGrid.of(box, 1.0, 2.0)
    for ask in (
        lambda: require_room_of_maps(grid, 1 if is_large(grid) else 2, backend),
        lambda: pack_voxels([], 2, FourierGrid.of(box, 1.0, PADDING), backend, density),
        lambda: require_room_of_epochs(grid, backend),
    ):
        try:
            ask()
        except InputError:
            continue
    return [n_bytes / 2**30 for n_bytes in asked]


class CountingBackend(CpuBackend):
    """Counts the bytes that a GPU would be sent, and would send back."""

    def __init__(self) -> None:
        super().__init__(threads=1)
        self.sent = self.returned = 0

    def to_device(self, array: Any) -> Any:
        """The array, counted."""
        self.sent += array.nbytes
        return super().to_device(array)

    def to_host(self, array: Any) -> Any:
        """The array, counted."""
        self.returned += array.nbytes
        return super().to_host(array)

    def later(self, array: Any) -> Callable[[], Any]:
        """The array, counted."""
        return partial(self.to_host, array)


def transfers(box: int) -> dict[str, tuple[float, float, float, float]]:
    """Bytes to the device and back by stage: per particle, by what twice the particles take more, and the rest."""
    found: dict[str, list[tuple[int, int]]] = {"reconstruct": [], "score": []}
    with tempfile.TemporaryDirectory(prefix="cryocore-transfers-") as name:
        folder = Path(name)
        base = simulated(folder, box, 200)
        for n in (200, 400):
            table, maps = folder / f"{n}.parquet", folder / f"round_{n}"
            repeat(base, n).write(table)
            backend = CountingBackend()
            how: dict[str, Any] = {"symmetry": "C1", "backend": backend}
            reconstruct(table, None, None, settings=Reconstruct(), out_dir=maps, **how)
            found["reconstruct"].append((backend.sent, backend.returned))
            backend.sent = backend.returned = 0
            score(table, maps, None, settings=Score(), round_number=0, seed=0, out=maps / "log.parquet", **how)
            found["score"].append((backend.sent, backend.returned))
    return {
        stage: tuple((b - a) / 200 for a, b in zip(*runs, strict=True))
        + tuple(2 * a - b for a, b in zip(*runs, strict=True))
        for stage, runs in found.items()
    }


def page(ptxas: str) -> str:
    """The page of docs/measurements."""
    library = nvrtc()
    if library is None:
        raise RuntimeError("nvidia-cuda-nvrtc-cu12 is not installed")
    columns = {a: usages(library, ptxas, a) for a in WARPS}
    names = sorted(columns["90"])
    table = "\n".join(
        f"| `{name}` | "
        + " | ".join(f"{u[name].registers} / {100 * u[name].occupancy(a):.0f}" for a, u in columns.items())
        + " |"
        for name in names
    )
    stacks = {name: max(u[name].stack for u in columns.values()) for name in names}
    stack = ", ".join(f"`{name}` {size} bytes" for name, size in stacks.items() if size) or "none"
    images, of_map = 4 * TRANSFER_BOX**2, 4 * TRANSFER_BOX**3
    moved = "\n".join(
        f"| `{stage}` | {sent:,.0f} | {sent / images:.2f} | {back:,.0f} | {there / of_map:.1f} | {again / of_map:.1f} |"
        for stage, (sent, back, there, again) in transfers(TRANSFER_BOX).items()
    )
    memory = "\n".join(f"| {box} | {' | '.join(f'{gib:.1f}' for gib in device_gib(box))} |" for box in BOXES)
    return f"""# What a GPU has to have

*For those who choose a card, and for those who change kernels.* Nothing here was measured on a GPU: the numbers are
those of the compiler and of the arrays that stages ask for (`python -m benchmarks.occupancy`). `make gpu-check` times a
card.

## Memory

GiB on the device, all shells: the sums of `reconstruct` at padding 2 and what it takes to make maps of them, the half
maps that `score` compares images with, and the maps, gradients and steps of `method: iterative`, by what these take on
the CPU. Where the molecule is symmetric the sums are there twice for a while. A few batches of images come on top,
below 1 GiB. All grow with the cube of the box and of the shells up to `max_resolution_angstrom`, all but the half maps
with that of `padding` too; from box 448 on the sums are those of one half set at a time. Where they do not fit, the
stage says so before it reads an image.

| box | sums | half maps | iterative |
|---|---|---|---|
{memory}

## Transfers

Bytes per particle of box {TRANSFER_BOX}, whose float32 image has {images:,}. `score` has its default poses and shifts,
and reads every image twice: its noise pass takes up to 100,000 particles. Images cross as they are stored: those of
16-bit numbers take half of it. Once a round come whole maps, here in units of one map of the box: sums stay on the
device until they are maps, and half maps that images are compared with go there once. Where sums are kept for the next
round, or come from shards, they cross as well.

| stage | to the device | over those of the image | back | maps to the device | maps back |
|---|---|---|---|---|---|
{moved}

## Kernels

Registers of a thread / warps of a multiprocessor in percent that they allow, in blocks of {THREADS} threads (NVRTC and
ptxas 12.9). Stack of a thread: {stack}.

| compute capability | {" | ".join(f"{a[:-1]}.{a[-1]}" for a in WARPS)} |
|---|{"---|" * len(WARPS)}
| such as | {CARDS} |
{table}
"""


if __name__ == "__main__":
    (ROOT / "docs" / "measurements" / "gpu.md").write_text(page(sys.argv[1]))
