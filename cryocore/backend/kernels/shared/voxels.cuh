// Maps as images are compared with them: the map and the inverse density of its samples side by side, in half precision and
// in the blocks of blocked.cuh, so that eight voxels round a sample share a cache line.

#include "shared/blocked.cuh"
#include "shared/half_float.cuh"

struct Voxel { unsigned short of[4]; };  // real and imaginary part, inverse density, 0

struct Value { float re, im, inverse_density; };  // at a sample; the imaginary part is still to be given its sign

#ifdef __CUDACC__

DEVICE Value read_voxel(const Voxel *RESTRICT volume, const VoxelCells &c, int i) {
    float found[2][3] = {};  // at x and at x + 1
    for (int k = 0; k < 8; k++) {
        const Voxel voxel = volume[c.layer[k >> 2][i] + c.corner[k & 3][i]];
        for (int part = 0; part < 3; part++) found[k & 1][part] += c.share[k >> 1][i] * from_half(voxel.of[part]);
    }
    const float right = c.right[i];
    return {found[0][0] + right * (found[1][0] - found[0][0]), found[0][1] + right * (found[1][1] - found[0][1]),
            found[0][2] + right * (found[1][2] - found[0][2])};
}

#else

#ifdef __F16C__
#include <immintrin.h>
#endif

typedef float Four __attribute__((vector_size(16)));
typedef float Eight __attribute__((vector_size(32)));

// The numbers of two voxels.
DEVICE Eight eight_of(const Voxel *left, const Voxel *right) {
#ifdef __F16C__
    long long low, high;
    memcpy(&low, left, 8);
    memcpy(&high, right, 8);
    return (Eight)_mm256_cvtph_ps(_mm_set_epi64x(high, low));
#else
    Eight values;
    for (int k = 0; k < 4; k++) {
        values[k] = from_half(left->of[k]);
        values[k + 4] = from_half(right->of[k]);
    }
    return values;
#endif
}

DEVICE Value read_voxel(const Voxel *RESTRICT volume, const VoxelCells &c, int i) {
    const Voxel *p = volume + c.layer[0][i], *q = volume + c.layer[1][i];
    const int k0 = c.corner[0][i], k1 = c.corner[1][i], k2 = c.corner[2][i], k3 = c.corner[3][i];
    const Eight sum = c.share[0][i] * eight_of(p + k0, p + k1) + c.share[1][i] * eight_of(p + k2, p + k3)
                    + c.share[2][i] * eight_of(q + k0, q + k1) + c.share[3][i] * eight_of(q + k2, q + k3);
    Four left, right;
    memcpy(&left, &sum, 16);
    memcpy(&right, (const char *)&sum + 16, 16);
    const Four value = left + c.right[i] * (right - left);
    return {value[0], value[1], value[2]};
}

#endif
