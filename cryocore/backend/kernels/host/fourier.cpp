// Fourier transforms of images and maps, LANES lines at once: each is read from where it lies and written to where it is
// wanted, so that zeros, and what is not asked for, are neither stored nor moved. Butterflies are pocketfft's.
//
// Along a centred axis of n points the origin is at n / 2; padded to `size` it goes to 0, and what is before it to the end.

#include "shared/machine.cuh"

#define POCKETFFT_NO_MULTITHREADING
#define POCKETFFT_CACHE_SIZE 16
#include "pocketfft/pocketfft_hdronly.h"

namespace fft = pocketfft::detail;
typedef fft::vtype_t<float> Lanes;
typedef fft::cmplx<Lanes> Line;
static constexpr int LANES = fft::VLEN<float>::val;

// Memory of a thread, kept for the next item.
template <class T, int name> static T *memory(size_t count) {
    static thread_local fft::arr<T> kept;
    if (kept.size() < count) kept.resize(count);
    return kept.data();
}

static Line *line_of(int size) { return memory<Line, 0>(size); }

struct Plane {  // of complex numbers, as two of real ones, rows filled up to an odd number of lanes: no two share cache sets
    float *re, *im;
    int stride;
};

template <int name = 0> static Plane plane_of(int rows, int width) {
    Plane p;
    p.stride = ((width + LANES - 1) / LANES | 1) * LANES;
    const size_t count = (size_t)((rows + LANES - 1) / LANES * LANES) * p.stride;
    p.re = memory<float, 1 + name>(2 * count);
    p.im = p.re + count;
    return p;
}

static inline int fewer(int a, int b) { return a < b ? a : b; }

static inline int wrapped(int centred, int n, int size) {
    const int at = centred - n / 2;
    return at < 0 ? at + size : at;
}

// The rows of a plane from y on, as many as there are lanes, at x.
static inline void read_rows(const Plane &p, int y, int x, Line &out) {
    const float *re = p.re + (size_t)y * p.stride + x, *im = p.im + (size_t)y * p.stride + x;
    for (int i = 0; i < LANES; i++) {
        out.r[i] = re[(size_t)i * p.stride];
        out.i[i] = im[(size_t)i * p.stride];
    }
}

static inline void write_rows(const Plane &p, int y, int x, const Lanes &r, const Lanes &i) {
    float *re = p.re + (size_t)y * p.stride + x, *im = p.im + (size_t)y * p.stride + x;
    for (int k = 0; k < LANES; k++) {
        re[(size_t)k * p.stride] = r[k];
        im[(size_t)k * p.stride] = i[k];
    }
}

static inline void read_columns(const Plane &p, int y, int x, Line &out) {
    memcpy(&out.r, p.re + (size_t)y * p.stride + x, sizeof(Lanes));
    memcpy(&out.i, p.im + (size_t)y * p.stride + x, sizeof(Lanes));
}

static inline void write_columns(const Plane &p, int y, int x, const Line &value) {
    memcpy(p.re + (size_t)y * p.stride + x, &value.r, sizeof(Lanes));
    memcpy(p.im + (size_t)y * p.stride + x, &value.i, sizeof(Lanes));
}

static inline void read_pairs(const float2 *from, int count, Line &out) {
    for (int i = 0; i < LANES; i++) {
        const float2 value = i < count ? from[i] : float2{0.0f, 0.0f};
        out.r[i] = value.x;
        out.i[i] = value.y;
    }
}

static inline void write_pairs(float2 *to, int count, const Line &value) {
    for (int i = 0; i < fewer(count, LANES); i++) to[i] = {value.r[i], value.i[i]};
}

// Half a transform of real lines, from the packed order of real transforms: coefficient k of n points.
static inline Line unpack(const Lanes *packed, int k, int n) {
    const Lanes zero = packed[0] * 0.0f;
    if (k == 0) return Line(packed[0], zero);
    return 2 * k == n ? Line(packed[n - 1], zero) : Line(packed[2 * k - 1], packed[2 * k]);
}

static inline void clear(Line *line, int count) { memset((void *)line, 0, sizeof(Line) * count); }

