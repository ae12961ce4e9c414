"""Every kernel compiles for every GPU generation in use, without a GPU; sanitizers find nothing on the host."""

from __future__ import annotations

import ctypes
import importlib.util
from pathlib import Path

import pytest

from cryocore.backend.base import KERNELS, kernel_source
from cryocore.backend.cuda import OPTIONS

ARCHITECTURES = ("70", "75", "80", "86", "89", "90", "100", "120")


@pytest.fixture(scope="module")
def nvrtc() -> ctypes.CDLL:
    spec = importlib.util.find_spec("nvidia.cuda_nvrtc")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("nvidia-cuda-nvrtc-cu12 is not installed")
    library = next(Path(spec.submodule_search_locations[0]).glob("lib/libnvrtc.so.*"))
    return ctypes.CDLL(str(library))


def compile_ptx(nvrtc: ctypes.CDLL, source: str, options: list[str]) -> tuple[int, str, bytes]:
    program = ctypes.c_void_p()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernels.cu", 0, None, None)
    array = (ctypes.c_char_p * len(options))(*[o.encode() for o in options])
    status = nvrtc.nvrtcCompileProgram(program, len(options), array)
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    ptx = b""
    if status == 0:
        nvrtc.nvrtcGetPTXSize(program, ctypes.byref(size))
        text = ctypes.create_string_buffer(size.value)
        nvrtc.nvrtcGetPTX(program, text)
        ptx = text.value
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return status, log.value.decode(), ptx


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_kernels_compile_for_gpu(nvrtc: ctypes.CDLL, architecture: str) -> None:
    status, log, ptx = compile_ptx(nvrtc, kernel_source(), [f"--gpu-architecture=compute_{architecture}", *OPTIONS])
    assert status == 0, log
    for kernel in KERNELS:
        assert f".entry {kernel}(".encode() in ptx


def test_a_broken_kernel_does_not_compile(nvrtc: ctypes.CDLL) -> None:
    source = kernel_source().replace("floorf(", "floor_of(")
    status, log, _ = compile_ptx(nvrtc, source, ["--gpu-architecture=compute_80", *OPTIONS])
    assert status != 0
    assert "floor_of" in log
