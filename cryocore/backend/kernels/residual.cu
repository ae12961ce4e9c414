// What is left of images when the prediction c P V is taken out of them.

#include "shared/blocked.cuh"

struct Places {  // LANES samples at a pose: pixels and cells of the map
    int pixel[LANES];
    VoxelCells map;
};

// Where the samples from s on lie; samples are kx + 65536 ky, filled up to a multiple of LANES with (0, 0).
DEVICE void place(
    const Blocks &g, const int *samples, int r, const float *b, const float2 *own, const float2 *other, Places &l)
{
    const float b0 = b[0], b1 = b[1], b2 = b[2], b3 = b[3], b4 = b[4], b5 = b[5];
    float x[LANES], y[LANES], z[LANES];
    for (int i = 0; i < LANES; i++) {
        const int kx = samples[i] << 16 >> 16, ky = samples[i] >> 16;
        l.pixel[i] = (ky + r) * (r + 1) + kx;
        x[i] = kx * b0 + ky * b3;
        y[i] = kx * b1 + ky * b4;
        z[i] = kx * b2 + ky * b5;
    }
    locate_cells(g, x, y, z, l.map);
    FETCH(own, l.map, 1)
    FETCH(other, l.map, 1)
}

// residual = p (y - c P V) and loss = sum of p |y - c P V|^2 over both Friedel mates, for the map of an image's own half set
// and, without a residual, for that of the other one. p is the precision of a coefficient, 0 at (0, 0). The residual may
// take the place of the image.
extern "C" __global__ void residual_slices(
    const float2 *RESTRICT volume, const float *RESTRICT basis, const int *RESTRICT half,  // both halves, in blocks
    const float2 *image, const float *RESTRICT ctf,                                        // (n, 2 r + 1, r + 1)
    const int *RESTRICT samples, int last, const float *RESTRICT precision,                // one past the last sample
    int n, int r, int radius,
    float2 *residual, float *RESTRICT loss)                                                // (n, 2): own and other
{
    const Blocks g = blocks(radius);
    const long long pixels = (long long)(2 * r + 1) * (r + 1);
    for (int index = blockIdx.x; index < n; index += gridDim.x) {
        const float *b = basis + 6LL * index, *c = ctf + index * pixels;
        const float2 *own = volume + half[index] * g.volume, *other = volume + (1 - half[index]) * g.volume;
        const float2 *y = image + index * pixels;
        float2 *out = residual + index * pixels;
        float left[LANES] = {}, across[LANES] = {};
        Places buffer[2];
        for (int s = threadIdx.x * LANES; s < last; s += blockDim.x * LANES) {
            const Places &l = located(buffer, s, last, [&](int from, Places &found) {
                place(g, samples + from, r, b, own, other, found);
            });
            for (int i = 0; i < LANES; i++) {
                const int at = l.pixel[i];
                const float2 value = y[at], first = read_cell(own, l.map, i), second = read_cell(other, l.map, i);
                const float p = precision[at], contrast = c[at];
                const float ax = value.x - contrast * first.x, ay = value.y - contrast * first.y;
                const float bx = value.x - contrast * second.x, by = value.y - contrast * second.y;
                left[i] += p * (ax * ax + ay * ay);
                across[i] += p * (bx * bx + by * by);
                if (p > 0.0f) out[at] = float2{p * ax, p * ay};
            }
        }
        float sums[2] = {left[0], across[0]};
        for (int i = 1; i < LANES; i++) {
            sums[0] += left[i];
            sums[1] += across[i];
        }
        for (int k = 0; k < 2; k++) {
            const float all = block_sum(sums[k]);
            if (threadIdx.x == 0) loss[2LL * index + k] = 2.0f * all;
        }
    }
}
