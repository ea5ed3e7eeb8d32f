#include <cmath>

#include "kernels/cpu/norm/rms_norm.h"

namespace klens::cpu {

RmsNorm rms_norm_scalar;

void rms_norm_scalar(const RmsNormArgs& a) {
  for (int64_t t = 0; t < a.tokens; ++t) {
    const float* x = a.x + t * a.x_stride;
    float* y = a.y + t * a.y_stride;
    double squares = 0;
    for (int64_t i = 0; i < a.cols; ++i) squares += double{x[i]} * double{x[i]};
    const double factor = 1 / std::sqrt(squares / static_cast<double>(a.cols) + double{a.epsilon});
    for (int64_t i = 0; i < a.cols; ++i) {
      const double weight = a.weight == nullptr ? 1.0 : double{a.weight[i]};
      y[i] = static_cast<float>(double{x[i]} * factor * weight);
    }
  }
}

}  // namespace klens::cpu
