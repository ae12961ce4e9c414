// Adjoint of the gather: adds slices to half-space sums. On the GPU one kernel adds atomically. On the host samples are
// first sorted into bins of the grid, and each bin is summed in a small buffer by one thread: no atomics, the same
// bytes for any number of threads, and the sums are read and written once per batch.

#include "common.cuh"
#ifndef __CUDACC__
#include <vector>
#endif

DEVICE void add_pair(float2 *numerator, float *denominator, float left, float right, float re, float im, float power) {
#ifdef __CUDACC__
    atomicAdd(&numerator[0].x, left * re);
    atomicAdd(&numerator[0].y, left * im);
    atomicAdd(&numerator[1].x, right * re);
    atomicAdd(&numerator[1].y, right * im);
    atomicAdd(&denominator[0], left * power);
    atomicAdd(&denominator[1], right * power);
#else
    const float4v value = {left * re, left * im, right * re, right * im};
    *(float4v *)numerator += value;
    denominator[0] += left * power;
    denominator[1] += right * power;
#endif
}

// Sample by sample, straight into the sums. On the host it is for one block only.
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
        for (int ky = (int)threadIdx.y - r; ky <= r; ky += blockDim.y) {
            const long long row = index * pixels + (long long)(ky + r) * width;
            for (int kx = (ky > 0 ? 0 : 1) + threadIdx.x; kx <= row_end[ky + r]; kx += blockDim.x) {
                float x = ky * b[3] + kx * b[0], y = ky * b[4] + kx * b[1], z = ky * b[5] + kx * b[2];
                if (x * x + y * y + z * z > g.limit) continue;
                const float sign = z < 0.0f ? -1.0f : 1.0f;
                x *= sign;
                y *= sign;
                z *= sign;
                const float gx = floorf(x), gy = floorf(y), gz = floorf(z), fx = x - gx, fy = y - gy, fz = z - gz;
                const float2 value = image[row + kx];
                const float c = ctf[row + kx], wc = w * c, re = wc * value.x, im = sign * wc * value.y, power = wc * c;
                const long long at = (long long)gz * g.plane + ((int)gy + radius + 1) * (long long)g.width
                                   + (int)gx + radius + 1;
                for (int corner = 0; corner < 4; corner++) {  // the four pairs of voxels next to each other along x
                    const float share = (corner & 2 ? fz : 1.0f - fz) * (corner & 1 ? fy : 1.0f - fy);
                    const long long pair = at + (corner & 2 ? g.plane : 0) + (corner & 1 ? g.width : 0);
                    add_pair(num + pair, den + pair, share * (1.0f - fx), share * fx, re, im, power);
                }
            }
        }
    }
}

#ifndef __CUDACC__

struct Sample {  // grid position counted from the first voxel, and what is added there
    float x, y, z, re, im, power;
};

struct Bins {  // of 2^shift x 2^shift x 2^(shift + 2) voxels along z, y, x; numbered [half][z][y][x]
    int shift, nz, ny, nx, rows, count;
};

static inline Bins bins(const Geometry &g, int shift) {
    Bins b;
    b.shift = shift;
    b.nz = ((g.radius + 1) >> shift) + 1;
    b.ny = ((g.width - 1) >> shift) + 1;
    b.nx = ((g.width - 1) >> (shift + 2)) + 1;
    b.rows = 2 * b.nz * b.ny;
    b.count = b.rows * b.nx;
    return b;
}

// Positions and bins of up to CHUNK samples of a row; those outside the ball go to the bin after the last.
// One function for both passes of the sort, so that they cannot disagree by a rounding.
enum { CHUNK = 256 };
struct Row {
    float x[CHUNK], y[CHUNK], z[CHUNK], sign[CHUNK];
    int bin[CHUNK];
};

static __attribute__((noinline)) void locate_row(
    const Geometry &g, const Bins &k, const float *RESTRICT b, int half, int ky, int first, int n, Row &RESTRICT out) {
    const float x0 = ky * b[3], y0 = ky * b[4], z0 = ky * b[5], b0 = b[0], b1 = b[1], b2 = b[2];
    const float middle = g.radius + 1.0f, limit = g.limit;
    const int shift = k.shift, nx = k.nx, ny = k.ny, base = half * k.nz, beyond = k.count;
    for (int i = 0; i < n; i++) {
        const float kx = (float)(first + i);
        float x = x0 + kx * b0, y = y0 + kx * b1, z = z0 + kx * b2;
        const float sign = z < 0.0f ? -1.0f : 1.0f, squared = x * x + y * y + z * z;
        x = sign * x + middle;
        y = sign * y + middle;
        z = sign * z;
        const int at = ((base + ((int)z >> shift)) * ny + ((int)y >> shift)) * nx + ((int)x >> (shift + 2));
        out.bin[i] = squared <= limit ? at : beyond;
        out.x[i] = x;
        out.y[i] = y;
        out.z[i] = z;
        out.sign[i] = sign;
    }
}

