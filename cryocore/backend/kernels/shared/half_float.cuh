#include "shared/machine.cuh"

struct Half2 { unsigned short x, y; };

// Half precision by integers alone: the fields fit a float's with the exponent 112 too low. Infinities do not occur;
// the GPU takes subnormal halves for 0.

// The nearest half of a number below 65520, of two the even one; 0 where that would be subnormal.
DEVICE unsigned short to_half(float value) {
    unsigned bits;
    memcpy(&bits, &value, 4);
    const unsigned sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
    if (magnitude < 0x38800000u) return (unsigned short)sign;
    return (unsigned short)(sign | (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13);
}

DEVICE float from_half(unsigned short half) {
    const unsigned bits = (half & 0x7fffu) << 13, sign = (half & 0x8000u) << 16;
    float value;
    memcpy(&value, &bits, 4);
    value *= 5.192296858534828e33f;  // 2^112
    unsigned whole;
    memcpy(&whole, &value, 4);
    whole |= sign;
    memcpy(&value, &whole, 4);
    return value;
}
