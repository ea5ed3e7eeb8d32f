#include "kernels/cpu/rope/rope.h"

namespace klens::cpu {

Rope rope_scalar;

void rope_scalar(const RopeArgs& a) {
  for (int64_t t = 0; t < a.tokens; ++t)
    for (int64_t h = 0; h < a.heads; ++h) {
      float* x = a.x + t * a.x_stride + h * a.dim;
      for (int64_t i = 0; i < a.pairs; ++i) {
        const double c = a.cos[t * a.pairs + i], s = a.sin[t * a.pairs + i];
        const double low = x[i], high = x[i + a.pairs];
        x[i] = static_cast<float>(low * c - high * s);
        x[i + a.pairs] = static_cast<float>(high * c + low * s);
      }
    }
}

}  // namespace klens::cpu
