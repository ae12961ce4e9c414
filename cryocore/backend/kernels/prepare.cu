// Image transforms to cropped, centred, shifted, CTF-annotated half planes.
//
// image = unit * rfft2(pixels) * exp(2 pi i (kx rx + ky ry)) * exp(-i odd),   ramp (rx, ry) = (centre - shift) / d
// ctf   = scale exp(-B f^2 / 4) sin(defocus term - spherical term + phase - even)
// mode 0: as recorded; 1: phase-flipped; 2: premultiplied. Both are undone here, so that nothing later asks.

#include "shared/half_float.cuh"
#include "shared/sine.cuh"

// Coefficients come as float2, or in half precision from a cache (cryocore/imaging/packed.py).

DEVICE float2 coefficient(const float2 *source, int kx) { return source[kx]; }

DEVICE float2 coefficient(const Half2 *source, int kx) {
    float2 v;
    v.x = from_half(source[kx].x);
    v.y = from_half(source[kx].y);
    return v;
}

// One row up to kx = last_kx; without tables of aberrations, the usual case, the loop has no branch and the host
// compiler vectorises it.
template <bool tables, class Complex>
DEVICE void prepare_row(
    const Complex *RESTRICT source, const float *RESTRICT p, const float *RESTRICT optics,
    const float *RESTRICT even, const float *RESTRICT odd, int ky, int r, int last_kx, float unit,
    float2 *RESTRICT target, float *RESTRICT contrast)
{
    const float p0 = p[0], p1 = p[1], p2 = p[2], p3 = p[3], scale = p[5], rx = 2.0f * p[6], turn0 = 2.0f * ky * p[7];
    const float fx0 = optics[1] * ky, fxx = optics[0], fy0 = optics[3] * ky, fyx = optics[2], cs = optics[4];
    const int last = r * r + r - ky * ky;  // inside the disc, and one of each Friedel pair
    for (int kx = threadIdx.x; kx <= last_kx; kx += blockDim.x) {
        const float fx = fx0 + fxx * kx, fy = fy0 + fyx * kx, xx = fx * fx, yy = fy * fy, s = xx + yy;
        float phase = p0 * s + p1 * (xx - yy) + p2 * (2.0f * fx * fy) - cs * s * s + p3, turn = turn0 + rx * kx;
        if (tables) {
            if (even) phase -= even[kx];
            if (odd) turn -= odd[kx];
        }
        const float used = kx * kx <= last && kx + (ky > 0) > 0 ? 1.0f : 0.0f;
        const float re = used * unit * cosine_pi(turn), im = used * unit * sine_pi(turn);
        const float2 v = coefficient(source, kx);
        const float opposite = -v.y;  // a difference beside a sum GCC 12 would fuse, whatever -ffp-contract says
        contrast[kx] = used * scale * sine_pi(phase);
        target[kx].x = v.x * re + opposite * im;
        target[kx].y = v.x * im + v.y * re;
    }
}

// The row ky of one image, from its coefficients kx = 0..last_kx; beyond them it is 0.
template <class Complex>
DEVICE void prepare_whole_row(
    const Complex *source, const float *p, const float *optics, const float *even, const float *odd,
    int ky, int r, int last_kx, int mode, float unit, float2 *target, float *contrast)
{
    const int table = (ky + r) * (r + 1);
    const float fx0 = optics[1] * ky, fxx = optics[0], fy0 = optics[3] * ky, fyx = optics[2];
    if (even || odd)
        prepare_row<true>(source, p, optics, even ? even + table : even, odd ? odd + table : odd, ky, r, last_kx, unit,
                          target, contrast);
    else
        prepare_row<false>(source, p, optics, even, odd, ky, r, last_kx, unit, target, contrast);
    for (int kx = last_kx + 1 + threadIdx.x; kx <= r; kx += blockDim.x)
        contrast[kx] = target[kx].x = target[kx].y = 0.0f;
    if (p[4] == 0.0f && mode == 0) return;
    for (int kx = threadIdx.x; kx <= last_kx; kx += blockDim.x) {
        const float fx = fx0 + fxx * kx, fy = fy0 + fyx * kx;
        const float c = contrast[kx] * expf(-p[4] * (fx * fx + fy * fy));
        const bool usable = mode != 2 || fabsf(c) > 0.05f;
        const float gain = mode == 1 ? (c < 0.0f ? -1.0f : 1.0f) : mode == 2 ? (usable ? 1.0f / c : 0.0f) : 1.0f;
        contrast[kx] = usable ? c : 0.0f;
        target[kx].x *= gain;
        target[kx].y *= gain;
    }
}

extern "C" __global__ void prepare_images(
    const float2 *RESTRICT transforms,  // (n, d, d/2+1)
    const float *RESTRICT particle,     // (n, 8): three defocus terms, phase (half turns), B/4, scale, rx, ry
    const float *RESTRICT optics,       // (5): frequency matrix xx, xy, yx, yy (1/A per index), spherical term
    const float *RESTRICT even,         // (2 r + 1, r + 1) half turns, or null
    const float *RESTRICT odd,          // (2 r + 1, r + 1) half turns, or null
    int n, int d, int r, int mode, float unit,
    float2 *RESTRICT image, float *RESTRICT ctf)  // (n, 2 r + 1, r + 1)
{
    for (int index = blockIdx.x; index < n; index += gridDim.x) {
        for (int ky = (int)(blockIdx.y * blockDim.y + threadIdx.y) - r; ky <= r; ky += gridDim.y * blockDim.y) {
            const float2 *source = transforms + ((long long)index * d + (ky < 0 ? ky + d : ky)) * (d / 2 + 1);
            const long long row = ((long long)index * (2 * r + 1) + ky + r) * (r + 1);
            prepare_whole_row(source, particle + 8LL * index, optics, even, odd, ky, r, r, mode, unit, image + row,
                              ctf + row);
        }
    }
}

extern "C" __global__ void prepare_packed(
    const Half2 *RESTRICT records,      // (n, row_starts[2 r + 1]): a float32 factor, then the rows of the disc
    const int *RESTRICT row_starts,     // (2 r + 2): where in a record the rows ky = -r..r begin and end
    const float *RESTRICT particle, const float *RESTRICT optics, const float *RESTRICT even, const float *RESTRICT odd,
    int n, int r, int mode, float unit, // otherwise as prepare_images
    float2 *RESTRICT image, float *RESTRICT ctf)
{
    for (int index = blockIdx.x; index < n; index += gridDim.x) {
        const Half2 *record = records + (long long)index * row_starts[2 * r + 1];
        float factor;
        memcpy(&factor, record, 4);
        for (int ky = (int)(blockIdx.y * blockDim.y + threadIdx.y) - r; ky <= r; ky += gridDim.y * blockDim.y) {
            const int start = row_starts[ky + r], last_kx = row_starts[ky + r + 1] - start - 1;
            const long long row = ((long long)index * (2 * r + 1) + ky + r) * (r + 1);
            prepare_whole_row(record + start, particle + 8LL * index, optics, even, odd, ky, r, last_kx, mode,
                              unit * factor, image + row, ctf + row);
        }
    }
}
