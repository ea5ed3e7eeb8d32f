// For quantize_activations_<isa>.cpp only, after vec_<isa>.h. Internal linkage throughout.
#pragma once
#include "kernels/cpu/activations/quantize_activations.h"

namespace klens::cpu {
namespace {

inline Vec larger(Vec m, Vec x) { return greater(m, magnitude(x)); }

inline float max_magnitude(const float* x, int64_t cols) {
  constexpr int64_t kRun = kLanes == 16 ? 2 : 1;  // vectors of a chain before the other's turn
  Vec m0 = each(0), m1 = m0;
  int64_t i = 0;
  for (; i + 2 * kRun * kLanes <= cols; i += 2 * kRun * kLanes)
    for (int64_t j = 0; j < kRun; ++j) {
      m0 = larger(m0, load(x + i + kLanes * j));
      m1 = larger(m1, load(x + i + kLanes * (kRun + j)));
    }
  for (; i < cols; i += kLanes) m0 = larger(m0, load_left(x + i, cols - i));
  return greatest_of(greater(m0, m1));
}

// Stores 32 q and adds the first sixteen to one sum, the others to the other; load_at(j) is the
// j-th vector of x.
template <class Load>
inline void quantize_32(const Load& load_at, Vec factor, int8_t* q, Ints (&sums)[2]) {
  Ints r[32 / kLanes];
  for (int j = 0; j < 32 / kLanes; ++j) {
    r[j] = rounded(times(load_at(kLanes * j), factor));
    sums[j * kLanes / 16] = add(sums[j * kLanes / 16], r[j]);
  }
  store_32_bytes(q, r);
}

// q of one group, written up to a multiple of 32, and their sums. |x * factor| rounds to at most
// 127 because factor is 127 / max rounded, so no clamp is needed.
inline void quantize_group(const float* x, int64_t cols, float factor, int8_t* q, Ints (&sums)[2]) {
  const Vec f = each(factor);
  sums[0] = sums[1] = no_ints();
  int64_t i = 0;
  for (; i + 32 <= cols; i += 32)
    quantize_32([=](int64_t j) { return load(x + i + j); }, f, q + i, sums);
  if (i < cols) {
    const auto load_at = [=](int64_t j) {
      const int64_t left = cols - i - j;
      return left > 0 ? load_left(x + i + j, left) : each(0);
    };
    quantize_32(load_at, f, q + i, sums);
  }
}

// A token's maxima come before its rounding: either by itself is short enough for a core to work on
// many groups at once, and the row is in L1 the second time.
template <bool Halves>
inline void quantize_tokens(const QuantizeActivationsArgs& a) {
  const int64_t groups = (a.cols + a.group - 1) / a.group, steps = (a.cols + a.step - 1) / a.step;
  constexpr int64_t kApart = Halves ? 2 : 1;  // numbers of neighbouring groups
  for (int64_t t = 0; t < a.tokens; ++t) {
    const float* x = a.x + t * a.x_stride;
    float* scale = a.scale + t * steps;
    int32_t* sum = a.sum + t * steps;
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t begin = g * a.group, left = a.cols - begin;
      scale[g * kApart] = max_magnitude(x + begin, left < a.group ? left : a.group);
    }
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t begin = g * a.group, left = a.cols - begin, i = g * kApart;
      const float max = scale[i];
      const bool zero = max < kQuantizeActivationsFloor;
      scale[i] = zero ? 0.0f : max / 127.0f;
      Ints sums[2];
      quantize_group(x + begin, left < a.group ? left : a.group, zero ? 0.0f : 127.0f / max,
                     a.q + t * a.q_stride + begin, sums);
      if constexpr (!Halves) {
        sum[i] = sum_of(add(sums[0], sums[1]));
        continue;
      }
      sum[i] = sum_of(sums[0]);
      if (left <= 16) continue;
      scale[i + 1] = scale[i];
      sum[i + 1] = sum_of(sums[1]);
    }
  }
}

inline void quantize(const QuantizeActivationsArgs& a) {
  if (a.step == a.group) return quantize_tokens<false>(a);
  quantize_tokens<true>(a);
}

}  // namespace
}  // namespace klens::cpu
