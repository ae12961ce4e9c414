// How densely samples lie about the points of a coarser grid: [1 2 1] / 4 along each axis.

#include "shared/half_space.cuh"
#include <vector>

#define TERMS 2

// A density D and D / (D + added) on a grid (R + 2, 2 R + 3, 2 R + 3), both smoothed, at the points `at` of its axes: for each
// coarse plane those of y and x, and the plane itself. `added` is by |k|^2; without it the second is left out.
extern "C" void smooth_density(
    const float *RESTRICT density, int radius, const float *RESTRICT added,
    const int *RESTRICT plane_at, int planes, const int *RESTRICT at, int width,
    float *RESTRICT smooth, float *RESTRICT smooth_share)  // (planes, width, width)
{
    const Geometry g = geometry(radius);
    const int n = g.width, terms = added ? TERMS : 1;
    static thread_local std::vector<float> memory;
    memory.resize((size_t)TERMS * n * 2);
    float *row[TERMS] = {memory.data(), memory.data() + n}, *sum[TERMS] = {row[1] + n, row[1] + 2 * n};
    for (int plane = blockIdx.x; plane < planes; plane += gridDim.x) {
        const int kz = plane_at[plane];
        for (int y = 0; y < width; y++) {
            for (int t = 0; t < terms; t++) std::memset(sum[t], 0, sizeof(float) * n);
            for (int dz = -1; dz <= 1; dz++) {
                // below the plane kz = 0 lie the Friedel mates of the one above it
                const bool mates = kz + dz < 0;
                const int z = mates ? 1 : kz + dz > radius + 1 ? radius + 1 : kz + dz;
                for (int dy = -1; dy <= 1; dy++) {
                    const int iy = (at[y] + dy + n) % n, line = mates ? n - 1 - iy : iy;
                    const float *source = density + z * g.plane + (long long)line * n;
                    const float weight = (dz ? 0.25f : 0.5f) * (dy ? 0.25f : 0.5f);
                    const int yz = z * z + (line - radius - 1) * (line - radius - 1);
                    float *RESTRICT d = row[0], *RESTRICT s = row[1];
                    for (int x = 0; x < n; x++) d[x] = source[x];
                    if (added)
                        for (int x = 0; x < n; x++) {
                            const float whole = d[x] + added[yz + (x - radius - 1) * (x - radius - 1)];
                            s[x] = whole > 0.0f ? d[x] / whole : 0.0f;
                        }
                    for (int t = 0; t < terms; t++) {
                        float *RESTRICT to = sum[t];
                        const float *RESTRICT from = row[t];
                        if (mates)
                            for (int x = 0; x < n; x++) to[x] += weight * from[n - 1 - x];
                        else
                            for (int x = 0; x < n; x++) to[x] += weight * from[x];
                    }
                }
            }
            for (int t = 0; t < terms; t++) {
                float *to = (t ? smooth_share : smooth) + ((long long)plane * width + y) * width;
                for (int x = 0; x < width; x++) {
                    const int before = (at[x] + n - 1) % n, after = (at[x] + 1) % n;
                    to[x] = 0.25f * (sum[t][before] + sum[t][after]) + 0.5f * sum[t][at[x]];
                }
            }
        }
    }
}
