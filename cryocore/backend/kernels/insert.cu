// Adjoint of the gather: adds slices to the planes [z0, z1) of the half-space sums.
// On the host one call owns its planes, so there are no atomics and every voxel is summed in particle order,
// whatever the number of threads. On the GPU one call covers all planes and adds atomically.

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

extern "C" __global__ void insert_slices(
    const float2 *RESTRICT image, const float *RESTRICT ctf,  // (n, 2 r + 1, r + 1)
    const float *RESTRICT basis,                              // (n, 6): volume index per kx and per ky, as x, y, z
    const float *RESTRICT weight, const int *RESTRICT half,   // (n): half is 0 or 1
    const int *RESTRICT row_end,                              // (2 r + 1): last kx of each row of the disc
    int n, int r, int radius,
    float2 *RESTRICT numerator, float *RESTRICT denominator,  // (2, R + 2, 2 R + 3, 2 R + 3)
    int z0, int z1)
{
    const Geometry g = geometry(radius);
    const int width = r + 1;
    const long long pixels = (long long)(2 * r + 1) * width;
    const float low = z0 - 1.0f, high = (float)z1;
    const bool split = low > 0.0f;  // then |z| in [low, high) is two stretches of a row, one of either sign of z
    for (int index = blockIdx.x; index < n; index += gridDim.x) {
        const float w = weight[index];
        if (w == 0.0f) continue;
        const float *b = basis + 6LL * index;
        const float zx = b[2], steep = fabsf(zx), inverse = steep * r > 1e-3f ? 1.0f / zx : 0.0f;
        float2 *num = numerator + half[index] * g.volume;
        float *den = denominator + half[index] * g.volume;
        for (int ky = (int)threadIdx.y - r; ky <= r; ky += blockDim.y) {
            const float zr = ky * b[5], reach = steep * row_end[ky + r] + 1.0f;
            if (fabsf(zr) - reach > high || fabsf(zr) + reach < low) continue;
            const float x0 = ky * b[3], y0 = ky * b[4];
            const int first = ky > 0 ? 0 : 1, last = row_end[ky + r];
            const long long row = index * pixels + (long long)(ky + r) * width;
            const float2 *value = image + row;
            const float *contrast = ctf + row;
            // z is linear in kx: visit only the stretches that can touch the planes
            for (int side = 0; side < (split ? 2 : 1); side++) {
                int begin = first, end = last;
                if (inverse != 0.0f) {
                    const float ta = ((split ? (side ? -high : low) : -high) - zr) * inverse;
                    const float tb = ((split ? (side ? -low : high) : high) - zr) * inverse;
                    const float lower = fminf(ta, tb) - 1.0f, upper = fmaxf(ta, tb) + 1.0f;
                    begin = lower > begin ? (lower > end ? end + 1 : (int)lower) : begin;
                    end = upper < end ? (upper < begin ? begin - 1 : (int)upper) : end;
                }
                for (int kx = begin + threadIdx.x; kx <= end; kx += blockDim.x) {
                    float x = x0 + kx * b[0], y = y0 + kx * b[1], z = zr + kx * zx;
                    const bool flip = z < 0.0f;
                    if (split && flip != (side == 1)) continue;
                    x = flip ? -x : x;
                    y = flip ? -y : y;
                    z = flip ? -z : z;
                    const int iz = (int)z;
                    if (iz + 1 < z0 || iz >= z1 || x * x + y * y + z * z > g.limit) continue;
                    const float c = contrast[kx], wc = w * c;
                    const float re = wc * value[kx].x, im = flip ? -wc * value[kx].y : wc * value[kx].y, power = wc * c;
                    const float gx = floorf(x), gy = floorf(y);
                    const float fx = x - gx, fy = y - gy, fz = z - iz;
                    const long long corner = iz * g.plane + ((int)gy + radius + 1) * (long long)g.width
                                           + (int)gx + radius + 1;
                    if (iz >= z0) {
                        const float a = (1.0f - fz) * (1.0f - fy), d = (1.0f - fz) * fy;
                        add_pair(num + corner, den + corner, a * (1.0f - fx), a * fx, re, im, power);
                        add_pair(num + corner + g.width, den + corner + g.width, d * (1.0f - fx), d * fx, re, im, power);
                    }
                    if (iz + 1 < z1) {
                        const long long above = corner + g.plane;
                        const float a = fz * (1.0f - fy), d = fz * fy;
                        add_pair(num + above, den + above, a * (1.0f - fx), a * fx, re, im, power);
                        add_pair(num + above + g.width, den + above + g.width, d * (1.0f - fx), d * fx, re, im, power);
                    }
                }
            }
        }
    }
}
