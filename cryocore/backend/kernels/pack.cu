#include "shared/blocked.cuh"

// volumes (n, R + 2, 2 R + 3, 2 R + 3), of 1 or 2 floats a voxel, in blocks
extern "C" __global__ void pack_blocks(
    const float *RESTRICT volume, int n, int radius, int floats, float *RESTRICT packed)
{
    const Geometry g = geometry(radius);
    const Blocks b = blocks(radius);
    for (int plane = blockIdx.x; plane < n * (radius + 2); plane += gridDim.x) {
        const int z = plane % (radius + 2);
        const float *source = volume + plane * g.plane * floats;
        float *target = packed + (plane / (radius + 2) * b.volume + along_z(b, z)) * floats;
        for (int y = threadIdx.x; y < g.width; y += blockDim.x)
            for (int x = 0; x < g.width; x++)
                for (int k = 0; k < floats; k++)
                    target[(long long)(along_x(x) + along_y(b, y)) * floats + k] =
                        source[((long long)y * g.width + x) * floats + k];
    }
}
