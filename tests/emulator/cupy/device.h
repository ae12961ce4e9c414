// What CUDA C++ has beyond C++ and the kernels use, for g++: see runtime.cpp for how their threads run.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __forceinline__ inline __attribute__((always_inline))
#define __restrict__

struct Dim3 { unsigned x, y, z; };
extern Dim3 threadIdx, blockIdx, blockDim, gridDim;  // set before a thread goes on

struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };

namespace emulator {

struct Array { char *base; uint64_t bytes; uint8_t *written; struct Word *words; };  // written: one byte for every 4

struct Launch {  // as _Launch of _kernels.py
    uint32_t number;
    int order;  // 0: blocks, and threads between barriers, by number; 1: the other way round; 2: shuffled
    uint32_t grid[3], block[3];
    int shared_bytes, n_arrays;
    const Array *arrays;
    void **arguments;
    char fault[512];
};

void barrier(int line);
void *shared_memory();
float add(float *at, float value);
using Call = void (*)(void **);
int run(Call call, Launch *launch);

// One letter a parameter: i int, f float; pointers F to float, C to two floats, I to int, V to anything else.
template <class T> constexpr char kind() {
    if constexpr (std::is_pointer_v<T>) {
        using P = std::remove_cv_t<std::remove_pointer_t<T>>;
        return std::is_same_v<P, float> ? 'F' : std::is_same_v<P, float2> ? 'C' : std::is_same_v<P, int> ? 'I' : 'V';
    } else {
        static_assert(std::is_same_v<T, float> || std::is_same_v<T, int>, "kernels take pointers, int and float");
        return std::is_same_v<T, float> ? 'f' : 'i';
    }
}

template <auto kernel> struct Kernel;
template <class... P, void (*kernel)(P...)> struct Kernel<kernel> {
    template <size_t... I> static void call_with(void **args, std::index_sequence<I...>) { kernel(*(P *)args[I]...); }
    static void call(void **args) { call_with(args, std::index_sequence_for<P...>{}); }
    static constexpr char kinds[] = {kind<P>()..., 0};
};

}  // namespace emulator

#define EMULATED(name)                                                                              \
    extern "C" const char *emulator_kinds_##name() { return emulator::Kernel<name>::kinds; }        \
    extern "C" int emulator_run_##name(emulator::Launch *launch) { return emulator::run(emulator::Kernel<name>::call, launch); }

#define __syncthreads() emulator::barrier(__LINE__)

inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline float atomicAdd(float *at, float value) { return emulator::add(at, value); }
inline float2 atomicAdd(float2 *at, float2 value) { return {atomicAdd(&at->x, value.x), atomicAdd(&at->y, value.y)}; }
inline float4 atomicAdd(float4 *at, float4 value) {
    return {atomicAdd(&at->x, value.x), atomicAdd(&at->y, value.y), atomicAdd(&at->z, value.z), atomicAdd(&at->w, value.w)};
}
inline float sinpif(float x) { return (float)std::sin(M_PI * std::remainder((double)x, 2.0)); }
