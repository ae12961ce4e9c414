// Slices out of a Fourier volume, and their comparison with images.

struct Corner {  // of the voxel cell that holds a sample, after folding into the half space
    long long offset;
    float fx, fy, fz;
    bool flip, inside;
};

DEVICE Corner locate(const Geometry &g, float x, float y, float z) {
    Corner c;
    c.flip = z < 0.0f;
    x = c.flip ? -x : x;
    y = c.flip ? -y : y;
    z = c.flip ? -z : z;
    c.inside = x * x + y * y + z * z <= g.limit;
    const float gx = floorf(x), gy = floorf(y), gz = floorf(z);
    c.fx = x - gx;
    c.fy = y - gy;
    c.fz = z - gz;
    c.offset = (long long)gz * g.plane + ((int)gy + g.radius + 1) * (long long)g.width + (int)gx + g.radius + 1;
    return c;
}

DEVICE float2 gather(const float2 *RESTRICT volume, const Geometry &g, float x, float y, float z) {
    const Corner c = locate(g, x, y, z);
    float2 value = {0.0f, 0.0f};
    if (!c.inside) return value;
    const float2 *p = volume + c.offset, *q = p + g.plane;
    const float a = (1.0f - c.fz) * (1.0f - c.fy), b = (1.0f - c.fz) * c.fy;
    const float d = c.fz * (1.0f - c.fy), e = c.fz * c.fy;
#ifdef __CUDACC__
    const float2 p0 = p[0], p1 = p[1], p2 = p[g.width], p3 = p[g.width + 1];
    const float2 q0 = q[0], q1 = q[1], q2 = q[g.width], q3 = q[g.width + 1];
    const float lx = a * p0.x + b * p2.x + d * q0.x + e * q2.x, rx = a * p1.x + b * p3.x + d * q1.x + e * q3.x;
    const float ly = a * p0.y + b * p2.y + d * q0.y + e * q2.y, ry = a * p1.y + b * p3.y + d * q1.y + e * q3.y;
    value.x = lx + c.fx * (rx - lx);
    value.y = ly + c.fx * (ry - ly);
#else
    const float4v sum = a * *(const float4v *)p + b * *(const float4v *)(p + g.width)
                      + d * *(const float4v *)q + e * *(const float4v *)(q + g.width);
    value.x = sum[0] + c.fx * (sum[2] - sum[0]);
    value.y = sum[1] + c.fx * (sum[3] - sum[1]);
#endif
    if (c.flip) value.y = -value.y;
    return value;
}

DEVICE float gather_real(const float *RESTRICT volume, const Geometry &g, float x, float y, float z) {
    const Corner c = locate(g, x, y, z);
    if (!c.inside) return 0.0f;
    const float *p = volume + c.offset, *q = p + g.plane;
    const int w = g.width;
    const float lower = (1.0f - c.fy) * (p[0] + c.fx * (p[1] - p[0])) + c.fy * (p[w] + c.fx * (p[w + 1] - p[w]));
    const float upper = (1.0f - c.fy) * (q[0] + c.fx * (q[1] - q[0])) + c.fy * (q[w] + c.fx * (q[w + 1] - q[w]));
    return lower + c.fz * (upper - lower);
}

// slice = P V at each pose; zero outside the disc and on the redundant half of kx = 0
extern "C" __global__ void project_slices(
    const float2 *RESTRICT volume, const float *RESTRICT basis, const int *RESTRICT half,
    int n, int r, int radius, float2 *RESTRICT slice)
{
    const Geometry g = geometry(radius);
    const int width = r + 1;
    for (int index = blockIdx.x; index < n; index += gridDim.x) {
        const float *b = basis + 6LL * index;
        const float2 *v = volume + half[index] * g.volume;
        for (int ky = (int)threadIdx.y - r; ky <= r; ky += blockDim.y) {
            float2 *row = slice + ((long long)index * (2 * r + 1) + ky + r) * width;
            for (int kx = threadIdx.x; kx < width; kx += blockDim.x) {
                float2 value = {0.0f, 0.0f};
                if (kx * kx + ky * ky <= r * r + r && (kx > 0 || ky > 0))
                    value = gather(v, g, kx * b[0] + ky * b[3], kx * b[1] + ky * b[4], kx * b[2] + ky * b[5]);
                row[kx] = value;
            }
        }
    }
}

// The prediction (re, im) without the part of it, h, that is the image itself.
DEVICE void take_out(float h, float2 image, float &re, float &im) {
    const float scale = 1.0f / (1.0f - h);
    re = scale * (re - h * image.x);
    im = scale * (im - h * image.y);
}

