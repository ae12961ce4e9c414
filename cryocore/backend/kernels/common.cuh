// One source for CPU and GPU. NVRTC compiles it as it is; the host compiler sees the shim below, in which
// a block is one thread and blockIdx.x / gridDim.x are set by the caller, so every loop must be grid-stride.
//
// Fourier volumes are half spaces [kz][ky + R + 1][kx + R + 1], kz = 0..R+1, |kx|, |ky| <= R+1: a margin of one
// voxel round the ball of radius R, so that the eight neighbours of any sample inside the ball exist.
// Image transforms are cropped half planes [ky + r][kx], |ky| <= r, kx = 0..r, of which only the disc of shells up to r,
// kx^2 + ky^2 <= r^2 + r, and one of each Friedel pair (kx > 0, or kx = 0 and ky > 0) is used.

#ifdef __CUDACC__
#define DEVICE __device__ __forceinline__
#define RESTRICT __restrict__
#else
#include <cmath>
#include <cstring>
#define __global__
#define DEVICE static inline
#define RESTRICT __restrict__
struct float2 { float x, y; };
struct short2 { short x, y; };
struct Index { int x, y, z; };
static const Index threadIdx = {0, 0, 0}, blockDim = {1, 1, 1};
static thread_local Index blockIdx = {0, 0, 0}, gridDim = {1, 1, 1};
extern "C" void set_block(int block, int grid) { blockIdx.x = block; gridDim.x = grid; }
typedef float float4v __attribute__((vector_size(16), aligned(4), may_alias));
#endif

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

// sin(pi x) and cos(pi x); on the host a polynomial that the compiler can vectorise, error below 1e-7
DEVICE float sine_pi(float x) {
#ifdef __CUDACC__
    return sinpif(x);
#else
    float r = x - 2.0f * rintf(0.5f * x);
    r = r > 0.5f ? 1.0f - r : (r < -0.5f ? -1.0f - r : r);
    const float s = r * r;
    return r * (3.14159265f + s * (-5.16771278f + s * (2.55016404f + s * (-0.599264529f
             + s * (0.0821458866f + s * (-0.00737043094f))))));
#endif
}

DEVICE float cosine_pi(float x) { return sine_pi(x + 0.5f); }

// Sum over the threads of a block, valid in thread 0; scratch holds one float per thread.
DEVICE float block_sum(float value, float *scratch) {
#ifdef __CUDACC__
    const int thread = threadIdx.x;
    scratch[thread] = value;
    __syncthreads();
    for (int step = blockDim.x / 2; step > 0; step /= 2) {
        if (thread < step) scratch[thread] += scratch[thread + step];
        __syncthreads();
    }
    value = scratch[0];
    __syncthreads();
    return value;
#else
    (void)scratch;
    return value;
#endif
}