// Real planes, in a window of n points along each axis, to their transforms in y and x; `width` coefficients along x.
extern "C" void forward_planes(
    const float *RESTRICT values, int planes, int y_from, int rows, int x_from, int columns,  // (planes, rows, columns)
    int n, int width, float2 *RESTRICT out)                                                   // (planes, n, n / 2 + 1)
{
    const auto real = fft::get_plan<fft::pocketfft_r<float>>(n);
    const auto complex = fft::get_plan<fft::pocketfft_c<float>>(n);
    Line *line = line_of(n);
    Lanes *packed = memory<Lanes, 2>(n);
    for (int index = blockIdx.x; index < planes; index += gridDim.x) {
        const float *source = values + (size_t)index * rows * columns;
        float2 *target = out + (size_t)index * n * (n / 2 + 1);
        const Plane plane = plane_of(rows, width);
        for (int y = 0; y < rows; y += LANES) {
            memset((void *)packed, 0, sizeof(Lanes) * n);
            for (int i = 0; i < fewer(LANES, rows - y); i++) {
                const float *row = source + (size_t)(y + i) * columns;
                for (int x = 0; x < columns; x++) ((float *)(packed + x_from + x))[i] = row[x];
            }
            real->exec(packed, 1.0f, true);
            for (int x = 0; x < width; x++) {
                const Line value = unpack(packed, x, n);
                write_rows(plane, y, x, value.r, value.i);
            }
        }
        for (int x = 0; x < width; x += LANES) {
            clear(line, n);
            for (int y = 0; y < rows; y++) read_columns(plane, y, x, line[y_from + y]);
            complex->exec(line, 1.0f, true);
            for (int y = 0; y < n; y++) write_pairs(target + (size_t)y * (n / 2 + 1) + x, width - x, line[y]);
        }
    }
}

// Back: the window of planes from half their transforms in y and x, divided by the number of points.
extern "C" void inverse_planes(
    const float2 *RESTRICT spectrum, int planes, int y_from, int rows, int x_from, int columns, int n,  // (planes, n, n/2+1)
    float *RESTRICT values)                                                                   // (planes, rows, columns)
{
    const auto real = fft::get_plan<fft::pocketfft_r<float>>(n);
    const auto complex = fft::get_plan<fft::pocketfft_c<float>>(n);
    const int width = n / 2 + 1;
    Line *line = line_of(n);
    Lanes *packed = memory<Lanes, 2>(n + 2);
    for (int index = blockIdx.x; index < planes; index += gridDim.x) {
        const float2 *source = spectrum + (size_t)index * n * width;
        float *target = values + (size_t)index * rows * columns;
        const Plane plane = plane_of(rows, width);
        for (int x = 0; x < width; x += LANES) {
            for (int y = 0; y < n; y++) read_pairs(source + (size_t)y * width + x, width - x, line[y]);
            complex->exec(line, (float)(1.0 / n), false);
            for (int y = 0; y < rows; y++) write_columns(plane, y, x, line[y_from + y]);
        }
        for (int y = 0; y < rows; y += LANES) {
            for (int x = 0; x < width; x++) {
                Line value;
                read_rows(plane, y, x, value);
                if (x == 0) packed[0] = value.r;
                else packed[2 * x - 1] = value.r, packed[2 * x] = value.i;
            }
            real->exec(packed, (float)(1.0 / n), false);
            for (int i = 0; i < fewer(LANES, rows - y); i++) {
                float *row = target + (size_t)(y + i) * columns;
                for (int x = 0; x < columns; x++) row[x] = ((const float *)(packed + x_from + x))[i];
            }
        }
    }
}

// Transforms along z, in place, of what is 0 outside of from..to; only kept_from..kept_to is written.
extern "C" void transform_z(
    float2 *RESTRICT spectrum, int n, int width, int from, int to, int kept_from, int kept_to, int forward)  // (n, n, width)
{
    const auto plan = fft::get_plan<fft::pocketfft_c<float>>(n);
    const float scale = forward ? 1.0f : (float)(1.0 / n);
    Line *line = line_of(n);
    for (int y = blockIdx.x; y < n; y += gridDim.x) {
        for (int x = 0; x < width; x += LANES) {
            float2 *column = spectrum + (size_t)y * width + x;
            clear(line, n);
            for (int z = from; z < to; z++) read_pairs(column + (size_t)z * n * width, width - x, line[z]);
            plan->exec(line, scale, forward);
            for (int z = kept_from; z < kept_to; z++) write_pairs(column + (size_t)z * n * width, width - x, line[z]);
        }
    }
}

