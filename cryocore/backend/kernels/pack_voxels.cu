#include "shared/gather.cuh"
#include "shared/voxels.cuh"

// A map's grid (R + 2, 2 R + 3, 2 R + 3) times scale, and beside it the inverse density of its samples times density_scale,
// at most `most`: at the same points, of which a grid point of the density, which is not padded, has `padding` along an axis.
// Without a density it is 0. Voxels that no sample's cell reaches are left alone.
extern "C" __global__ void pack_voxels(
    const float2 *RESTRICT volume, int radius, float scale,
    const float *RESTRICT inverse_density, int density_radius, float padding, float density_scale, float most,
    Voxel *RESTRICT packed)
{
    const Geometry g = geometry(radius), coarse = geometry(density_radius);
    const Blocks b = blocks(radius);
    const int reach = (radius + 3) * (radius + 3);
    for (int iz = blockIdx.x; iz < radius + 2; iz += gridDim.x) {
        Voxel *target = packed + along_z(b, iz);
        for (int iy = threadIdx.x; iy < g.width; iy += blockDim.x) {
            for (int ix = 0; ix < g.width; ix++) {
                const int across = ix - radius - 1, up = iy - radius - 1;
                if (across * across + up * up + iz * iz > reach) continue;
                const float2 value = volume[iz * g.plane + iy * (long long)g.width + ix];
                float inverse = 0.0f;
                if (inverse_density) {
                    const float x = across / padding, y = up / padding, z = iz / padding;
                    const float squared = x * x + y * y + z * z;  // beyond the density's ball its edge is taken
                    const float in = squared > coarse.limit ? 0.9999f * sqrtf(coarse.limit / squared) : 1.0f;
                    inverse = density_scale * gather_real(inverse_density, coarse, in * x, in * y, in * z);
                }
                target[along_x(ix) + along_y(b, iy)] = {{to_half(scale * value.x), to_half(scale * value.y),
                                                        to_half(inverse < most ? inverse : most), 0}};
            }
        }
    }
}
