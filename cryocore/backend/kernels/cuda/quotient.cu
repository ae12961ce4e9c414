// Planes kz of a map's transform from its sums: numerator over denominator inside the ball, as in host/fourier.cpp.

#include "shared/half_space.cuh"

extern "C" __global__ void quotient_planes(
    const float2 *RESTRICT first, const float2 *RESTRICT second,  // (R + 2, 2 R + 3, 2 R + 3); the second or null
    const float *RESTRICT one, const float *RESTRICT two,         // the same of the denominators, both or the second null
    const float *RESTRICT floor, const float *RESTRICT added,     // (R^2 + 1), null without denominators
    int radius, int from, int planes,
    float2 *RESTRICT values)                                      // (planes, 2 R + 3, 2 R + 3), from the plane `from` on
{
    const Geometry g = geometry(radius);
    const int limit = radius * radius;
    for (int item = blockIdx.x; item < planes * g.width; item += gridDim.x) {
        const int kz = from + item / g.width, ky = item % g.width - radius - 1;
        const long long source = kz * g.plane + (long long)(item % g.width) * g.width;
        for (int ix = threadIdx.x; ix < g.width; ix += blockDim.x) {
            const int kx = ix - radius - 1, square = kz * kz + ky * ky + kx * kx;
            const long long at = source + ix;
            float2 value = {0.0f, 0.0f};
            if (square <= limit) {
                value = first[at];
                if (second) value = {value.x + second[at].x, value.y + second[at].y};
                if (one) {
                    const float divisor = fmaxf(one[at] + (two ? two[at] : 0.0f), floor[square]) + added[square];
                    const float used = square > 0 ? 1.0f / fmaxf(divisor, 1.1754943508222875e-38f) : 0.0f;
                    value = {value.x * used, value.y * used};
                }
            }
            values[(long long)item * g.width + ix] = value;
        }
    }
}