struct Sums {  // planes of one or two half sets, and what their denominator is kept above and what is added to it, by |k|^2
    const float2 *first, *second;
    const float *one, *two, *floor, *added;
};

// Coefficients of a map, from x on at one y and z: numerator over denominator inside the ball; without a denominator as they
// are. The margin of the grid lets all lanes be read.
static inline void divided(const Sums &s, long long at, int x, int yz, int limit, Line &out) {
    float re[LANES], im[LANES];
    int square[LANES];
    for (int i = 0; i < LANES; i++) {
        re[i] = s.first[at + i].x;
        im[i] = s.first[at + i].y;
        square[i] = yz + (x + i) * (x + i);
    }
    if (s.second)
        for (int i = 0; i < LANES; i++) {
            re[i] += s.second[at + i].x;
            im[i] += s.second[at + i].y;
        }
    if (s.one) {
        float divisor[LANES];
        for (int i = 0; i < LANES; i++) divisor[i] = s.one[at + i];
        if (s.two)
            for (int i = 0; i < LANES; i++) divisor[i] += s.two[at + i];
        for (int i = 0; i < LANES; i++) {
            const int place = square[i] < limit ? square[i] : limit;
            const float least = s.floor[place], more = (divisor[i] > least ? divisor[i] : least) + s.added[place];
            const float inverse = 1.0f / (more > 1.1754943508222875e-38f ? more : 1.1754943508222875e-38f);
            const float used = square[i] > 0 ? inverse : 0.0f;
            re[i] *= used;
            im[i] *= used;
        }
    }
    for (int i = 0; i < LANES; i++) {
        re[i] = square[i] <= limit ? re[i] : 0.0f;
        im[i] = square[i] <= limit ? im[i] : 0.0f;
    }
    memcpy(&out.r, re, sizeof re);
    memcpy(&out.i, im, sizeof im);
}

// Planes kz of a grid, transformed back in y and x: n x n points about the origin.
extern "C" void grid_to_columns(
    const float2 *RESTRICT first, const float2 *RESTRICT second,      // (R + 2, 2 R + 3, 2 R + 3); the second or null
    const float *RESTRICT one, const float *RESTRICT two,             // the same of the denominators, both or the second null
    const float *RESTRICT floor, const float *RESTRICT added,         // (R^2 + 1)
    int radius, int n, int size, float2 *RESTRICT columns)            // (R + 1, n, n)
{
    const auto plan = fft::get_plan<fft::pocketfft_c<float>>(size);
    const Sums sums = {first, second, one, two, floor, added};
    const int width = 2 * radius + 3;
    Line *line = line_of(size);
    for (int kz = blockIdx.x; kz <= radius; kz += gridDim.x) {
        int reach = radius;
        while (reach * reach > radius * radius - kz * kz) reach--;
        const int across = 2 * reach + 1;
        const Plane quotient = plane_of<0>(across, across), plane = plane_of<1>(n, across);
        for (int y = 0; y < across; y++) {
            const int ky = y - reach;
            const long long at = ((long long)kz * width + ky + radius + 1) * width - reach + radius + 1;
            for (int x = 0; x < across; x += LANES) {
                Line value;
                divided(sums, at + x, x - reach, kz * kz + ky * ky, radius * radius, value);
                write_columns(quotient, y, x, value);
            }
        }
        for (int x = 0; x < across; x += LANES) {
            memset((void *)(line + reach + 1), 0, sizeof(Line) * (size - across));
            for (int y = 0; y < across; y++) read_columns(quotient, y, x, line[y < reach ? y - reach + size : y - reach]);
            plan->exec(line, 1.0f, false);
            for (int y = 0; y < n; y++) write_columns(plane, y, x, line[wrapped(y, n, size)]);
        }
        for (int y = 0; y < n; y += LANES) {
            clear(line, size);
            for (int x = 0; x < across; x++) read_rows(plane, y, x, line[x < reach ? x - reach + size : x - reach]);
            plan->exec(line, 1.0f, false);
            for (int x = 0; x < n; x++) {
                const Line &value = line[wrapped(x, n, size)];
                float2 *to = columns + ((size_t)kz * n + y) * n + x;
                for (int i = 0; i < fewer(LANES, n - y); i++) to[(size_t)i * n] = {value.r[i], value.i[i]};
            }
        }
    }
}

