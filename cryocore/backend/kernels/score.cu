// Comparison of images with slices of the map, band by band.
//
// Samples, kx + 65536 ky, are sorted by band, and each band is filled up to a multiple of LANES with (0, 0), where image
// and CTF are 0. Where the particle is part of the map (leverage > 0) its own share is taken out of the prediction x = c P V:
// x <- (x - h y) / (1 - h), h = overlap min(1/2, leverage c^2 / density).

#include "shared/sine.cuh"
#include "shared/voxels.cuh"

struct Inputs {  // of all kernels, for one particle; volumes in blocks
    const float *image_x, *image_y, *ctf;  // in the order of the samples
    const int *samples;
    const Voxel *volume;
    Blocks grid;
    float unit, leverage;  // of the map; per unit of the density
    int last;              // one past the last sample
};

struct Overlap {  // of a particle's samples at its own pose and at another: a table of their distance
    const float *table;
    float cells;
    float turn[6];  // from a sample at its own pose to the same at the other, in cells, per kx and per ky
};

struct Lanes {  // LANES samples at a pose: cells of the map, prediction
    float re[LANES], im[LANES], share[LANES];
    bool own;  // some share is not 0
    VoxelCells map;
};

DEVICE float smaller(float a, float b) { return a < b ? a : b; }

// The overlap of each sample with itself at its own pose, into l.share.
DEVICE void find_overlap(const Overlap &overlap, const float *kx, const float *ky, Lanes &l) {
    const float *table = overlap.table, cells = overlap.cells;
    float at[LANES];
    int reached = 0;
    for (int i = 0; i < LANES; i++) {
        const float dx = kx[i] * overlap.turn[0] + ky[i] * overlap.turn[3];
        const float dy = kx[i] * overlap.turn[1] + ky[i] * overlap.turn[4];
        const float dz = kx[i] * overlap.turn[2] + ky[i] * overlap.turn[5];
        at[i] = sqrtf(dx * dx + dy * dy + dz * dz);
    }
    for (int i = 0; i < LANES; i++) reached += at[i] < cells - 1.0f;
    l.own = reached > 0;
    if (!l.own) return;
    for (int i = 0; i < LANES; i++) {
        const float inside = smaller(at[i], cells - 1.0f);
        const int cell = (int)smaller(inside, cells - 2.0f);
        const float value = table[cell] + (inside - cell) * (table[cell + 1] - table[cell]);
        l.share[i] = at[i] < cells - 1.0f ? value : 0.0f;
    }
}

// Where the samples from s on lie at the pose b; overlap is null at the particle's own pose.
DEVICE void locate(const Inputs &in, const float *b, const Overlap *overlap, int s, Lanes &l) {
    const float b0 = b[0], b1 = b[1], b2 = b[2], b3 = b[3], b4 = b[4], b5 = b[5];
    float kx[LANES], ky[LANES], x[LANES], y[LANES], z[LANES];
    const int *samples = in.samples + s;
    for (int i = 0; i < LANES; i++) {
        kx[i] = samples[i] << 16 >> 16;
        ky[i] = samples[i] >> 16;
    }
    for (int i = 0; i < LANES; i++) {
        x[i] = kx[i] * b0 + ky[i] * b3;
        y[i] = kx[i] * b1 + ky[i] * b4;
        z[i] = kx[i] * b2 + ky[i] * b5;
    }
    locate_cells(in.grid, x, y, z, l.map);
    FETCH(in.volume, l.map, 1)
    for (int i = 0; i < LANES; i++) l.share[i] = 1.0f;
    l.own = in.leverage > 0.0f;
    if (l.own && overlap) find_overlap(*overlap, kx, ky, l);
}

