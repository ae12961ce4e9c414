// Adjoint of the gather: adds slices to half-space sums, sample by sample, atomically.

#include "shared/half_space.cuh"

DEVICE void add_to(float2 *at, float re, float im) {
#if __CUDA_ARCH__ >= 900
    atomicAdd(at, make_float2(re, im));
#else
    atomicAdd(&at->x, re);
    atomicAdd(&at->y, im);
#endif
}

extern "C" __global__ void insert_slices(
    const float2 *RESTRICT image, const float *RESTRICT ctf,  // (n, 2 r + 1, r + 1)
    const float *RESTRICT basis,                              // (n, 6): volume index per kx and per ky, as x, y, z
    const float *RESTRICT weight, const int *RESTRICT half,   // (n): half is 0 or 1
    const int *RESTRICT row_end,                              // (2 r + 1): last kx of each row of the disc
    int n, int r, int radius,
    float2 *RESTRICT numerator, float *RESTRICT denominator)  // (2, R + 2, 2 R + 3, 2 R + 3)
{
    const Geometry g = geometry(radius);
    const int width = r + 1;
    const long long pixels = (long long)(2 * r + 1) * width;
    for (int index = blockIdx.x; index < n; index += gridDim.x) {
        const float w = weight[index];
        if (w == 0.0f) continue;
        const float *b = basis + 6LL * index;
        float2 *num = numerator + half[index] * g.volume;
        float *den = denominator + half[index] * g.volume;
        for (int ky = (int)(blockIdx.y * blockDim.y + threadIdx.y) - r; ky <= r; ky += gridDim.y * blockDim.y) {
            const long long row = index * pixels + (long long)(ky + r) * width;
            for (int kx = (ky > 0 ? 0 : 1) + threadIdx.x; kx <= row_end[ky + r]; kx += blockDim.x) {
                const Point point = fold(ky * b[3] + kx * b[0], ky * b[4] + kx * b[1], ky * b[5] + kx * b[2], g.limit);
                if (point.inside == 0.0f) continue;
                const Cell cell = cell_of(point);
                const float2 value = image[row + kx];
                const float c = ctf[row + kx], wc = w * c, re = wc * value.x, im = point.sign * wc * value.y;
                const float shares[4] = {cell.s0, cell.s1, cell.s2, cell.s3};
                const long long first = corner(g, cell);
                for (int k = 0; k < 8; k++) {
                    const float share = shares[k / 2] * (k & 1 ? cell.right : 1.0f - cell.right);
                    const long long at = first + (k & 4 ? g.plane : 0) + (k & 2 ? g.width : 0) + (k & 1);
                    add_to(num + at, share * re, share * im);
                    atomicAdd(den + at, share * wc * c);
                }
            }
        }
    }
}
