#include "shared/half_space.cuh"

#define TAPS 6   // of the window along each axis
#define STEPS 512  // of its table per grid point

// mean(k) = mean over the operators of in(g k), at the points k of an unpadded half-space volume, out of a padded one in which
// a grid point is a share 1 / padding of them. A window of TAPS points, from a table, makes it as good as exact.
extern "C" __global__ void average_mates(
    const float2 *RESTRICT volume, const float *RESTRICT operators,  // (R + 2, 2 R + 3, 2 R + 3), (n_operators, 3, 3)
    const float *RESTRICT window,                                    // (TAPS, STEPS + 1)
    int n_operators, int radius, float padding, int out_radius,
    float2 *RESTRICT mean)                                           // (r + 2, 2 r + 3, 2 r + 3)
{
    const Geometry g = geometry(radius), to = geometry(out_radius);
    const long long items = (long long)(out_radius + 2) * to.width;
    for (long long item = blockIdx.x; item < items; item += gridDim.x) {
        const int iz = (int)(item / to.width), iy = (int)(item % to.width);
        const float y = (float)(iy - out_radius - 1), z = (float)iz;
        for (int ix = threadIdx.x; ix < to.width; ix += blockDim.x) {
            const float x = (float)(ix - out_radius - 1);
            float2 sum = {0.0f, 0.0f};
            for (int m = 0; m < n_operators && x * x + y * y + z * z <= to.limit; m++) {
                const float *o = operators + 9 * m;
                float along[3][TAPS];
                int first[3];
                for (int axis = 0; axis < 3; axis++) {
                    const float at = padding * (o[3 * axis] * x + o[3 * axis + 1] * y + o[3 * axis + 2] * z);
                    const float low = floorf(at), share = STEPS * (at - low);
                    const int step = share < STEPS - 1.0f ? (int)share : STEPS - 1;
                    first[axis] = (int)low - (TAPS / 2 - 1);
                    for (int tap = 0; tap < TAPS; tap++) {
                        const float *w = window + tap * (STEPS + 1) + step;
                        along[axis][tap] = w[0] + (share - step) * (w[1] - w[0]);
                    }
                }
                for (int c = 0; c < TAPS; c++) {
                    const int vz = first[2] + c, side = vz < 0 ? -1 : 1;
                    float2 plane = {0.0f, 0.0f};
                    for (int b = 0; b < TAPS; b++) {
                        const float2 *row = volume + side * vz * g.plane
                                          + (side * (first[1] + b) + radius + 1) * (long long)g.width + radius + 1;
                        float2 line = {0.0f, 0.0f};
                        for (int a = 0; a < TAPS; a++) {
                            const float2 value = row[side * (first[0] + a)];
                            line.x += along[0][a] * value.x;
                            line.y += along[0][a] * value.y;
                        }
                        plane.x += along[1][b] * line.x;
                        plane.y += along[1][b] * line.y;
                    }
                    sum.x += along[2][c] * plane.x;
                    sum.y += along[2][c] * side * plane.y;
                }
            }
            float2 *out = mean + iz * to.plane + iy * (long long)to.width + ix;
            out->x = sum.x / n_operators;
            out->y = sum.y / n_operators;
        }
    }
}
