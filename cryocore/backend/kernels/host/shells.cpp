// Half transforms (n, n, n / 2 + 1) of maps, the origin at 0, by shells; `shell` is by |k|^2.

#include "shared/sine.cuh"
#include <vector>

static inline int centred(int k, int n) { return k > n / 2 ? k - n : k; }

// Per plane and shell up to n / 2: Re(conj(f) g), |f|^2, |g|^2 over all coefficients of the whole transform.
extern "C" void correlate_shells(
    const float2 *RESTRICT first, const float2 *RESTRICT second, int n, const int *RESTRICT shell,
    float *RESTRICT sums)  // (n, 3, n / 2 + 1)
{
    const int width = n / 2 + 1, most = 2 * width;  // corners are beyond n / 2
    std::vector<double> total(3 * most);
    for (int z = blockIdx.x; z < n; z += gridDim.x) {
        std::fill(total.begin(), total.end(), 0.0);
        for (int y = 0; y < n; y++) {
            const int kz = centred(z, n), ky = centred(y, n), yz = kz * kz + ky * ky;
            const long long row = ((long long)z * n + y) * width;
            for (int x = 0; x < width; x++) {
                const float2 f = first[row + x], g = second[row + x];
                const float mates = x == 0 || 2 * x == n ? 1.0f : 2.0f;
                double *to = total.data() + 3 * shell[yz + x * x];
                to[0] += mates * (f.x * g.x + f.y * g.y);
                to[1] += mates * (f.x * f.x + f.y * f.y);
                to[2] += mates * (g.x * g.x + g.y * g.y);
            }
        }
        for (int s = 0; s < width; s++)
            for (int k = 0; k < 3; k++) sums[((long long)z * 3 + k) * width + s] = (float)total[3 * s + k];
    }
}

// Coefficients from the shell `from` on, turned by so many whole turns; the others as they are.
extern "C" void turn_phases(
    const float2 *RESTRICT spectrum, const float *RESTRICT turns, int n, const int *RESTRICT shell, int from,
    float2 *RESTRICT turned)
{
    const int width = n / 2 + 1;
    for (int z = blockIdx.x; z < n; z += gridDim.x)
        for (int y = 0; y < n; y++) {
            const int kz = centred(z, n), ky = centred(y, n), yz = kz * kz + ky * ky;
            const long long row = ((long long)z * n + y) * width;
            for (int x = 0; x < width; x++) {
                const float2 f = spectrum[row + x];
                const float half_turns = shell[yz + x * x] >= from ? 2.0f * turns[row + x] : 0.0f;
                const float c = cosine_pi(half_turns), s = sine_pi(half_turns), opposite = -f.y;
                turned[row + x].x = f.x * c + opposite * s;
                turned[row + x].y = f.x * s + f.y * c;
            }
        }
}
