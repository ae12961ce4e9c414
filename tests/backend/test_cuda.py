"""The GPU is tried out before it is taken; kernels get arrays that they can read, of a size that there is room for."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
import pytest

from cryocore.backend import Kernel, base, cuda, get_backend
from cryocore.commands.installation import installation
from cryocore.errors import InputError
from tests.phantoms import BACKENDS

PACK = Kernel("pack.cu", "pack_blocks")


@pytest.fixture
def untried(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A process that has not tried out the GPU, before and after the test."""
    for function in (cuda.gpu_fault, cuda.module_of):
        function.cache_clear()
    yield monkeypatch
    monkeypatch.undo()
    for function in (cuda.gpu_fault, cuda.module_of):
        function.cache_clear()


@pytest.mark.gpu
def test_a_gpu_that_works_is_taken(untried: pytest.MonkeyPatch) -> None:
    assert cuda.gpu_fault() is None
    assert get_backend("auto").name == "cuda"
    about = installation()
    assert "GiB" in about["GPU"] and "NVRTC" in about["CUDA"]
    assert about["backend"] == "auto takes the GPU"


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("values[i]", "values[i", "a trial of the GPU failed: "),
        ("i += blockDim.x", "i += 2 * blockDim.x", "failed: it adds up 32640 as 8128 and 32640"),
    ],
)
def test_one_that_does_not_is_left(
    untried: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, right: str, wrong: str, message: str
) -> None:
    untried.setattr(cuda, "kernel_source", lambda file: base.kernel_source(file).replace(right, wrong))
    untried.setenv("SLURM_JOB_GPUS", "3")
    assert message in (cuda.gpu_fault() or "")
    assert get_backend("auto").name == "cpu"
    assert "using the CPU, although the job was given a GPU (SLURM_JOB_GPUS=3): a trial" in caplog.text
    with pytest.raises(InputError, match=r"no usable GPU \(a trial of the GPU failed"):
        get_backend("cuda")
    assert installation()["backend"] == "auto takes the CPU, although the job was given a GPU (SLURM_JOB_GPUS=3)"


def test_the_cpu_in_place_of_a_gpu_that_was_given_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cuda, "gpu_fault", lambda: "none here")
    for name in cuda.GIVEN:
        monkeypatch.delenv(name, raising=False)
    caplog.set_level(logging.INFO)
    for value in ("", "-1", "NoDevFiles"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
        assert get_backend("auto").name == "cpu"
    assert not caplog.text
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    get_backend("cpu")
    assert not caplog.text
    get_backend("auto")
    assert "although the job was given a GPU (CUDA_VISIBLE_DEVICES=0,1): none here" in caplog.text


@pytest.mark.parametrize("name", BACKENDS)
def test_arrays_that_kernels_cannot_read_are_refused(name: str) -> None:
    backend = get_backend(name)
    good = backend.xp.zeros((1, 3, 5, 5), dtype=np.complex64)
    wide, gaps = backend.xp.zeros((1, 3, 5, 5)), backend.xp.zeros((1, 3, 5, 10), dtype=np.complex64)[..., ::2]
    for bad, message in ((wide, "got float64"), (gaps, "strides"), ([0.0], "got <class 'list'>")):
        with pytest.raises(ValueError, match=f"pack_blocks needs .*{message}"):
            backend.launch(PACK, (bad, 1, 1, good), items=3)


@pytest.mark.gpu
def test_a_number_of_the_host_is_no_array_of_the_device() -> None:
    backend, one = get_backend("cuda"), np.zeros(1, dtype=np.complex64)
    with pytest.raises(ValueError, match=r"needs arrays of the device; got <class 'numpy\.ndarray'>"):
        backend.launch(PACK, (one, 1, 1, one), items=3)


@pytest.mark.gpu
def test_large_arrays_pin_no_memory_and_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "LARGEST_PINNED", 1000)
    backend, values = get_backend("cuda"), np.random.default_rng(0).normal(size=(20, 30))
    for array in (values, values.T, values[::2], values[:3]):
        there = backend.to_device(array)
        assert there.flags.c_contiguous
        np.testing.assert_array_equal(backend.to_host(there), array)
    monkeypatch.setattr(backend.xp, "asarray", None)  # which pins
    backend.to_device(values)


@pytest.mark.gpu
def test_what_the_gpu_has_no_room_for_is_refused() -> None:
    backend = get_backend("cuda")
    backend.require_room(1000, "few things", "Wait")
    with pytest.raises(
        InputError, match=r"many things need 1\.02e\+03 GiB of the GPU's memory, and .* GiB are free\. Wait"
    ):
        backend.require_room(1 << 40, "many things", "Wait")