// The samples from s on, their prediction read.
DEVICE const Lanes &next(const Inputs &in, const float *b, const Overlap *overlap, int s, Lanes (&buffer)[2]) {
    Lanes &l = located(buffer, s, in.last, [&](int from, Lanes &found) { locate(in, b, overlap, from, found); });
    float re[LANES], im[LANES], inverse_density[LANES];
    for (int i = 0; i < LANES; i++) {
        const Value value = read_voxel(in.volume, l.map, i);
        re[i] = value.re;
        im[i] = value.im;
        inverse_density[i] = value.inverse_density;
    }
    const float unit = in.unit, leverage = in.leverage;
    const float *image_x = in.image_x + s, *image_y = in.image_y + s, *ctf = in.ctf + s;
    for (int i = 0; i < LANES; i++) {
        re[i] = unit * ctf[i] * re[i];
        im[i] = unit * ctf[i] * l.map.sign[i] * im[i];
    }
    if (l.own)
        for (int i = 0; i < LANES; i++) {
            const float h = l.share[i] * smaller(0.5f, leverage * ctf[i] * ctf[i] * inverse_density[i]);
            const float scale = 1.0f / (1.0f - h);
            re[i] = scale * (re[i] - h * image_x[i]);
            im[i] = scale * (im[i] - h * image_y[i]);
        }
    for (int i = 0; i < LANES; i++) {
        l.re[i] = re[i];
        l.im[i] = im[i];
    }
    return l;
}

DEVICE float total(const float *sums) {
    float all = sums[0];
    for (int i = 1; i < LANES; i++) all += sums[i];
    return all;
}

DEVICE Inputs inputs_of(
    const float *ordered, int stride, const int *samples, const int *half, const float *leverage,
    const Voxel *volume, int radius, const float *unit, float density_unit, int index, int last)
{
    Inputs in;
    in.grid = blocks(radius);
    in.image_x = ordered + 3LL * stride * index;
    in.image_y = in.image_x + stride;
    in.ctf = in.image_y + stride;
    in.samples = samples;
    in.volume = volume + half[index] * in.grid.volume;
    in.unit = unit[half[index]];
    in.leverage = density_unit * leverage[index];
    in.last = last;
    return in;
}

#define AHEAD 96  // samples, of pixels that are asked for before they are needed

// Images and CTFs in the order of the samples: their real parts, their imaginary parts, the CTF.
extern "C" __global__ void order_samples(
    const float2 *RESTRICT image, const float *RESTRICT ctf,             // (n, 2 r + 1, r + 1)
    const int *RESTRICT samples, int count,
    int n, int r, float *RESTRICT ordered)                               // (n, 3, count)
{
    const long long pixels = (long long)(2 * r + 1) * (r + 1);
    for (int index = blockIdx.x; index < n; index += gridDim.x) {
        const float2 *y = image + index * pixels;
        const float *c = ctf + index * pixels;
        float *re = ordered + 3LL * count * index, *im = re + count, *contrast = im + count;
        for (int s = blockIdx.y * blockDim.x + threadIdx.x; s < count; s += gridDim.y * blockDim.x) {
            if (s + AHEAD < count) {
                const int later = samples[s + AHEAD], pixel = ((later >> 16) + r) * (r + 1) + (later << 16 >> 16);
                PREFETCH(y + pixel);
                PREFETCH(c + pixel);
            }
            const int at = ((samples[s] >> 16) + r) * (r + 1) + (samples[s] << 16 >> 16);
            re[s] = y[at].x;
            im[s] = y[at].y;
            contrast[s] = c[at];
        }
    }
}

