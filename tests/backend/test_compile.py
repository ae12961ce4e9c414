"""Every kernel compiles for every GPU generation in use, without a GPU; sanitizers find nothing on the host."""

from __future__ import annotations

import ast
import ctypes
import re

import numpy as np
import pytest

from benchmarks import occupancy
from benchmarks.occupancy import compile_ptx
from cryocore.backend import CpuBackend, Kernel, constant
from cryocore.backend.base import KERNEL_DIRECTORY, kernel_files, kernel_source, signatures


@pytest.fixture(scope="module")
def nvrtc() -> ctypes.CDLL:
    library = occupancy.nvrtc()
    if library is None:
        pytest.skip("nvidia-cuda-nvrtc-cu12 is not installed")
    return library


@pytest.mark.parametrize("architecture", occupancy.WARPS)
@pytest.mark.parametrize("file", kernel_files("cuda"))
def test_kernels_compile_for_gpu(nvrtc: ctypes.CDLL, file: str, architecture: str) -> None:
    source = kernel_source(file)
    status, log, ptx = compile_ptx(nvrtc, source, architecture)
    assert status == 0, log
    kernels = re.findall(r"__global__ void (\w+)", source)
    assert kernels
    for kernel in kernels:
        assert f".entry {kernel}(".encode() in ptx


def test_every_kernel_is_launched_from_the_file_that_holds_it() -> None:
    """Modules name the file and the function as they are, which is how ``workflow.provenance`` finds the file."""
    calls = [
        (node.args[0], node.args[1])
        for path in KERNEL_DIRECTORY.parents[1].rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Kernel"
    ]
    launched = {(ast.literal_eval(file), ast.literal_eval(name)) for file, name in calls}
    files = {*kernel_files("host"), *kernel_files("cuda")}
    there = {(file, name) for file in files for name in signatures(file) if name != "set_block"}
    assert launched == there


def test_arguments_are_those_of_the_source() -> None:
    assert signatures("pack.cu")["pack_blocks"] == "piip"
    assert signatures("average.cu")["average_mates"] == "pppiifip"
    assert signatures("host/insert_binned.cpp")["sort_samples"] == "ppppppiiipipip"
    with pytest.raises(ValueError, match="pack_blocks takes 4 arguments; got 1"):
        CpuBackend(threads=1).launch(Kernel("pack.cu", "pack_blocks"), (1,), items=1)
    array = np.zeros(3, dtype=np.float32)
    with pytest.raises(ValueError, match="pack_blocks got an array where it takes a number"):
        CpuBackend(threads=1).launch(Kernel("pack.cu", "pack_blocks"), (array, array, 1, array), items=1)


def test_blocks_share_items_where_the_source_says_so() -> None:
    kernels = [Kernel(f, name) for f in kernel_files("cuda") for name in signatures(f) if name != "set_block"]
    rows = {"insert_slices", "prepare_images", "prepare_packed", "project_slices"}
    assert {k.name for k in kernels if k.rows} == rows
    of_grids = {"average_mates", "pack_blocks", "pack_voxels", "quotient_planes", "smooth_density", "symmetrise_sums"}
    assert {k.name for k in kernels if not k.strips} == {"add_up", "residual_slices", *of_grids}


@pytest.mark.parametrize(("architecture", "additions"), [("80", "red.global.add.f32"), ("90", "red.global.add.v2.f32")])
def test_pairs_are_added_at_once_where_the_gpu_can(nvrtc: ctypes.CDLL, architecture: str, additions: str) -> None:
    _, _, ptx = compile_ptx(nvrtc, kernel_source("cuda/insert_atomic.cu"), architecture)
    assert additions in ptx.decode() or additions.replace("red", "atom") in ptx.decode()


def test_numbers_are_those_of_the_source() -> None:
    assert constant("average.cu", "TAPS") == 6
    assert constant("pack.cu", "SIDE_BITS") == constant("shared/blocked.cuh", "SIDE_BITS") == 3
    for file, name in (("pack.cu", "TAPS"), ("pack.cu", "LANES"), ("average.cu", "TAP")):
        with pytest.raises(ValueError, match=f"{file} does not define one integer {name}"):
            constant(file, name)


def test_a_file_is_included_once() -> None:
    source = kernel_source("score.cu")
    assert source.count("struct Geometry {") == source.count("struct Blocks {") == 1
    assert "DEVICE float2 gather(" not in source
    assert "#include <cmath>" in source and '#include "' not in source


@pytest.mark.parametrize(
    ("registers", "architecture", "share"), [(48, "90", 40 / 64), (86, "70", 20 / 64), (40, "86", 1)]
)
def test_registers_limit_the_blocks_of_a_multiprocessor(registers: int, architecture: str, share: float) -> None:
    assert occupancy.Usage(registers, 0).occupancy(architecture) == share


def test_memory_that_boxes_need_is_what_stages_ask_for() -> None:
    sums, maps, epochs = occupancy.device_gib(256)
    # a map, another and a mask, transformed along z, and slabs
    of_sums, of_maps = (4 * 256**2 * (3 * 256 + 2 * planes) / 2**30 + 0.5 for planes in (256, 226))
    assert sums == pytest.approx(24 * 257 * 515**2 / 2**30 + of_sums, rel=0.01)
    assert maps == pytest.approx((16 + 8) * 226 * 451**2 / 2**30 + of_maps, rel=0.05)  # in whole blocks
    assert epochs == pytest.approx((52 * 512**3 + 128 * 256**3) / 2**30, rel=0.05)


def test_a_broken_kernel_does_not_compile(nvrtc: ctypes.CDLL) -> None:
    source = kernel_source("score.cu").replace("floorf(", "floor_of(")
    status, log, _ = compile_ptx(nvrtc, source, "80")
    assert status != 0
    assert "floor_of" in log
