// Pixels as stacks store them, as float32: all of these numbers are floats too.

#include "shared/machine.cuh"

struct Float16 { unsigned short bits; };

DEVICE float as_float(float value) { return value; }
DEVICE float as_float(short value) { return (float)value; }
DEVICE float as_float(unsigned short value) { return (float)value; }
DEVICE float as_float(signed char value) { return (float)value; }

// The exponent is 112 too low for a float's, or all ones; subnormal halves are counts of 2^-24.
DEVICE float as_float(Float16 half) {
    const unsigned magnitude = half.bits & 0x7fffu, sign = (half.bits & 0x8000u) << 16;
    const float small = (float)(int)magnitude * 5.9604644775390625e-8f;
    unsigned of_small;
    memcpy(&of_small, &small, 4);
    const unsigned whole = (magnitude << 13) + (magnitude >= 0x7c00u ? 0x70000000u : 0x38000000u);
    const unsigned bits = (magnitude < 0x400u ? of_small : whole) | sign;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

template <class Stored>
DEVICE void convert(const Stored *RESTRICT stored, int n, int size, int strip, int strips, float *RESTRICT out) {
    for (int index = blockIdx.x; index < n; index += gridDim.x) {
        const long long first = (long long)index * size;
        for (int i = strip * blockDim.x + threadIdx.x; i < size; i += strips * blockDim.x)
            out[first + i] = as_float(stored[first + i]);
    }
}

// stored (n, size) of a type, out (n, size) float32

extern "C" __global__ void of_int16(const short *RESTRICT stored, int n, int size, float *RESTRICT out) {
    convert(stored, n, size, blockIdx.y, gridDim.y, out);
}

extern "C" __global__ void of_uint16(const unsigned short *RESTRICT stored, int n, int size, float *RESTRICT out) {
    convert(stored, n, size, blockIdx.y, gridDim.y, out);
}

extern "C" __global__ void of_int8(const signed char *RESTRICT stored, int n, int size, float *RESTRICT out) {
    convert(stored, n, size, blockIdx.y, gridDim.y, out);
}

extern "C" __global__ void of_float16(const Float16 *RESTRICT stored, int n, int size, float *RESTRICT out) {
    convert(stored, n, size, blockIdx.y, gridDim.y, out);
}
