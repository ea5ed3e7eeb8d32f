// Built with -mavx512f -mavx512bw -mavx512dq -mavx512vl and AVX2's flags. See kernels/README.md for
// the one rule of such files.
#include "kernels/cpu/avx512_math.h"
#include "kernels/cpu/rope/rope.h"

namespace klens::cpu {

Rope rope_avx512;

namespace {

template <class Load, class Store>
inline void rotate(float* low, float* high, const float* cos, const float* sin, Load load,
                   Store store) {
  const __m512 c = load(cos), s = load(sin), x = load(low), y = load(high);
  store(low, _mm512_fmsub_ps(x, c, _mm512_mul_ps(y, s)));
  store(high, _mm512_fmadd_ps(y, c, _mm512_mul_ps(x, s)));
}

}  // namespace

void rope_avx512(const RopeArgs& a) {
  const __mmask16 rest = first_lanes16(a.pairs % 16);
  for (int64_t t = 0; t < a.tokens; ++t)
    for (int64_t h = 0; h < a.heads; ++h) {
      float* low = a.x + t * a.x_stride + h * a.dim;
      float* high = low + a.pairs;
      const float* cos = a.cos + t * a.pairs;
      const float* sin = a.sin + t * a.pairs;
      int64_t i = 0;
      for (; i + 16 <= a.pairs; i += 16)
        rotate(
            low + i, high + i, cos + i, sin + i, [](const float* p) { return _mm512_loadu_ps(p); },
            [](float* p, __m512 v) { _mm512_storeu_ps(p, v); });
      if (i < a.pairs)
        rotate(
            low + i, high + i, cos + i, sin + i, [rest](const float* p) { return load16(p, rest); },
            [rest](float* p, __m512 v) { store16(p, rest, v); });
    }
}

}  // namespace klens::cpu
