#include "shared/gather.cuh"

// slice = P V at each pose; zero outside the disc and on the redundant half of kx = 0
extern "C" __global__ void project_slices(
    const float2 *RESTRICT volume, const float *RESTRICT basis, const int *RESTRICT half,
    int n, int r, int radius, float2 *RESTRICT slice)
{
    const Geometry g = geometry(radius);
    const int width = r + 1;
    for (int index = blockIdx.x; index < n; index += gridDim.x) {
        const float *b = basis + 6LL * index;
        const float2 *v = volume + half[index] * g.volume;
        for (int ky = (int)(blockIdx.y * blockDim.y + threadIdx.y) - r; ky <= r; ky += gridDim.y * blockDim.y) {
            float2 *row = slice + ((long long)index * (2 * r + 1) + ky + r) * width;
            for (int kx = threadIdx.x; kx < width; kx += blockDim.x) {
                float2 value = {0.0f, 0.0f};
                if (kx * kx + ky * ky <= r * r + r && (kx > 0 || ky > 0))
                    value = gather(v, g, kx * b[0] + ky * b[3], kx * b[1] + ky * b[4], kx * b[2] + ky * b[5]);
                row[kx] = value;
            }
        }
    }
}
