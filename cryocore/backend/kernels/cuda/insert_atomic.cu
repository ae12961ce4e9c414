// Slices added to half-space sums, sample by sample, atomically.

#include "shared/scatter.cuh"

extern "C" __global__ void insert_slices(
    const float2 *RESTRICT image, const float *RESTRICT ctf, const float *RESTRICT basis, const float *RESTRICT weight,
    const int *RESTRICT half, const int *RESTRICT row_end, int n, int r, int radius,  // see Slices
    float2 *RESTRICT numerator, float *RESTRICT denominator)                          // (2, R + 2, 2 R + 3, 2 R + 3)
{
    const Slices slices = {image, ctf, basis, weight, half, row_end, n, r};
    const int from = blockIdx.y * blockDim.y + threadIdx.y, step = gridDim.y * blockDim.y;
    scatter(slices, radius, from, step, [=](long long at, float re, float im, float power) {
#if __CUDA_ARCH__ >= 900
        atomicAdd(numerator + at, make_float2(re, im));
#else
        atomicAdd(&numerator[at].x, re);
        atomicAdd(&numerator[at].y, im);
#endif
        atomicAdd(denominator + at, power);
    });
}
