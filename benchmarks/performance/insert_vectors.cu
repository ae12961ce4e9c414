// Slices added to half-space sums of four numbers a voxel, which GPUs of compute capability 9 add at once.

#include "shared/scatter.cuh"

extern "C" __global__ void insert_vectors(
    const float2 *RESTRICT image, const float *RESTRICT ctf, const float *RESTRICT basis, const float *RESTRICT weight,
    const int *RESTRICT half, const int *RESTRICT row_end, int n, int r, int radius,
    float *RESTRICT sums)  // (2, R + 2, 2 R + 3, 2 R + 3, 4): real and imaginary part, power, 0
{
    const Slices slices = {image, ctf, basis, weight, half, row_end, n, r};
    const int from = blockIdx.y * blockDim.y + threadIdx.y, step = gridDim.y * blockDim.y;
    scatter(slices, radius, from, step, [=](long long at, float re, float im, float power) {
#if __CUDA_ARCH__ >= 900
        atomicAdd((float4 *)sums + at, make_float4(re, im, power, 0.0f));
#else
        atomicAdd(sums + 4 * at, re);
        atomicAdd(sums + 4 * at + 1, im);
        atomicAdd(sums + 4 * at + 2, power);
#endif
    });
}
