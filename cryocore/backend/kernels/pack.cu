#include "shared/blocked.cuh"

// volumes (n, R + 2, 2 R + 3, 2 R + 3) in blocks
extern "C" __global__ void pack_blocks(const float2 *RESTRICT volume, int n, int radius, float2 *RESTRICT packed)
{
    const Geometry g = geometry(radius);
    const Blocks b = blocks(radius);
    for (int plane = blockIdx.x; plane < n * (radius + 2); plane += gridDim.x) {
        const int z = plane % (radius + 2);
        const float2 *source = volume + plane * g.plane;
        float2 *target = packed + plane / (radius + 2) * b.volume + along_z(b, z);
        for (int y = threadIdx.x; y < g.width; y += blockDim.x)
            for (int x = 0; x < g.width; x++) target[along_x(x) + along_y(b, y)] = source[(long long)y * g.width + x];
    }
}
