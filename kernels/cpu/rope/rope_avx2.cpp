// Built with -mavx2 -mfma -mf16c. See kernels/README.md for the one rule of such files.
#include "kernels/cpu/avx2_math.h"
#include "kernels/cpu/rope/rope.h"

namespace klens::cpu {

Rope rope_avx2;

namespace {

template <bool Masked>
inline void rotate(float* low, float* high, const float* cos, const float* sin, __m256i mask) {
  const __m256 c = load8<Masked>(cos, mask), s = load8<Masked>(sin, mask);
  const __m256 x = load8<Masked>(low, mask), y = load8<Masked>(high, mask);
  store8<Masked>(low, mask, _mm256_fmsub_ps(x, c, _mm256_mul_ps(y, s)));
  store8<Masked>(high, mask, _mm256_fmadd_ps(y, c, _mm256_mul_ps(x, s)));
}

}  // namespace

void rope_avx2(const RopeArgs& a) {
  for (int64_t t = 0; t < a.tokens; ++t)
    for (int64_t h = 0; h < a.heads; ++h) {
      float* low = a.x + t * a.x_stride + h * a.dim;
      float* high = low + a.pairs;
      const float* cos = a.cos + t * a.pairs;
      const float* sin = a.sin + t * a.pairs;
      int64_t i = 0;
      for (; i + 8 <= a.pairs; i += 8)
        rotate<false>(low + i, high + i, cos + i, sin + i, first_lanes(8));
      if (i < a.pairs) rotate<true>(low + i, high + i, cos + i, sin + i, first_lanes(a.pairs - i));
    }
}

}  // namespace klens::cpu
