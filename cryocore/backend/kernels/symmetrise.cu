// Sums over the operators of a point group: out(k) = sum over g of in(g k).

#include "shared/gather.cuh"

extern "C" __global__ void symmetrise_sums(
    const float2 *RESTRICT numerator, const float *RESTRICT denominator,  // (R + 2, 2 R + 3, 2 R + 3)
    const float *RESTRICT operators, int n_operators, int radius,               // (n_operators, 3, 3)
    float2 *RESTRICT numerator_out, float *RESTRICT denominator_out)
{
    const Geometry g = geometry(radius);
    const long long items = (long long)(radius + 2) * g.width;
    for (long long item = blockIdx.x; item < items; item += gridDim.x) {
        const int iz = (int)(item / g.width), iy = (int)(item % g.width);
        const float y = (float)(iy - radius - 1), z = (float)iz;
        for (int ix = threadIdx.x; ix < g.width; ix += blockDim.x) {
            const float x = (float)(ix - radius - 1);
            float2 sum = {0.0f, 0.0f};
            float power = 0.0f;
            if (x * x + y * y + z * z <= (float)radius * radius) {
                for (int m = 0; m < n_operators; m++) {
                    const float *o = operators + 9 * m;
                    const float gx = o[0] * x + o[1] * y + o[2] * z, gy = o[3] * x + o[4] * y + o[5] * z;
                    const float gz = o[6] * x + o[7] * y + o[8] * z;
                    const float2 v = gather(numerator, g, gx, gy, gz);
                    sum.x += v.x;
                    sum.y += v.y;
                    power += gather_real(denominator, g, gx, gy, gz);
                }
            }
            const long long voxel = iz * g.plane + iy * (long long)g.width + ix;
            numerator_out[voxel] = sum;
            denominator_out[voxel] = power;
        }
    }
}