// Band sums of each particle against its own pose, over both Friedel mates:
// |y|^2, |x|^2, Re(conj(y) x), c Re(y), c Re(x), c^2 with x = c P V.
extern "C" __global__ void score_slices(
    const float *RESTRICT ordered, int stride,                           // (n, 3, stride)
    const int *RESTRICT samples, const int *RESTRICT band_start,         // see above; (bands + 1)
    const float *RESTRICT basis, const int *RESTRICT half,               // (n, 6), (n)
    const float *RESTRICT leverage,                                      // (n)
    const Voxel *RESTRICT volume, int radius,                            // of both halves, in blocks
    const float *RESTRICT unit, float density_unit,                      // (2) of each half; of both
    int n, int bands, float *RESTRICT sums)                              // (n, bands, 6)
{
    for (int index = blockIdx.x; index < n; index += gridDim.x) {
        const Inputs in = inputs_of(ordered, stride, samples, half, leverage, volume, radius, unit, density_unit, index,
                                    band_start[bands]);
        Lanes buffer[2];
        for (int band = blockIdx.y; band < bands; band += gridDim.y) {
            float yy[LANES] = {}, xx[LANES] = {}, yx[LANES] = {}, cy[LANES] = {}, cx[LANES] = {}, cc[LANES] = {};
            for (int s = band_start[band] + threadIdx.x * LANES; s < band_start[band + 1]; s += blockDim.x * LANES) {
                const Lanes &l = next(in, basis + 6LL * index, nullptr, s, buffer);
                const float *image_x = in.image_x + s, *image_y = in.image_y + s, *contrast = in.ctf + s;
                for (int i = 0; i < LANES; i++) {
                    yy[i] += image_x[i] * image_x[i] + image_y[i] * image_y[i];
                    xx[i] += l.re[i] * l.re[i] + l.im[i] * l.im[i];
                    yx[i] += image_x[i] * l.re[i] + image_y[i] * l.im[i];
                    cy[i] += contrast[i] * image_x[i];
                    cx[i] += contrast[i] * l.re[i];
                    cc[i] += contrast[i] * contrast[i];
                }
            }
            const float totals[6] = {block_sum(total(yy)), block_sum(total(xx)),
                                     block_sum(total(yx)), block_sum(total(cy)),
                                     block_sum(total(cx)), block_sum(total(cc))};
            if (threadIdx.x == 0)
                for (int k = 0; k < 6; k++) sums[((long long)index * bands + band) * 6 + k] = 2.0f * totals[k];
        }
    }
}

// The prediction x = c P V of each particle's samples at its own pose, its own share taken out; the rest is left alone.
extern "C" __global__ void predict_slices(
    const float *RESTRICT ordered, int stride,                           // (n, 3, stride)
    const int *RESTRICT samples, const int *RESTRICT band_start,
    const float *RESTRICT basis, const int *RESTRICT half,               // (n, 6), (n)
    const float *RESTRICT leverage,                                      // (n)
    const Voxel *RESTRICT volume, int radius,
    const float *RESTRICT unit, float density_unit,
    int n, int bands, int r, float2 *RESTRICT prediction)                // (n, 2 r + 1, r + 1)
{
    const long long pixels = (long long)(2 * r + 1) * (r + 1);
    for (int index = blockIdx.x; index < n; index += gridDim.x) {
        const Inputs in = inputs_of(ordered, stride, samples, half, leverage, volume, radius, unit, density_unit, index,
                                    band_start[bands]);
        float2 *out = prediction + index * pixels;
        Lanes buffer[2];
        for (int s = (blockIdx.y * blockDim.x + threadIdx.x) * LANES; s < in.last; s += gridDim.y * blockDim.x * LANES) {
            const Lanes &l = next(in, basis + 6LL * index, nullptr, s, buffer);
            for (int i = 0; i < LANES; i++)
                if (const int at = samples[s + i])
                    out[((at >> 16) + r) * (r + 1) + (at << 16 >> 16)] = float2{l.re[i], l.im[i]};
        }
    }
}

// |x|^2 and Re(conj(y) x) per band at other poses, the image staying in cache from pose to pose.
// What a particle put into the map reaches as far as the transform of the mask: its share at another pose is that at its
// own times the overlap of the two samples, a table of their distance in steps of overlap_step.
extern "C" __global__ void score_poses(
    const float *RESTRICT ordered, int stride,
    const int *RESTRICT samples, const int *RESTRICT band_start,
    const float *RESTRICT basis, const int *RESTRICT half,               // (n, poses, 6), (n)
    const float *RESTRICT leverage,                                      // (n)
    const Voxel *RESTRICT volume, int radius,
    const float *RESTRICT unit, float density_unit,
    const float *RESTRICT own_basis,                                     // (n, 6)
    const float *RESTRICT overlap, int cells, float overlap_step,
    int n, int poses, int bands, float *RESTRICT sums)                   // (n, poses, bands, 2)
{
    const long long items = (long long)n * poses;
    for (long long item = blockIdx.x; item < items; item += gridDim.x) {
        const int index = (int)(item / poses);
        const Inputs in = inputs_of(ordered, stride, samples, half, leverage, volume, radius, unit, density_unit, index,
                                    band_start[bands]);
        const float *b = basis + 6 * item;
        Overlap own = {overlap, (float)cells, {}};
        for (int k = 0; k < 6; k++) own.turn[k] = overlap_step * (b[k] - own_basis[6LL * index + k]);
        Lanes buffer[2];
        for (int band = blockIdx.y; band < bands; band += gridDim.y) {
            float xx[LANES] = {}, yx[LANES] = {};
            for (int s = band_start[band] + threadIdx.x * LANES; s < band_start[band + 1]; s += blockDim.x * LANES) {
                const Lanes &l = next(in, b, &own, s, buffer);
                const float *image_x = in.image_x + s, *image_y = in.image_y + s;
                for (int i = 0; i < LANES; i++) {
                    xx[i] += l.re[i] * l.re[i] + l.im[i] * l.im[i];
                    yx[i] += image_x[i] * l.re[i] + image_y[i] * l.im[i];
                }
            }
            const float power = block_sum(total(xx)), inner = block_sum(total(yx));
            if (threadIdx.x == 0) {
                sums[(item * bands + band) * 2] = 2.0f * power;
                sums[(item * bands + band) * 2 + 1] = 2.0f * inner;
            }
        }
    }
}

