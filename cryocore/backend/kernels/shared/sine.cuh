#include "shared/machine.cuh"

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
