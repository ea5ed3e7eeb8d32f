#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/cpu/attention/kv_cache.h"
#include "kernels/half.h"

namespace klens::cpu {

StoreKv store_kv_scalar;

namespace {

uint16_t saturated_f16(float x) {
  return f32_to_f16(std::isnan(x) ? x : std::clamp(x, -65504.0f, 65504.0f));
}

float quantize(const float* x, int64_t dim, int8_t* q) {
  float max = 0;
  for (int64_t i = 0; i < dim; ++i) max = std::max(max, std::fabs(x[i]));
  const bool zero = max < 0x1p-120f;
  const float factor = zero ? 0.0f : 127.0f / max;
  // The default rounding mode is to nearest even.
  for (int64_t i = 0; i < dim; ++i)
    q[i] = zero ? int8_t{0} : static_cast<int8_t>(std::nearbyintf(x[i] * factor));
  return zero ? 0.0f : max / 127.0f;
}

}  // namespace

void store_kv_scalar(const StoreKvArgs& a) {
  for (int64_t r = 0; r < a.rows; ++r)
    for (int64_t h = 0; h < a.heads; ++h) {
      const float* x = a.x + r * a.x_stride + h * a.dim;
      const int64_t row = r * a.heads + h, at = row * a.dim;
      switch (a.type) {
        case KvType::kF32:
          std::memcpy(static_cast<float*>(a.to) + at, x, static_cast<size_t>(a.dim) * sizeof *x);
          break;
        case KvType::kF16:
          for (int64_t i = 0; i < a.dim; ++i)
            static_cast<uint16_t*>(a.to)[at + i] = saturated_f16(x[i]);
          break;
        case KvType::kI8:
          a.scale[row] = quantize(x, a.dim, static_cast<int8_t*>(a.to) + at);
          break;
      }
    }
}

}  // namespace klens::cpu