#define SHIFTS 8  // for which a slice is read once

// Re(conj(y) x) per band at displaced shifts: y at k is turned by -(kx, ky) turns half turns. The slice at the own pose is
// read once for SHIFTS of them; |x|^2 is that of score_slices.
extern "C" __global__ void score_shifts(
    const float *RESTRICT ordered, int stride,
    const int *RESTRICT samples, const int *RESTRICT band_start,
    const float *RESTRICT basis, const int *RESTRICT half,               // (n, 6), (n)
    const float *RESTRICT leverage,                                      // (n)
    const Voxel *RESTRICT volume, int radius,
    const float *RESTRICT unit, float density_unit,
    const float *RESTRICT turns,                                         // (n, shifts, 2)
    int n, int shifts, int bands, float *RESTRICT sums)                  // (n, shifts, bands)
{
    const int groups = (shifts + SHIFTS - 1) / SHIFTS;
    const long long items = (long long)n * groups;
    for (long long item = blockIdx.x; item < items; item += gridDim.x) {
        const int index = (int)(item / groups), first = (int)(item % groups) * SHIFTS;
        const int count = shifts - first < SHIFTS ? shifts - first : SHIFTS;
        const long long row = (long long)index * shifts + first;
        const Inputs in = inputs_of(ordered, stride, samples, half, leverage, volume, radius, unit, density_unit, index,
                                    band_start[bands]);
        float along_x[SHIFTS], along_y[SHIFTS];
        for (int k = 0; k < SHIFTS; k++) {
            along_x[k] = k < count ? turns[2 * (row + k)] : 0.0f;
            along_y[k] = k < count ? turns[2 * (row + k) + 1] : 0.0f;
        }
        Lanes buffer[2];
        for (int band = blockIdx.y; band < bands; band += gridDim.y) {
            float inner[SHIFTS][LANES] = {};
            for (int s = band_start[band] + threadIdx.x * LANES; s < band_start[band + 1]; s += blockDim.x * LANES) {
                const Lanes &l = next(in, basis + 6LL * index, nullptr, s, buffer);
                const float *image_x = in.image_x + s, *image_y = in.image_y + s;
                float kx[LANES], ky[LANES], re[LANES], im[LANES];
                for (int i = 0; i < LANES; i++) {
                    kx[i] = samples[s + i] << 16 >> 16;
                    ky[i] = samples[s + i] >> 16;
                    re[i] = image_x[i] * l.re[i] + image_y[i] * l.im[i];
                    im[i] = image_x[i] * l.im[i] - image_y[i] * l.re[i];
                }
                for (int k = 0; k < SHIFTS; k++) {
                    if (k >= count) break;
                    for (int i = 0; i < LANES; i++) {
                        const float turn = kx[i] * along_x[k] + ky[i] * along_y[k];
                        inner[k][i] += re[i] * cosine_pi(turn) - im[i] * sine_pi(turn);
                    }
                }
            }
            for (int k = 0; k < count; k++) {
                const float value = block_sum(total(inner[k]));
                if (threadIdx.x == 0) sums[(row + k) * bands + band] = 2.0f * value;
            }
        }
    }
}
