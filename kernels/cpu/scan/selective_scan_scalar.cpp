#include <cmath>

#include "kernels/cpu/scan/selective_scan.h"

namespace klens::cpu {

SelectiveScan selective_scan_scalar;

// FP64 within a step; the state is FP32 between steps, or cutting the tokens into calls would show.
void selective_scan_scalar(const SelectiveScanArgs& a) {
  for (int64_t t = 0; t < a.tokens; ++t) {
    const float* b = a.b + t * a.bc_stride;
    const float* c = a.c + t * a.bc_stride;
    for (int64_t i = a.channel_begin; i < a.channel_end; ++i) {
      const double x = a.x[t * a.x_stride + i];
      const double dt = a.dt[t * a.dt_stride + i];
      const double z = a.z[t * a.z_stride + i];
      double sum = double{a.d[i]} * x;
      for (int64_t s = 0; s < a.states; ++s) {
        float& h = a.state[s * a.channels + i];
        h = static_cast<float>(std::exp(dt * double{a.a[s * a.channels + i]}) * double{h} +
                               dt * x * double{b[s]});
        sum += double{h} * double{c[s]};
      }
      a.y[t * a.y_stride + i] = static_cast<float>(sum * z / (1 + std::exp(-z)));
    }
  }
}

}  // namespace klens::cpu
