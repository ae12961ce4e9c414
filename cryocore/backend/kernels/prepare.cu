// Image transforms to cropped, centred, shifted, CTF-annotated half planes.
//
// image = unit * rfft2(pixels) * exp(2 pi i (kx rx + ky ry)) * exp(-i odd),   ramp (rx, ry) = (centre - shift) / d
// ctf   = scale exp(-B f^2 / 4) sin(defocus term - spherical term + phase - even)
// mode 0: as recorded; 1: phase-flipped; 2: premultiplied. Both are undone here, so that nothing later asks.

struct Row {  // ky of one image
    const float2 *source;
    const float *even, *odd;  // of the row, or null
    float p0, p1, p2, p3, scale, rx, turn0;
    float fx0, fxx, fy0, fyx, cs, unit;
    int ky, last, width;  // kx^2 <= last is inside the disc
};

// One row, with or without phase tables: the host vectorises a loop only if no condition on a pointer is inside.
template <bool WITH_EVEN, bool WITH_ODD> DEVICE void prepare_row(const Row row, float2 *RESTRICT target, float *RESTRICT contrast) {
    for (int kx = threadIdx.x; kx < row.width; kx += blockDim.x) {
        const float fx = row.fx0 + row.fxx * kx, fy = row.fy0 + row.fyx * kx, xx = fx * fx, yy = fy * fy, s = xx + yy;
        float phase = row.p0 * s + row.p1 * (xx - yy) + row.p2 * (2.0f * fx * fy) - row.cs * s * s + row.p3;
        float turn = row.turn0 + row.rx * kx;
        if (WITH_EVEN) phase -= row.even[kx];
        if (WITH_ODD) turn -= row.odd[kx];
        const float used = kx * kx <= row.last && kx + (row.ky > 0) > 0 ? 1.0f : 0.0f;  // one of each Friedel pair
        const float re = used * row.unit * cosine_pi(turn), im = used * row.unit * sine_pi(turn);
        const float2 v = row.source[kx];
        contrast[kx] = used * row.scale * sine_pi(phase);
        target[kx].x = v.x * re - v.y * im;
        target[kx].y = v.x * im + v.y * re;
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
    const int width = r + 1;
    for (int index = blockIdx.x; index < n; index += gridDim.x) {
        const float *p = particle + 8LL * index;
        for (int ky = (int)threadIdx.y - r; ky <= r; ky += blockDim.y) {
            const float2 *source = transforms + ((long long)index * d + (ky < 0 ? ky + d : ky)) * (d / 2 + 1);
            const long long row = ((long long)index * (2 * r + 1) + ky + r) * width;
            float2 *target = image + row;
            float *contrast = ctf + row;
            const int table = (ky + r) * width;
            const float fx0 = optics[1] * ky, fxx = optics[0], fy0 = optics[3] * ky, fyx = optics[2];
            const Row line = {source, even ? even + table : nullptr, odd ? odd + table : nullptr, p[0], p[1], p[2], p[3], p[5],
                              2.0f * p[6], 2.0f * ky * p[7], fx0, fxx, fy0, fyx, optics[4], unit,
                              ky, r * r + r - ky * ky, width};
            if (even && odd) prepare_row<true, true>(line, target, contrast);
            else if (even) prepare_row<true, false>(line, target, contrast);
            else if (odd) prepare_row<false, true>(line, target, contrast);
            else prepare_row<false, false>(line, target, contrast);
            if (p[4] == 0.0f && mode == 0) continue;
            for (int kx = threadIdx.x; kx < width; kx += blockDim.x) {
                const float fx = fx0 + fxx * kx, fy = fy0 + fyx * kx;
                const float c = contrast[kx] * expf(-p[4] * (fx * fx + fy * fy));
                const bool usable = mode != 2 || fabsf(c) > 0.05f;
                const float gain = mode == 1 ? (c < 0.0f ? -1.0f : 1.0f) : mode == 2 ? (usable ? 1.0f / c : 0.0f) : 1.0f;
                contrast[kx] = usable ? c : 0.0f;
                target[kx].x *= gain;
                target[kx].y *= gain;
            }
        }
    }
}
