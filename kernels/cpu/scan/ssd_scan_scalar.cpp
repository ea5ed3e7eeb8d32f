#include <cmath>

#include "kernels/cpu/scan/ssd_scan.h"

namespace klens::cpu {

SsdScan ssd_scan_scalar;

// FP64 within a step; the state is FP32 between steps, or cutting the tokens into calls would show.
void ssd_scan_scalar(const SsdScanArgs& a) {
  for (int64_t t = 0; t < a.tokens; ++t)
    for (int64_t h = a.head_begin; h < a.head_end; ++h) {
      const int64_t group = h / (a.heads / a.groups);
      const float* b = a.b + t * a.bc_stride + group * a.states;
      const float* c = a.c + t * a.bc_stride + group * a.states;
      const float* x = a.x + t * a.x_stride + h * a.head_dim;
      const double dt = a.dt[t * a.dt_stride + h];
      const double decay = std::exp(dt * double{a.a[h]});
      for (int64_t p = 0; p < a.head_dim; ++p) {
        double sum = double{a.d[h]} * double{x[p]};
        for (int64_t n = 0; n < a.states; ++n) {
          float& state = a.state[(h * a.states + n) * a.head_dim + p];
          state = static_cast<float>(decay * double{state} + dt * double{b[n]} * double{x[p]});
          sum += double{c[n]} * double{state};
        }
        a.y[t * a.y_stride + h * a.head_dim + p] = static_cast<float>(sum);
      }
    }
}

}  // namespace klens::cpu
