#include <cmath>
#include <numbers>

#include "kernels/cpu/elementwise/gated.h"

namespace klens::cpu {

Gated gated_silu_scalar, gated_gelu_scalar, gated_sigmoid_scalar;

namespace {

template <class F>
void each(const GatedArgs& a, F f) {
  for (int64_t t = 0; t < a.tokens; ++t)
    for (int64_t i = 0; i < a.cols; ++i) {
      const float v = a.gate_scale * a.gate[t * a.gate_stride + i];
      const double up = a.up[t * a.up_stride + i];
      a.y[t * a.y_stride + i] = static_cast<float>(f(double{v}) * up);
    }
}

}  // namespace

void gated_silu_scalar(const GatedArgs& a) {
  each(a, [](double v) { return v / (1 + std::exp(-v)); });
}

void gated_sigmoid_scalar(const GatedArgs& a) {
  each(a, [](double v) { return 1 / (1 + std::exp(-v)); });
}

void gated_gelu_scalar(const GatedArgs& a) {
  each(a, [](double v) { return v / 2 * std::erfc(-v / std::numbers::sqrt2); });
}

}  // namespace klens::cpu
