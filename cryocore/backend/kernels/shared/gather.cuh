// Reading a Fourier volume between its voxels.

#include "shared/half_space.cuh"

DEVICE float2 gather(const float2 *RESTRICT volume, const Geometry &g, float x, float y, float z) {
    const Point point = fold(x, y, z, g.limit);
    if (point.inside == 0.0f) return {0.0f, 0.0f};
    const Cell c = cell_of(point);
    const float2 *p = volume + corner(g, c), *q = p + g.plane;
    return interpolate(pair_at(p), pair_at(p + g.width), pair_at(q), pair_at(q + g.width), c.s0, c.s1, c.s2, c.s3, c.right,
                       point.sign);
}

DEVICE float gather_real(const float *RESTRICT volume, const Geometry &g, float x, float y, float z) {
    const Point point = fold(x, y, z, g.limit);
    if (point.inside == 0.0f) return 0.0f;
    const Cell c = cell_of(point);
    const float *p = volume + corner(g, c), *q = p + g.plane;
    const float fy = point.y - floorf(point.y), fz = point.z - floorf(point.z);
    const int w = g.width;
    const float lower = (1.0f - fy) * (p[0] + c.right * (p[1] - p[0])) + fy * (p[w] + c.right * (p[w + 1] - p[w]));
    const float upper = (1.0f - fy) * (q[0] + c.right * (q[1] - q[0])) + fy * (q[w] + c.right * (q[w + 1] - q[w]));
    return lower + fz * (upper - lower);
}
