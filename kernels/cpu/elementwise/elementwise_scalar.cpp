#include <cmath>
#include <numbers>

#include "kernels/cpu/elementwise/elementwise.h"

namespace klens::cpu {

Elementwise exp_scalar, silu_scalar, softplus_scalar, gelu_scalar, relu2_scalar;

namespace {

template <class F>
void each(const ElementwiseArgs& a, F f) {
  for (int64_t t = 0; t < a.tokens; ++t) {
    for (int64_t i = 0; i < a.cols; ++i) {
      const float x = a.x[t * a.x_stride + i];
      const float v = a.bias == nullptr ? x : x + a.bias[i];
      a.y[t * a.y_stride + i] = static_cast<float>(f(double{v}));
    }
  }
}

}  // namespace

void exp_scalar(const ElementwiseArgs& a) {
  each(a, [](double v) { return std::exp(v); });
}

void silu_scalar(const ElementwiseArgs& a) {
  each(a, [](double v) { return v / (1 + std::exp(-v)); });
}

void softplus_scalar(const ElementwiseArgs& a) {
  each(a, [](double v) { return v > 20 ? v : std::log1p(std::exp(v)); });
}

void gelu_scalar(const ElementwiseArgs& a) {
  each(a, [](double v) { return v / 2 * std::erfc(-v / std::numbers::sqrt2); });
}

void relu2_scalar(const ElementwiseArgs& a) {
  each(a, [](double v) { return v <= 0 ? 0.0 : v * v; });
}

}  // namespace klens::cpu
