#include "shared/machine.cuh"

struct Half2 { unsigned short x, y; };

// Half precision by integers alone: the fields fit a float's with the exponent 112 too low. Infinities do not occur;
// the GPU takes subnormal halves for 0.
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
