// Fourier volumes are half spaces [kz][ky + R + 1][kx + R + 1], kz = 0..R+1, |kx|, |ky| <= R+1: a margin of one
// voxel round the ball of radius R, so that the eight neighbours of any sample inside the ball exist.
// Image transforms are cropped half planes [ky + r][kx], |ky| <= r, kx = 0..r, of which only the disc of shells up to r,
// kx^2 + ky^2 <= r^2 + r, and one of each Friedel pair (kx > 0, or kx = 0 and ky > 0) is used.

#include "shared/machine.cuh"

struct Geometry {  // of one half-space volume
    int radius;    // R
    int width;     // 2 R + 3
    long long plane, volume;
    float limit;   // samples up to half a voxel beyond R still have all their neighbours
};

DEVICE Geometry geometry(int radius) {
    Geometry g;
    g.radius = radius;
    g.width = 2 * radius + 3;
    g.plane = (long long)g.width * g.width;
    g.volume = g.plane * (radius + 2);
    g.limit = (radius + 0.5f) * (radius + 0.5f);
    return g;
}

struct Point {  // folded into the half space; (0, 0, 0) if it is not in the ball
    float x, y, z;
    float sign;    // of the imaginary part
    float inside;  // the ball: 1, or 0
};

DEVICE Point fold(float x, float y, float z, float limit) {
    const float inside = x * x + y * y + z * z <= limit ? 1.0f : 0.0f;
    const float sign = z < 0.0f ? -1.0f : 1.0f, factor = sign * inside;
    return {factor * x, factor * y, factor * z, sign, inside};
}

struct Cell {  // of the eight voxels round a point
    int x, y, z;
    float right;            // share of x + 1
    float s0, s1, s2, s3;   // of (z, y), (z, y + 1), (z + 1, y), (z + 1, y + 1); all 0 outside the ball
};

DEVICE Cell cell_of(const Point &p) {
    const float gx = floorf(p.x), gy = floorf(p.y), gz = floorf(p.z);
    const float fy = p.y - gy, fz = p.z - gz, lower = p.inside * (1.0f - fz), upper = p.inside * fz;
    return {(int)gx, (int)gy, (int)gz, p.x - gx, lower * (1.0f - fy), lower * fy, upper * (1.0f - fy), upper * fy};
}

// The first voxel of a cell in its volume.
DEVICE long long corner(const Geometry &g, const Cell &c) {
    return c.z * g.plane + (c.y + g.radius + 1) * (long long)g.width + c.x + g.radius + 1;
}

// The value between the pairs (x, x + 1) at (z, y), (z, y + 1), (z + 1, y), (z + 1, y + 1), by their shares.
DEVICE float2 interpolate(
    const Pair &p0, const Pair &p1, const Pair &p2, const Pair &p3, float s0, float s1, float s2, float s3, float right,
    float sign)
{
    const Pair sum = s0 * p0 + s1 * p1 + s2 * p2 + s3 * p3;
    return {part(sum, 0) + right * (part(sum, 2) - part(sum, 0)),
            sign * (part(sum, 1) + right * (part(sum, 3) - part(sum, 1)))};
}
