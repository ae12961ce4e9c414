// Adjoint of the gather: adds slices to half-space sums. Samples are first sorted into bins of the grid, and each bin is
// summed in a small buffer by one thread: no atomics, the same bytes for any number of threads, and the sums are read and
// written once per batch.

#include "shared/half_space.cuh"
#include <vector>

#define SAMPLE_FLOATS 6
struct Sample {  // grid position counted from the first voxel, and what is added there
    float x, y, z, re, im, power;
};
static_assert(sizeof(Sample) == 4 * SAMPLE_FLOATS, "samples have no gaps");

struct Bins {  // sides along z and y, and along x, as powers of 2; numbered [half][z][y][x]
    int side, length, nz, ny, nx, count;
};

static inline Bins bins(const int *layout) {
    const int *l = layout;
    return {l[0], l[1], l[2], l[3], l[4], 2 * l[2] * l[3] * l[4]};
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
    const int side = k.side, length = k.length, nx = k.nx, ny = k.ny, base = half * k.nz, beyond = k.count;
    for (int i = 0; i < n; i++) {
        const float kx = (float)(first + i);
        const Point p = fold(x0 + kx * b0, y0 + kx * b1, z0 + kx * b2, limit);
        const float x = p.x + middle, y = p.y + middle;
        const int at = ((base + ((int)p.z >> side)) * ny + ((int)y >> side)) * nx + ((int)x >> length);
        out.bin[i] = p.inside > 0.0f ? at : beyond;
        out.x[i] = x;
        out.y[i] = y;
        out.z[i] = p.z;
        out.sign[i] = p.sign;
    }
}

// Sorts the samples of a piece, some neighbouring particles, by bin: a count, then a copy in particle order.
extern "C" void sort_samples(
    const float2 *RESTRICT image, const float *RESTRICT ctf, const float *RESTRICT basis,
    const float *RESTRICT weight, const int *RESTRICT half, const int *RESTRICT row_end,
    int n, int r, int radius, const int *RESTRICT layout, int piece,
    Sample *RESTRICT samples, int capacity,  // (ceil(n / piece), capacity)
    int *RESTRICT starts)                    // (ceil(n / piece), bins + 2): first sample of each bin, and the end
{
    const Geometry g = geometry(radius);
    const Bins k = bins(layout);
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
    const int *RESTRICT list, int rows, int radius, const int *RESTRICT layout,
    float2 *RESTRICT numerator, float *RESTRICT denominator)
{
    const Geometry g = geometry(radius);
    const Bins k = bins(layout);
    const int side = (1 << k.side) + 1, length = (1 << k.length) + 1, layer = side * length;
    static thread_local std::vector<float> buffer;
    buffer.resize(4 * (size_t)layer * side);
    float *RESTRICT bin = buffer.data();
    for (int item = blockIdx.x; item < rows; item += gridDim.x) {
        const int row = list[item], half = row / (k.nz * k.ny);
        const int z0 = row / k.ny % k.nz << k.side, y0 = row % k.ny << k.side;
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
