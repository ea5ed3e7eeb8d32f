// For kv_cache_<isa>.cpp only, after vec_<isa>.h. Internal linkage throughout.
#pragma once
#include "kernels/cpu/attention/kv_cache.h"

namespace klens::cpu {
namespace {

inline void store_f32(const float* x, int64_t dim, float* to) {
  over_whole(dim, [=](int64_t i, auto lanes) { store(to + i, lanes, load(x + i, lanes)); });
}

// Any NaN becomes the quiet one of its sign, as on the scalar variant.
inline Vec in_f16_range(Vec x) {
  const Vec clamped = greater(each(-65504.0f), lesser(each(65504.0f), x));
  return where(is_nan(x), with_sign(each(__builtin_nanf("")), x), clamped);
}

inline void store_f16(const float* x, int64_t dim, uint16_t* to) {
  int64_t i = 0;
  for (; i + kLanes <= dim; i += kLanes) store_halves(to + i, in_f16_range(load(x + i)));
  if (i >= dim) return;
  const Tail tail = tail_of(dim - i);
  store_halves(to + i, tail, in_f16_range(load(x + i, tail)));
}

inline float max_magnitude(const float* x, int64_t dim) {
  Vec m = each(0);
  over(dim, [&](int64_t i, auto lanes) { m = greater(m, magnitude(load(x + i, lanes))); });
  return greatest_of(m);
}

// |x * factor| rounds to at most 127.
inline float store_i8(const float* x, int64_t dim, int8_t* to) {
  const float max = max_magnitude(x, dim);
  const bool zero = max < 0x1p-120f;
  const Vec factor = each(zero ? 0.0f : 127.0f / max);
  int64_t i = 0;
  for (; i + kLanes <= dim; i += kLanes) store_bytes(to + i, rounded(times(load(x + i), factor)));
  if (i < dim) {
    const Tail tail = tail_of(dim - i);
    store_bytes(to + i, tail, rounded(times(load(x + i, tail), factor)));
  }
  return zero ? 0.0f : max / 127.0f;
}

inline void store_kv(const StoreKvArgs& a) {
  for (int64_t r = 0; r < a.rows; ++r)
    for (int64_t h = 0; h < a.heads; ++h) {
      const float* x = a.x + r * a.x_stride + h * a.dim;
      const int64_t row = r * a.heads + h, at = row * a.dim;
      switch (a.type) {
        case KvType::kF32:
          store_f32(x, a.dim, static_cast<float*>(a.to) + at);
          break;
        case KvType::kF16:
          store_f16(x, a.dim, static_cast<uint16_t*>(a.to) + at);
          break;
        case KvType::kI8:
          a.scale[row] = store_i8(x, a.dim, static_cast<int8_t*>(a.to) + at);
          break;
      }
    }
}

}  // namespace
}  // namespace klens::cpu
