// Built with -mavx512f -mavx512bw -mavx512dq -mavx512vl and AVX2's flags. See kernels/README.md for
// the one rule of such files.
#include "kernels/cpu/avx512_math.h"
#include "kernels/cpu/conv1d/conv1d.h"

namespace klens::cpu {

Conv1d conv1d_avx512;

namespace {

constexpr int64_t kMaxWidth = 16;
constexpr int64_t kTokens = 8;  // per pass over the channels, so that a weight is loaded once for 8

// y of tokens [0, tokens) and 16 channels; rows[i] is the input row of time i - (width - 1).
// Width is the compile-time width, or 0 for any.
template <int Width>
inline void convolve(const Conv1dArgs& a, const float* const* rows, float* y, int64_t tokens,
                     int64_t c, __mmask16 mask) {
  const int64_t width = Width != 0 ? Width : a.width;
  __m512 w[Width != 0 ? Width : kMaxWidth];
  for (int64_t j = 0; j < width; ++j) w[j] = load16(a.w + j * a.channels + c, mask);
  const __m512 bias = a.bias == nullptr ? _mm512_setzero_ps() : load16(a.bias + c, mask);
  for (int64_t t = 0; t < tokens; ++t) {
    __m512 v = bias;
    for (int64_t j = 0; j < width; ++j) v = _mm512_fmadd_ps(w[j], load16(rows[t + j] + c, mask), v);
    store16(y + t * a.y_stride + c, mask, silu16(v));
  }
}

}  // namespace

void conv1d_avx512(const Conv1dArgs& a) {
  const int64_t past = a.width - 1;
  const float* rows[kTokens + kMaxWidth];
  for (int64_t t0 = 0; t0 < a.tokens; t0 += kTokens) {
    const int64_t tokens = a.tokens - t0 < kTokens ? a.tokens - t0 : kTokens;
    for (int64_t i = 0; i < tokens + past; ++i) {
      const int64_t t = t0 + i - past;
      rows[i] = t < 0 ? a.state + (t + past) * a.channels : a.x + t * a.x_stride;
    }
    float* y = a.y + t0 * a.y_stride;
    for (int64_t c = a.channel_begin; c < a.channel_end; c += 16) {
      const __mmask16 mask = first_lanes16(a.channel_end - c);
      if (a.width == 4) {
        convolve<4>(a, rows, y, tokens, c, mask);
      } else {
        convolve<0>(a, rows, y, tokens, c, mask);
      }
    }
  }
  // Oldest first, so that a slot is read before a later one overwrites it.
  for (int64_t j = 0; j < past; ++j) {
    const int64_t t = a.tokens - past + j;
    const float* from = t < 0 ? a.state + (t + past) * a.channels : a.x + t * a.x_stride;
    float* to = a.state + j * a.channels;
    for (int64_t c = a.channel_begin; c < a.channel_end; c += 16) {
      const __mmask16 mask = first_lanes16(a.channel_end - c);
      store16(to + c, mask, load16(from + c, mask));
    }
  }
}

}  // namespace klens::cpu
