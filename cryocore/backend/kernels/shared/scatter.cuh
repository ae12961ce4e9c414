// Adjoint of the gather: what the samples of slices add to the voxels round them, in half-space sums.

#include "shared/half_space.cuh"

struct Slices {
    const float2 *image;
    const float *ctf;    // (n, 2 r + 1, r + 1), as the images
    const float *basis;  // (n, 6): volume index per kx and per ky, as x, y, z
    const float *weight;
    const int *half;     // (n): 0 or 1
    const int *row_end;  // (2 r + 1): last kx of each row of the disc
    int n, r;
};

// add(voxel, re, im, power): w c y and w c^2 times the sample's share of a voxel of the sums (2, R + 2, 2 R + 3, 2 R + 3),
// of every `step`-th row from `from` on.
template <class Add> DEVICE void scatter(const Slices &s, int radius, int from, int step, Add add) {
    const Geometry g = geometry(radius);
    const int r = s.r, width = r + 1;
    const long long pixels = (long long)(2 * r + 1) * width;
    for (int index = blockIdx.x; index < s.n; index += gridDim.x) {
        const float w = s.weight[index];
        if (w == 0.0f) continue;
        const float *b = s.basis + 6LL * index;
        const long long volume = s.half[index] * g.volume;
        for (int ky = from - r; ky <= r; ky += step) {
            const long long row = index * pixels + (long long)(ky + r) * width;
            for (int kx = (ky > 0 ? 0 : 1) + threadIdx.x; kx <= s.row_end[ky + r]; kx += blockDim.x) {
                const Point point = fold(ky * b[3] + kx * b[0], ky * b[4] + kx * b[1], ky * b[5] + kx * b[2], g.limit);
                if (point.inside == 0.0f) continue;
                const Cell cell = cell_of(point);
                const float2 value = s.image[row + kx];
                const float c = s.ctf[row + kx], wc = w * c, re = wc * value.x, im = point.sign * wc * value.y;
                const float shares[4] = {cell.s0, cell.s1, cell.s2, cell.s3};
                const long long first = volume + corner(g, cell);
                for (int k = 0; k < 8; k++) {
                    const float share = shares[k / 2] * (k & 1 ? cell.right : 1.0f - cell.right);
                    const long long at = first + (k & 4 ? g.plane : 0) + (k & 2 ? g.width : 0) + (k & 1);
                    add(at, share * re, share * im, share * wc * c);
                }
            }
        }
    }
}
