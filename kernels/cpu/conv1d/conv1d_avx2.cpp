// Built with -mavx2 -mfma -mf16c. See kernels/README.md for the one rule of such files.
#include "kernels/cpu/avx2_math.h"
#include "kernels/cpu/conv1d/conv1d.h"

namespace klens::cpu {

Conv1d conv1d_avx2;

namespace {

constexpr int64_t kMaxWidth = 16;
constexpr int64_t kTokens = 8;  // per pass over the channels, so that a weight is loaded once for 8

// y of tokens [0, tokens) and eight channels; rows[i] is the input row of time i - (width - 1).
// Width is the compile-time width, or 0 for any.
template <int Width, bool Masked>
inline void convolve(const Conv1dArgs& a, const float* const* rows, float* y, int64_t tokens,
                     int64_t c, __m256i mask) {
  const int64_t width = Width != 0 ? Width : a.width;
  __m256 w[Width != 0 ? Width : kMaxWidth];
  for (int64_t j = 0; j < width; ++j) w[j] = load8<Masked>(a.w + j * a.channels + c, mask);
  const __m256 bias = a.bias == nullptr ? _mm256_setzero_ps() : load8<Masked>(a.bias + c, mask);
  for (int64_t t = 0; t < tokens; ++t) {
    __m256 v = bias;
    for (int64_t j = 0; j < width; ++j)
      v = _mm256_fmadd_ps(w[j], load8<Masked>(rows[t + j] + c, mask), v);
    store8<Masked>(y + t * a.y_stride + c, mask, silu8(v));
  }
}

template <int Width>
inline void convolve_range(const Conv1dArgs& a, const float* const* rows, float* y,
                           int64_t tokens) {
  int64_t c = a.channel_begin;
  for (; c + 8 <= a.channel_end; c += 8)
    convolve<Width, false>(a, rows, y, tokens, c, first_lanes(8));
  if (c < a.channel_end)
    convolve<Width, true>(a, rows, y, tokens, c, first_lanes(a.channel_end - c));
}

}  // namespace

void conv1d_avx2(const Conv1dArgs& a) {
  const int64_t past = a.width - 1;
  const float* rows[kTokens + kMaxWidth];
  for (int64_t t0 = 0; t0 < a.tokens; t0 += kTokens) {
    const int64_t tokens = a.tokens - t0 < kTokens ? a.tokens - t0 : kTokens;
    for (int64_t i = 0; i < tokens + past; ++i) {
      const int64_t t = t0 + i - past;
      rows[i] = t < 0 ? a.state + (t + past) * a.channels : a.x + t * a.x_stride;
    }
    float* y = a.y + t0 * a.y_stride;
    if (a.width == 4) {
      convolve_range<4>(a, rows, y, tokens);
    } else {
      convolve_range<0>(a, rows, y, tokens);
    }
  }
  // Oldest first, so that a slot is read before a later one overwrites it.
  for (int64_t j = 0; j < past; ++j) {
    const int64_t t = a.tokens - past + j;
    const float* from = t < 0 ? a.state + (t + past) * a.channels : a.x + t * a.x_stride;
    float* to = a.state + j * a.channels;
    for (int64_t c = a.channel_begin; c < a.channel_end; ++c) to[c] = from[c];
  }
}

}  // namespace klens::cpu
