// How densely samples lie about the points of a coarser grid, [1 2 1] / 4 along each axis, as in host/density.cpp.

#include "shared/half_space.cuh"

extern "C" __global__ void smooth_density(
    const float *RESTRICT density, int radius, const float *RESTRICT added,
    const int *RESTRICT plane_at, int planes, const int *RESTRICT at, int width,
    float *RESTRICT smooth, float *RESTRICT smooth_share)  // (planes, width, width)
{
    const Geometry g = geometry(radius);
    const int n = g.width;
    for (int item = blockIdx.x; item < planes * width; item += gridDim.x) {
        const int kz = plane_at[item / width], ky = at[item % width];
        for (int ix = threadIdx.x; ix < width; ix += blockDim.x) {
            float sum = 0.0f, sum_of_shares = 0.0f;
            for (int k = 0; k < 27; k++) {
                const int dz = k / 9 - 1, dy = k / 3 % 3 - 1, dx = k % 3 - 1;
                // below the plane kz = 0 lie the Friedel mates of the one above it
                const bool mates = kz + dz < 0;
                const int z = mates ? 1 : kz + dz > radius + 1 ? radius + 1 : kz + dz;
                const int iy = (ky + dy + n) % n, jx = (at[ix] + dx + n) % n;
                const int line = mates ? n - 1 - iy : iy, point = mates ? n - 1 - jx : jx;
                const float weight = (dz ? 0.25f : 0.5f) * (dy ? 0.25f : 0.5f) * (dx ? 0.25f : 0.5f);
                const float value = density[z * g.plane + (long long)line * n + point];
                sum += weight * value;
                if (added) {
                    const int y = line - radius - 1, x = point - radius - 1;
                    const float whole = value + added[z * z + y * y + x * x];
                    sum_of_shares += whole > 0.0f ? weight * value / whole : 0.0f;
                }
            }
            smooth[(long long)item * width + ix] = sum;
            if (added) smooth_share[(long long)item * width + ix] = sum_of_shares;
        }
    }
}
