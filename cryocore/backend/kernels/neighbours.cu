// How alike a map's slices at neighbouring poses are, band by band.

#include "shared/voxels.cuh"

struct Place {  // LANES samples at both poses of a pair
    VoxelCells cells[2];
};

// Re(conj(u) v), |u|^2 and |v|^2 per band, over one of each Friedel pair: u and v are the slices of one map at the two poses of
// a pair, less the mean of the band.
extern "C" __global__ void slice_products(
    const int *RESTRICT samples, const int *RESTRICT band_start,          // as in score.cu; (bands + 1)
    const float *RESTRICT basis, const float *RESTRICT mean,              // (n, 2, 6), (bands)
    const Voxel *RESTRICT volume, int radius, const float *RESTRICT unit, // in blocks; (1)
    int n, int bands, float *RESTRICT sums)                               // (n, bands, 3)
{
    const Blocks g = blocks(radius);
    for (int index = blockIdx.x; index < n; index += gridDim.x) {
        const float scale = unit[0];
        Place buffer[2];
        for (int band = blockIdx.y; band < bands; band += gridDim.y) {
            float inner[LANES] = {}, first[LANES] = {}, second[LANES] = {};
            for (int s = band_start[band] + threadIdx.x * LANES; s < band_start[band + 1]; s += blockDim.x * LANES) {
                const Place &l = located(buffer, s, band_start[bands], [&](int from, Place &found) {
                    for (int pose = 0; pose < 2; pose++) {
                        const float *b = basis + 12LL * index + 6 * pose;
                        float x[LANES], y[LANES], z[LANES];
                        for (int i = 0; i < LANES; i++) {
                            const int kx = samples[from + i] << 16 >> 16, ky = samples[from + i] >> 16;
                            x[i] = kx * b[0] + ky * b[3];
                            y[i] = kx * b[1] + ky * b[4];
                            z[i] = kx * b[2] + ky * b[5];
                        }
                        locate_cells(g, x, y, z, found.cells[pose]);
                        FETCH(volume, found.cells[pose], 1)
                    }
                });
                for (int i = 0; i < LANES; i++) {
                    const float used = samples[s + i] != 0 ? 1.0f : 0.0f;  // bands are filled up with (0, 0)
                    const Value u = read_voxel(volume, l.cells[0], i), v = read_voxel(volume, l.cells[1], i);
                    const float ux = used * (scale * u.re - mean[band]), uy = used * (scale * l.cells[0].sign[i] * u.im);
                    const float vx = used * (scale * v.re - mean[band]), vy = used * (scale * l.cells[1].sign[i] * v.im);
                    inner[i] += ux * vx + uy * vy;
                    first[i] += ux * ux + uy * uy;
                    second[i] += vx * vx + vy * vy;
                }
            }
            float totals[3] = {inner[0], first[0], second[0]};
            for (int i = 1; i < LANES; i++) {
                totals[0] += inner[i];
                totals[1] += first[i];
                totals[2] += second[i];
            }
            for (int k = 0; k < 3; k++) {
                const float all = block_sum(totals[k]);
                if (threadIdx.x == 0) sums[((long long)index * bands + band) * 3 + k] = all;
            }
        }
    }
}
