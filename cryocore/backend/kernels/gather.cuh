// Reading a Fourier volume between its voxels.

#include "common.cuh"

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
