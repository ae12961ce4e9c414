// What differs between the machines, so that the kernels need not ask. NVRTC compiles a file as it is; the host compiler
// sees the shim below, in which a block is one thread and blockIdx.x / gridDim.x are set by the caller, so every loop must
// be grid-stride. On the GPU the blocks of one blockIdx.x share the item's rows, bands or samples by blockIdx.y, where the
// kernel has strips. Names of included files start from the folder of the kernels.

#define RESTRICT __restrict__

#ifdef __CUDACC__

#define DEVICE __device__ __forceinline__
#define PREFETCH(address)

struct Pair { float of[4]; };  // two complex numbers
DEVICE Pair pair_of(const float2 *left, const float2 *right) { return {{left->x, left->y, right->x, right->y}}; }
DEVICE Pair pair_at(const float2 *left) { return pair_of(left, left + 1); }
DEVICE float part(const Pair &p, int i) { return p.of[i]; }
DEVICE Pair operator*(float s, const Pair &p) { return {{s * p.of[0], s * p.of[1], s * p.of[2], s * p.of[3]}}; }
DEVICE Pair operator+(const Pair &p, const Pair &q) {
    return {{p.of[0] + q.of[0], p.of[1] + q.of[1], p.of[2] + q.of[2], p.of[3] + q.of[3]}};
}

// Sum over the threads of a block, valid in thread 0; a launch gives shared memory of one float per thread.
DEVICE float block_sum(float value) {
    extern __shared__ float scratch[];
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
}

#else

#include <cmath>
#include <cstring>
#define __global__
#define DEVICE static inline
#define PREFETCH(address) __builtin_prefetch(address)
struct float2 { float x, y; };
struct Index { int x, y, z; };
template <int strips> struct Strip { int x; static constexpr int y = strips; };
static const Index threadIdx = {0, 0, 0}, blockDim = {1, 1, 1};
static thread_local Strip<0> blockIdx = {0};
static thread_local Strip<1> gridDim = {1};
extern "C" void set_block(int block, int grid) { blockIdx.x = block; gridDim.x = grid; }

typedef float Pair __attribute__((vector_size(16), aligned(4), may_alias));
typedef double complex64 __attribute__((may_alias, aligned(4)));  // moved as one, never calculated with
typedef double complex64x2 __attribute__((vector_size(16)));
DEVICE Pair pair_of(const float2 *left, const float2 *right) {
    return (Pair)(complex64x2){*(const complex64 *)left, *(const complex64 *)right};
}
DEVICE Pair pair_at(const float2 *left) { return *(const Pair *)left; }
DEVICE float part(const Pair &p, int i) { return p[i]; }

DEVICE float block_sum(float value) { return value; }

#endif