// The map of these columns, times scale.
extern "C" void columns_to_map(
    const float2 *RESTRICT columns, int planes, int n, int size, float scale, float *RESTRICT volume)  // (planes, n, n)
{
    const auto plan = fft::get_plan<fft::pocketfft_r<float>>(size);
    Lanes *packed = memory<Lanes, 2>(size + 2);
    for (int y = blockIdx.x; y < n; y += gridDim.x) {
        for (int x = 0; x < n; x += LANES) {
            memset((void *)packed, 0, sizeof(Lanes) * size);
            for (int kz = 0; kz < planes; kz++) {
                Line value;
                read_pairs(columns + ((size_t)kz * n + y) * n + x, n - x, value);
                if (kz == 0) packed[0] = value.r;
                else packed[2 * kz - 1] = value.r, packed[2 * kz] = value.i;
            }
            plan->exec(packed, 1.0f, false);
            for (int z = 0; z < n; z++) {
                const Lanes value = packed[wrapped(z, n, size)] * scale;
                memcpy(volume + ((size_t)z * n + y) * n + x, &value, sizeof(float) * fewer(LANES, n - x));
            }
        }
    }
}

// A map, transformed along z: `planes` coefficients of `size` points. With the weights of lines along each axis it is divided by
// these and n.
extern "C" void map_to_columns(
    const float *RESTRICT volume, const float *RESTRICT weight, int n, int size, int planes,  // (n, n, n), (n) or null
    float2 *RESTRICT columns)                                                                 // (planes, n, n)
{
    const auto plan = fft::get_plan<fft::pocketfft_r<float>>(size);
    Lanes *packed = memory<Lanes, 2>(size);
    for (int y = blockIdx.x; y < n; y += gridDim.x) {
        for (int x = 0; x < n; x += LANES) {
            const int count = fewer(LANES, n - x);
            memset((void *)packed, 0, sizeof(Lanes) * size);
            for (int z = 0; z < n; z++) {
                float *to = (float *)(packed + wrapped(z, n, size));
                const float *from = volume + ((size_t)z * n + y) * n + x;
                if (!weight) {
                    memcpy(to, from, sizeof(float) * count);
                    continue;
                }
                const float scale = n * weight[z];
                for (int i = 0; i < count; i++) to[i] = from[i] / (scale * weight[x + i] * weight[y]);
            }
            plan->exec(packed, 1.0f, true);
            for (int kz = 0; kz < planes; kz++)
                write_pairs(columns + ((size_t)kz * n + y) * n + x, count, unpack(packed, kz, size));
        }
    }
}

// These columns transformed in x and y, to the planes of a grid.
extern "C" void columns_to_grid(
    const float2 *RESTRICT columns, int planes, int n, int size, int width, float2 *RESTRICT values)  // (planes, width, width)
{
    const auto plan = fft::get_plan<fft::pocketfft_c<float>>(size);
    Line *line = line_of(size);
    for (int kz = blockIdx.x; kz < planes; kz += gridDim.x) {
        const Plane plane = plane_of(n, width);
        for (int y = 0; y < n; y += LANES) {
            clear(line, size);
            const int rows = fewer(LANES, n - y);
            for (int i = 0; i < rows; i++) {
                const float2 *row = columns + ((size_t)kz * n + y + i) * n;
                for (int x = 0; x < n; x++) {
                    Line &to = line[wrapped(x, n, size)];
                    ((float *)&to.r)[i] = row[x].x;
                    ((float *)&to.i)[i] = row[x].y;
                }
            }
            plan->exec(line, 1.0f, true);
            for (int kx = 0; kx < width; kx++) {
                const Line &value = line[wrapped(kx, width, size)];
                write_rows(plane, y, kx, value.r, value.i);
            }
        }
        for (int kx = 0; kx < width; kx += LANES) {
            clear(line, size);
            for (int y = 0; y < n; y++) read_columns(plane, y, kx, line[wrapped(y, n, size)]);
            plan->exec(line, 1.0f, true);
            for (int ky = 0; ky < width; ky++)
                write_pairs(values + ((size_t)kz * width + ky) * width + kx, width - kx, line[wrapped(ky, width, size)]);
        }
    }
}
