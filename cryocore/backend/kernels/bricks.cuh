// Half-space volumes in bricks of 8 x 8 x 8 voxels, in Z-order inside a brick, so that the voxels round a sample and those
// round its neighbours in any direction share cache lines and pages. Bricks follow each other as [z][y][x].
//
// The host takes LANES samples at a time, each step over all of them, which the compiler turns into vectors; on the GPU
// a thread is a lane.

#include "common.cuh"

#ifdef __CUDACC__
#define LANES 1
#else
#define LANES 16
#endif

struct Bricks {  // of one half-space volume
    int margin;  // R + 1: the index of x = 0 and y = 0
    int row;     // voxels in a row of bricks along x
    int layer;   // bricks in a layer
    long long volume;
    float limit;
};

DEVICE Bricks bricks(int radius) {
    const Geometry g = geometry(radius);
    const int across = (g.width + 7) / 8;
    Bricks b;
    b.margin = radius + 1;
    b.row = 512 * across;
    b.layer = across * across;
    b.volume = 512LL * b.layer * ((radius + 9) / 8);
    b.limit = g.limit;
    return b;
}

// abc -> a00b00c
DEVICE int spread(int i) { return (i & 1) | (i & 2) << 2 | (i & 4) << 4; }

DEVICE int along_x(int x) { return (x >> 3) * 512 + spread(x); }
DEVICE int along_y(const Bricks &g, int y) { return (y >> 3) * g.row + (spread(y) << 1); }
DEVICE long long along_z(const Bricks &g, int z) { return (long long)((z >> 3) * g.layer) << 9 | spread(z) << 2; }

struct VoxelCells {  // the voxel cells of LANES samples, folded into the half space
    int corner[4][LANES];         // (y, x), (y, x + 1), (y + 1, x), (y + 1, x + 1)
    long long layer[2][LANES];    // z, z + 1
    float right[LANES];           // share of x + 1
    float share[4][LANES];        // of (z, y), (z, y + 1), (z + 1, y), (z + 1, y + 1); all 0 outside the ball
    float sign[LANES];            // of the imaginary part
};

DEVICE void locate_cells(const Bricks &g, const float *x, const float *y, const float *z, VoxelCells &c) {
    for (int i = 0; i < LANES; i++) {
        const float inside = x[i] * x[i] + y[i] * y[i] + z[i] * z[i] <= g.limit ? 1.0f : 0.0f;
        const float sign = z[i] < 0.0f ? -1.0f : 1.0f, fold = sign * inside;
        const float px = fold * x[i], py = fold * y[i], pz = fold * z[i];
        const float gx = floorf(px), gy = floorf(py), gz = floorf(pz);
        const float fy = py - gy, fz = pz - gz, lower = inside * (1.0f - fz), upper = inside * fz;
        const int ix = (int)gx + g.margin, iy = (int)gy + g.margin, iz = (int)gz;
        const int x0 = along_x(ix), x1 = along_x(ix + 1), y0 = along_y(g, iy), y1 = along_y(g, iy + 1);
        c.corner[0][i] = y0 + x0;
        c.corner[1][i] = y0 + x1;
        c.corner[2][i] = y1 + x0;
        c.corner[3][i] = y1 + x1;
        c.layer[0][i] = along_z(g, iz);
        c.layer[1][i] = along_z(g, iz + 1);
        c.right[i] = px - gx;
        c.share[0][i] = lower * (1.0f - fy);
        c.share[1][i] = lower * fy;
        c.share[2][i] = upper * (1.0f - fy);
        c.share[3][i] = upper * fy;
        c.sign[i] = sign;
    }
}

#ifndef __CUDACC__
typedef double complex64 __attribute__((may_alias, aligned(4)));  // moved as one, never calculated with
typedef double complex64x2 __attribute__((vector_size(16)));

DEVICE float4v both(const float2 *left, const float2 *right) {
    return (float4v)(complex64x2){*(const complex64 *)left, *(const complex64 *)right};
}
#endif

DEVICE float2 read_cell(const float2 *RESTRICT volume, const VoxelCells &c, int i) {
    const float2 *p = volume + c.layer[0][i], *q = volume + c.layer[1][i];
    const int k0 = c.corner[0][i], k1 = c.corner[1][i], k2 = c.corner[2][i], k3 = c.corner[3][i];
    const float s0 = c.share[0][i], s1 = c.share[1][i], s2 = c.share[2][i], s3 = c.share[3][i], t = c.right[i];
    float2 value;
#ifdef __CUDACC__
    const float2 p0 = p[k0], p1 = p[k1], p2 = p[k2], p3 = p[k3], q0 = q[k0], q1 = q[k1], q2 = q[k2], q3 = q[k3];
    const float lx = s0 * p0.x + s1 * p2.x + s2 * q0.x + s3 * q2.x, rx = s0 * p1.x + s1 * p3.x + s2 * q1.x + s3 * q3.x;
    const float ly = s0 * p0.y + s1 * p2.y + s2 * q0.y + s3 * q2.y, ry = s0 * p1.y + s1 * p3.y + s2 * q1.y + s3 * q3.y;
    value.x = lx + t * (rx - lx);
    value.y = c.sign[i] * (ly + t * (ry - ly));
#else
    const float4v sum = s0 * both(p + k0, p + k1) + s1 * both(p + k2, p + k3)
                      + s2 * both(q + k0, q + k1) + s3 * both(q + k2, q + k3);
    value.x = sum[0] + t * (sum[2] - sum[0]);
    value.y = c.sign[i] * (sum[1] + t * (sum[3] - sum[1]));
#endif
    return value;
}

DEVICE float read_cell(const float *RESTRICT volume, const VoxelCells &c, int i) {
    const float *p = volume + c.layer[0][i], *q = volume + c.layer[1][i];
    const int k0 = c.corner[0][i], k1 = c.corner[1][i], k2 = c.corner[2][i], k3 = c.corner[3][i];
    const float s0 = c.share[0][i], s1 = c.share[1][i], s2 = c.share[2][i], s3 = c.share[3][i];
    const float left = s0 * p[k0] + s1 * p[k2] + s2 * q[k0] + s3 * q[k2];
    const float right = s0 * p[k1] + s1 * p[k3] + s2 * q[k1] + s3 * q[k3];
    return left + c.right[i] * (right - left);
}

// The host asks for the voxels of some samples while it works on those before them: for every STEP-th corner of a cell.
// Forced inline: g++ takes a function that only prefetches for one without effect, and drops its calls.
#ifndef __CUDACC__
template <int STEP, class Voxel>
__attribute__((always_inline)) inline void fetch(const Voxel *volume, const VoxelCells &c) {
    for (int i = 0; i < LANES; i++) {
        for (int k = 0; k < 4; k += STEP) {
            __builtin_prefetch(volume + c.layer[0][i] + c.corner[k][i]);
            __builtin_prefetch(volume + c.layer[1][i] + c.corner[k][i]);
        }
    }
}
#endif
