#include "shared/machine.cuh"

// The sum of n values: what a GPU is tried out with before it is taken.
extern "C" __global__ void add_up(const float *RESTRICT values, int n, float *RESTRICT sum)
{
    float part = 0.0f;
    for (int i = threadIdx.x; i < n; i += blockDim.x) part += values[i];
    const float all = block_sum(part);
    if (threadIdx.x == 0) sum[0] = all;
}
