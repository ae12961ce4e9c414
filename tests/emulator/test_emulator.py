"""The emulator notices what it is there for: every fault of a small kernel, and what CuPy refuses."""

from __future__ import annotations

import numpy as np
import pytest

cupy = pytest.importorskip("cupy")

pytestmark = pytest.mark.emulator

SOURCE = r"""
extern "C" __global__ void total(const float *x, int n, float *out) {
    extern __shared__ float part[];
    float sum = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) sum += x[i];
    part[threadIdx.x] = sum;
    __syncthreads();  // first
    for (int step = blockDim.x / 2; step > 0; step /= 2) {
        if (threadIdx.x < step) part[threadIdx.x] += part[threadIdx.x + step];
        __syncthreads();  // second
    }
    if (threadIdx.x == 0) atomicAdd(out, part[0]);
}
"""


def run(source: str, shared: int = 512) -> float:
    """The sum of 0..999, three times."""
    x, out = cupy.asarray(np.arange(1000, dtype=np.float32)), cupy.zeros(1, np.float32)
    kernel = cupy.RawModule(code=source, options=()).get_function("total")
    kernel((3,), (128,), (x, np.int32(1000), out), shared_mem=shared)
    return float(out[0])


def test_a_right_kernel_gives_the_right_number() -> None:
    assert run(SOURCE) == 3 * 499500


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("__syncthreads();  // first", "", "nobody has written"),
        ("__syncthreads();  // second", "", "race on word"),
        ("atomicAdd(out, part[0])", "*out += part[0]", "race on word 0 of array 1"),
        ("i < n", "i <= n", "reads outside all arrays"),
        ("blockDim.x / 2; step", "blockDim.x; step", "shared memory"),
        ("__syncthreads();  // first", "if (threadIdx.x < 7) __syncthreads();", "nobody has written|wait at different"),
        ("float sum = 0;", "float sum = 0; if (threadIdx.x > 99) return;", "threads ended while"),
    ],
)
def test_faults_are_noticed(right: str, wrong: str, message: str) -> None:
    assert right in SOURCE
    with pytest.raises(cupy.EmulatorError, match=message):
        run(SOURCE.replace(right, wrong))


def test_what_another_kernel_file_wrote_is_no_race() -> None:
    values = cupy.zeros(1, np.float32)
    for name in ("one", "two"):
        source = f'extern "C" __global__ void {name}(float *x) {{ if (blockIdx.x == 1) x[0] += 1; }}'
        cupy.RawModule(code=source, options=()).get_function(name)((2,), (1,), (values,), shared_mem=0)
    assert float(values[0]) == 2


def test_host_and_device_do_not_mix() -> None:
    x = cupy.zeros(3, np.float32)
    kernel = cupy.RawModule(code=SOURCE, options=()).get_function("total")
    with pytest.raises(TypeError, match="Implicit conversion"):
        np.asarray(x)
    with pytest.raises(TypeError, match="Unsupported type"):
        x + np.zeros(3, np.float32)
    with pytest.raises(TypeError, match="pointer to device memory"):
        kernel((1,), (128,), (np.zeros(3, np.float32), np.int32(3), x), shared_mem=512)
    with pytest.raises(cupy.EmulatorError, match="is of kind i"):
        kernel((1,), (128,), (x, 3.0, x), shared_mem=512)
    with pytest.raises(cupy.EmulatorError, match=r"points to F; got float64"):
        kernel((1,), (128,), (x, np.int32(3), cupy.zeros(3)), shared_mem=512)
    with pytest.raises(cupy.EmulatorError, match="is not contiguous"):
        kernel((1,), (128,), (cupy.zeros(6, np.float32)[::2], np.int32(3), x), shared_mem=512)
    with pytest.raises(cupy.CUDADriverError, match="INVALID_VALUE"):
        kernel((1,), (2048,), (x, np.int32(3), x), shared_mem=512)
    with pytest.raises(RuntimeError, match="never been written"):
        cupy.empty(3, np.float32).get()


def test_memory_is_limited_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "EMULATOR_MEMORY", str(cupy.cuda.runtime.memGetInfo()[1] - cupy.cuda.runtime.memGetInfo()[0] + 4096)
    )
    for _ in range(3):
        assert cupy.empty(1024, np.float32).nbytes == 4096
    with pytest.raises(cupy.OutOfMemoryError, match="Out of memory allocating 4,608 bytes"):
        cupy.empty(1025, np.float32)