// Band sums of each particle against its own pose, over both Friedel mates:
// |y|^2, |x|^2, Re(conj(y) x), c Re(y), c Re(x), c^2 with x = c P V.
// Where the particle is part of the map (leverage > 0) its own share is taken out: x <- (x - h y) / (1 - h),
// h = min(1/2, leverage c^2 / density). The density lives on an unpadded grid of its own.
extern "C" __global__ void score_slices(
    const float2 *RESTRICT image, const float *RESTRICT ctf,             // (n, 2 r + 1, r + 1)
    const short2 *RESTRICT samples, const int *RESTRICT band_start,      // (kx, ky) sorted by band; (bands + 1)
    const float *RESTRICT basis, const int *RESTRICT half,               // (n, 6), (n)
    const float *RESTRICT leverage,                                      // (n)
    const float2 *RESTRICT volume, int radius,                           // (2, R + 2, 2 R + 3, 2 R + 3)
    const float *RESTRICT inverse_density, int density_radius, float density_step,
    int n, int r, int bands, float *RESTRICT sums)                       // (n, bands, 6)
{
#ifdef __CUDACC__
    extern __shared__ float scratch[];
#else
    float *scratch = nullptr;
#endif
    const Geometry g = geometry(radius), gd = geometry(density_radius);
    const int width = r + 1;
    const long long pixels = (long long)(2 * r + 1) * width;
    for (int index = blockIdx.x; index < n; index += gridDim.x) {
        const float *b = basis + 6LL * index;
        const float2 *v = volume + half[index] * g.volume, *y = image + index * pixels;
        const float *density = inverse_density + half[index] * gd.volume, *c = ctf + index * pixels;
        const float own = leverage[index];
        for (int band = 0; band < bands; band++) {
            float yy = 0.0f, xx = 0.0f, yx = 0.0f, cy = 0.0f, cx = 0.0f, cc = 0.0f;
            for (int s = band_start[band] + threadIdx.x; s < band_start[band + 1]; s += blockDim.x) {
                const int kx = samples[s].x, ky = samples[s].y, pixel = (ky + r) * width + kx;
                const float px = kx * b[0] + ky * b[3], py = kx * b[1] + ky * b[4], pz = kx * b[2] + ky * b[5];
                const float2 value = y[pixel], p = gather(v, g, px, py, pz);
                const float contrast = c[pixel];
                float re = contrast * p.x, im = contrast * p.y;
                if (own > 0.0f) {
                    const float inverse = gather_real(density, gd, px * density_step, py * density_step, pz * density_step);
                    take_out(fminf(0.5f, own * contrast * contrast * inverse), value, re, im);
                }
                yy += value.x * value.x + value.y * value.y;
                xx += re * re + im * im;
                yx += value.x * re + value.y * im;
                cy += contrast * value.x;
                cx += contrast * re;
                cc += contrast * contrast;
            }
            const float totals[6] = {block_sum(yy, scratch), block_sum(xx, scratch), block_sum(yx, scratch),
                                     block_sum(cy, scratch), block_sum(cx, scratch), block_sum(cc, scratch)};
            if (threadIdx.x == 0)
                for (int k = 0; k < 6; k++) sums[((long long)index * bands + band) * 6 + k] = 2.0f * totals[k];
        }
    }
}

// |x|^2 and Re(conj(y) x) per band at other poses, the image staying in cache from pose to pose.
// Where the particle is part of the map, what it put there reaches as far as the transform of the mask: its share at
// another pose is that at its own times overlap(distance of the two samples), a table in steps of overlap_step.
extern "C" __global__ void score_poses(
    const float2 *RESTRICT image, const float *RESTRICT ctf,
    const short2 *RESTRICT samples, const int *RESTRICT band_start,
    const float *RESTRICT basis, const int *RESTRICT half,               // (n, poses, 6), (n)
    const float *RESTRICT leverage,                                      // (n)
    const float2 *RESTRICT volume, int radius,
    const float *RESTRICT inverse_density, int density_radius, float density_step,
    const float *RESTRICT own_basis,                                     // (n, 6)
    const float *RESTRICT overlap, int cells, float overlap_step,
    int n, int poses, int r, int bands, float *RESTRICT sums)            // (n, poses, bands, 2)
{
#ifdef __CUDACC__
    extern __shared__ float scratch[];
#else
    float *scratch = nullptr;
#endif
    const Geometry g = geometry(radius), gd = geometry(density_radius);
    const int width = r + 1;
    const long long pixels = (long long)(2 * r + 1) * width, items = (long long)n * poses;
    for (long long item = blockIdx.x; item < items; item += gridDim.x) {
        const int index = (int)(item / poses);
        const float *b = basis + 6 * item, *o = own_basis + 6LL * index;
        const float *density = inverse_density + half[index] * gd.volume;
        const float own = leverage[index];
        const float2 *v = volume + half[index] * g.volume, *y = image + index * pixels;
        const float *c = ctf + index * pixels;
        for (int band = 0; band < bands; band++) {
            float xx = 0.0f, yx = 0.0f;
            for (int s = band_start[band] + threadIdx.x; s < band_start[band + 1]; s += blockDim.x) {
                const int kx = samples[s].x, ky = samples[s].y, pixel = (ky + r) * width + kx;
                const float px = kx * b[0] + ky * b[3], py = kx * b[1] + ky * b[4], pz = kx * b[2] + ky * b[5];
                const float2 value = y[pixel], p = gather(v, g, px, py, pz);
                const float contrast = c[pixel];
                float re = contrast * p.x, im = contrast * p.y;
                if (own > 0.0f) {
                    const float dx = px - kx * o[0] - ky * o[3], dy = py - kx * o[1] - ky * o[4];
                    const float dz = pz - kx * o[2] - ky * o[5];
                    const float at = sqrtf(dx * dx + dy * dy + dz * dz) * overlap_step;
                    const int cell = (int)at;
                    if (cell + 1 < cells) {
                        const float m = overlap[cell] + (at - cell) * (overlap[cell + 1] - overlap[cell]);
                        const float inverse =
                            gather_real(density, gd, px * density_step, py * density_step, pz * density_step);
                        take_out(m * fminf(0.5f, own * contrast * contrast * inverse), value, re, im);
                    }
                }
                xx += re * re + im * im;
                yx += value.x * re + value.y * im;
            }
            const float power = block_sum(xx, scratch), inner = block_sum(yx, scratch);
            if (threadIdx.x == 0) {
                sums[(item * bands + band) * 2] = 2.0f * power;
                sums[(item * bands + band) * 2 + 1] = 2.0f * inner;
            }
        }
    }
}
