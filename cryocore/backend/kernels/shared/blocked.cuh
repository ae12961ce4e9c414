// Half-space volumes in blocks of 8 x 8 x 8 voxels, in Z-order inside a block, so that the voxels round a sample and those
// round its neighbours in any direction share cache lines and pages. Blocks follow each other as [z][y][x].
//
// The host takes LANES samples at a time, each step over all of them, which the compiler turns into vectors; on the GPU
// a thread is a lane.

#include "shared/half_space.cuh"

#define SIDE_BITS 3     // of a block
#define HOST_LANES 16

#ifdef __CUDACC__
#define LANES 1
#else
#define LANES HOST_LANES
#endif

struct Blocks {  // of one half-space volume
    int margin;  // R + 1: the index of x = 0 and y = 0
    int row;     // voxels in a row of blocks along x
    int layer;   // blocks in a layer
    long long volume;
    float limit;
};

DEVICE Blocks blocks(int radius) {
    const Geometry g = geometry(radius);
    const int side = 1 << SIDE_BITS, across = (g.width + side - 1) / side;
    Blocks b;
    b.margin = radius + 1;
    b.row = side * side * side * across;
    b.layer = across * across;
    b.volume = (long long)side * side * side * b.layer * ((radius + 1 + side) / side);
    b.limit = g.limit;
    return b;
}

// abc -> a00b00c
DEVICE int spread(int i) { return (i & 1) | (i & 2) << 2 | (i & 4) << 4; }

DEVICE int along_x(int x) { return ((x >> SIDE_BITS) << 3 * SIDE_BITS) + spread(x); }
DEVICE int along_y(const Blocks &g, int y) { return (y >> SIDE_BITS) * g.row + (spread(y) << 1); }
DEVICE long long along_z(const Blocks &g, int z) {
    return (long long)((z >> SIDE_BITS) * g.layer) << 3 * SIDE_BITS | spread(z) << 2;
}

struct VoxelCells {  // the voxel cells of LANES samples, see Cell
    int corner[4][LANES];         // (y, x), (y, x + 1), (y + 1, x), (y + 1, x + 1)
    long long layer[2][LANES];    // z, z + 1
    float right[LANES], share[4][LANES], sign[LANES];
};

DEVICE void locate_cells(const Blocks &g, const float *x, const float *y, const float *z, VoxelCells &c) {
    for (int i = 0; i < LANES; i++) {
        const Point point = fold(x[i], y[i], z[i], g.limit);
        const Cell cell = cell_of(point);
        const int ix = cell.x + g.margin, iy = cell.y + g.margin, iz = cell.z;
        const int x0 = along_x(ix), x1 = along_x(ix + 1), y0 = along_y(g, iy), y1 = along_y(g, iy + 1);
        c.corner[0][i] = y0 + x0;
        c.corner[1][i] = y0 + x1;
        c.corner[2][i] = y1 + x0;
        c.corner[3][i] = y1 + x1;
        c.layer[0][i] = along_z(g, iz);
        c.layer[1][i] = along_z(g, iz + 1);
        c.right[i] = cell.right;
        c.share[0][i] = cell.s0;
        c.share[1][i] = cell.s1;
        c.share[2][i] = cell.s2;
        c.share[3][i] = cell.s3;
        c.sign[i] = point.sign;
    }
}

DEVICE float2 read_cell(const float2 *RESTRICT volume, const VoxelCells &c, int i) {
    const float2 *p = volume + c.layer[0][i], *q = volume + c.layer[1][i];
    const int k0 = c.corner[0][i], k1 = c.corner[1][i], k2 = c.corner[2][i], k3 = c.corner[3][i];
    return interpolate(pair_of(p + k0, p + k1), pair_of(p + k2, p + k3), pair_of(q + k0, q + k1), pair_of(q + k2, q + k3),
                       c.share[0][i], c.share[1][i], c.share[2][i], c.share[3][i], c.right[i], c.sign[i]);
}

DEVICE float read_cell(const float *RESTRICT volume, const VoxelCells &c, int i) {
    const float *p = volume + c.layer[0][i], *q = volume + c.layer[1][i];
    const int k0 = c.corner[0][i], k1 = c.corner[1][i], k2 = c.corner[2][i], k3 = c.corner[3][i];
    const float s0 = c.share[0][i], s1 = c.share[1][i], s2 = c.share[2][i], s3 = c.share[3][i];
    const float left = s0 * p[k0] + s1 * p[k2] + s2 * q[k0] + s3 * q[k2];
    const float right = s0 * p[k1] + s1 * p[k3] + s2 * q[k1] + s3 * q[k3];
    return left + c.right[i] * (right - left);
}

// Asks for the voxels of some samples, for every STEP-th corner of a cell, before they are needed.
// A macro: g++ takes a function that only prefetches for one without effect, and drops its calls.
#define FETCH(volume, c, STEP)                                         \
    for (int i = 0; i < LANES; i++)                                    \
        for (int k = 0; k < 4; k += STEP) {                            \
            PREFETCH((volume) + (c).layer[0][i] + (c).corner[k][i]);   \
            PREFETCH((volume) + (c).layer[1][i] + (c).corner[k][i]);   \
        }

// What locate(s, item) finds of the samples from s on. The host goes one step ahead, so that voxels arrive in time.
template <class Item, class Locate>
DEVICE Item &located(Item (&buffer)[2], int s, int last, Locate locate) {
#ifdef __CUDACC__
    (void)last;
    locate(s, buffer[0]);
    return buffer[0];
#else
    if (s == 0) locate(s, buffer[0]);
    if (s + LANES < last) locate(s + LANES, buffer[(s / LANES + 1) & 1]);
    return buffer[(s / LANES) & 1];
#endif
}