// Sorts the samples of a piece, some neighbouring particles, by bin: a count, then a copy in particle order.
extern "C" void sort_samples(
    const float2 *RESTRICT image, const float *RESTRICT ctf, const float *RESTRICT basis,
    const float *RESTRICT weight, const int *RESTRICT half, const int *RESTRICT row_end,
    int n, int r, int radius, int shift, int piece,
    Sample *RESTRICT samples, int capacity,  // (ceil(n / piece), capacity)
    int *RESTRICT starts)                    // (ceil(n / piece), bins + 2): first sample of each bin, and the end
{
    const Geometry g = geometry(radius);
    const Bins k = bins(g, shift);
    const int width = r + 1;
    const long long pixels = (long long)(2 * r + 1) * width;
    Row at;
    for (int p = blockIdx.x; p * piece < n; p += gridDim.x) {
        Sample *out = samples + (long long)p * capacity;
        int *start = starts + (long long)p * (k.count + 2), *place = start + 1;
        for (int i = 0; i < k.count + 2; i++) start[i] = 0;
        const int end = (p + 1) * piece < n ? (p + 1) * piece : n;
        for (int pass = 0; pass < 2; pass++) {
            for (int index = p * piece; index < end; index++) {
                const float w = weight[index];
                if (w == 0.0f) continue;
                for (int ky = -r; ky <= r; ky++) {
                    for (int first = ky > 0 ? 0 : 1; first <= row_end[ky + r]; first += CHUNK) {
                        const int left = row_end[ky + r] - first + 1, m = left < CHUNK ? left : CHUNK;
                        locate_row(g, k, basis + 6LL * index, half[index], ky, first, m, at);
                        if (pass == 0) {
                            for (int i = 0; i < m; i++) place[at.bin[i]]++;
                            continue;
                        }
                        const long long row = index * pixels + (long long)(ky + r) * width + first;
                        const float2 *value = image + row;
                        const float *contrast = ctf + row;
                        for (int i = 0; i < m; i++) {
                            const float wc = w * contrast[i];
                            out[start[at.bin[i]]++] = Sample{at.x[i], at.y[i], at.z[i], wc * value[i].x,
                                                               at.sign[i] * wc * value[i].y, wc * contrast[i]};
                        }
                    }
                }
            }
            // after the count: where bins start; after the copy each start stands at its end, the next one's start
            if (pass == 0)
                for (int i = 1; i < k.count + 2; i++) start[i] += start[i - 1];
            else
                for (int i = k.count + 1; i > 0; i--) start[i] = start[i - 1];
        }
        start[0] = 0;
    }
}

typedef float float8v __attribute__((vector_size(32), aligned(4), may_alias));

// Adds all pieces to the sums. A row is the bins of one y and z; rows of one list touch no voxel in common.
extern "C" void add_samples(
    const Sample *RESTRICT samples, const int *RESTRICT starts, int pieces, int capacity,
    const int *RESTRICT list, int rows, int radius, int shift,
    float2 *RESTRICT numerator, float *RESTRICT denominator)
{
    const Geometry g = geometry(radius);
    const Bins k = bins(g, shift);
    const int side = (1 << shift) + 1, length = (1 << (shift + 2)) + 1, layer = side * length;
    static thread_local std::vector<float> buffer;
    buffer.resize(4 * (size_t)layer * side);
    float *RESTRICT bin = buffer.data();
    for (int item = blockIdx.x; item < rows; item += gridDim.x) {
        const int row = list[item], half = row / (k.nz * k.ny);
        const int z0 = row / k.ny % k.nz << shift, y0 = row % k.ny << shift;
        for (int x0 = 0, number = row * k.nx; number < (row + 1) * k.nx; number++, x0 += length - 1) {
            bool empty = true;
            for (int p = 0; p < pieces; p++) {
                const int *start = starts + (long long)p * (k.count + 2) + number;
                if (start[0] == start[1]) continue;
                if (empty) std::memset(bin, 0, sizeof(float) * buffer.size());
                empty = false;
                const Sample *s = samples + (long long)p * capacity + start[0], *end = s + (start[1] - start[0]);
                for (; s < end; s++) {
                    const int ix = (int)s->x, iy = (int)s->y, iz = (int)s->z;
                    const float fx = s->x - ix, fy = s->y - iy, fz = s->z - iz, gx = 1.0f - fx;
                    const float8v value = {gx * s->re, gx * s->im, gx * s->power, 0.0f,
                                           fx * s->re, fx * s->im, fx * s->power, 0.0f};
                    float *v = bin + 4 * ((iz - z0) * layer + (iy - y0) * length + ix - x0);
                    *(float8v *)v += (1.0f - fz) * (1.0f - fy) * value;
                    *(float8v *)(v + 4 * length) += (1.0f - fz) * fy * value;
                    *(float8v *)(v + 4 * layer) += fz * (1.0f - fy) * value;
                    *(float8v *)(v + 4 * layer + 4 * length) += fz * fy * value;
                }
            }
            if (empty) continue;
            const int nx = g.width - x0 < length ? g.width - x0 : length, ny = g.width - y0 < side ? g.width - y0 : side;
            const int nz = g.radius + 2 - z0 < side ? g.radius + 2 - z0 : side;
            for (int z = 0; z < nz; z++)
                for (int y = 0; y < ny; y++) {
                    const float *v = bin + 4 * (z * layer + y * length);
                    const long long to = half * g.volume + (z0 + z) * g.plane + (y0 + y) * (long long)g.width + x0;
                    for (int x = 0; x < nx; x++) {
                        numerator[to + x].x += v[4 * x];
                        numerator[to + x].y += v[4 * x + 1];
                        denominator[to + x] += v[4 * x + 2];
                    }
                }
        }
    }
}

#endif
