#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/cpu/scan/ssd_scan.h"
#include "kernels/half.h"

namespace klens::cpu {

SsdScan ssd_scan_scalar;

static int64_t group_of(const SsdScanArgs& a, int64_t h) { return h / (a.heads / a.groups); }

static float state_at(const SsdScanArgs& a, int64_t at) {
  if (a.half_state == nullptr) return a.state[at];
  uint16_t half = 0;
  std::memcpy(&half, a.half_state + at, sizeof half);
  return f16_to_f32(half);
}

static void set_state(const SsdScanArgs& a, int64_t at, double value) {
  const float state = static_cast<float>(value);
  if (a.half_state == nullptr) {
    a.state[at] = state;
    return;
  }
  const uint16_t half = f32_to_f16(std::clamp(state, -65504.0f, 65504.0f));
  std::memcpy(a.half_state + at, &half, sizeof half);
}

// B of pending token j of head h.
static double pending_b(const SsdScanArgs& a, int64_t h, int64_t j, int64_t n) {
  return a.pending.b[(group_of(a, h) * a.states + n) * kSsdPending + j];
}

// FP64 within a step; the state is FP32 between steps, or cutting the tokens into calls would show.
static void recur(const SsdScanArgs& a, int64_t t, int64_t h) {
  const float* b = a.b + t * a.bc_stride + group_of(a, h) * a.states;
  const float* c = a.c + t * a.bc_stride + group_of(a, h) * a.states;
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

// The head's state takes up what is pending.
static void settle(const SsdScanArgs& a, int64_t h) {
  float* weight = a.pending.weight + h * kSsdPending;
  const double decay = std::exp(double{a.pending.log[h]});
  for (int64_t n = 0; n < a.states; ++n)
    for (int64_t p = 0; p < a.head_dim; ++p) {
      const int64_t at = (h * a.states + n) * a.head_dim + p;
      double sum = decay * double{state_at(a, at)};
      for (int64_t j = 0; j < kSsdPending; ++j)
        sum += double{weight[j]} * pending_b(a, h, j, n) *
               double{a.pending.x[(h * kSsdPending + j) * a.head_dim + p]};
      set_state(a, at, sum);
    }
  for (int64_t j = 0; j < kSsdPending; ++j) weight[j] = 0;
  a.pending.log[h] = 0;
}

// The only token of a call joins those that are pending.
static void keep(const SsdScanArgs& a, int64_t h) {
  const int64_t slot = a.position % kSsdPending;
  float* weight = a.pending.weight + h * kSsdPending;
  const double decay = std::exp(double{a.dt[h]} * double{a.a[h]});
  for (int64_t j = 0; j < kSsdPending; ++j)
    weight[j] = j == slot ? 1.0f : static_cast<float>(decay * double{weight[j]});
  a.pending.log[h] += a.dt[h] * a.a[h];
  for (int64_t p = 0; p < a.head_dim; ++p)
    a.pending.x[(h * kSsdPending + slot) * a.head_dim + p] = a.dt[h] * a.x[h * a.head_dim + p];
}

static void scan_alone(const SsdScanArgs& a, int64_t h) {
  const float *weight = a.pending.weight + h * kSsdPending, *c = a.c + group_of(a, h) * a.states;
  double mix[kSsdPending] = {};
  for (int64_t j = 0; j < kSsdPending; ++j)
    for (int64_t n = 0; n < a.states; ++n)
      mix[j] += double{weight[j]} * double{c[n]} * pending_b(a, h, j, n);
  const double decay = std::exp(double{a.pending.log[h]});
  for (int64_t p = 0; p < a.head_dim; ++p) {
    double sum = double{a.d[h]} * double{a.x[h * a.head_dim + p]};
    for (int64_t n = 0; n < a.states; ++n)
      sum += decay * double{c[n]} * double{state_at(a, (h * a.states + n) * a.head_dim + p)};
    for (int64_t j = 0; j < kSsdPending; ++j)
      sum += mix[j] * double{a.pending.x[(h * kSsdPending + j) * a.head_dim + p]};
    a.y[h * a.head_dim + p] = static_cast<float>(sum);
  }
}

// A call of no tokens or of several, with an FP32 state.
static void scan_full(const SsdScanArgs& a) {
  for (int64_t h = a.head_begin; h < a.head_end; ++h) {
    settle(a, h);
    for (int64_t t = 0; t < a.tokens; ++t) recur(a, t, h);
  }
}

// The same with an FP16 state, from one rounding of it to the next.
static void scan_widened(const SsdScanArgs& a) {
  const int64_t size = a.states * a.head_dim, begin = a.head_begin * size, end = a.head_end * size;
  SsdScanArgs full = a;
  full.state = a.work;
  full.half_state = nullptr;
  int64_t t = 0;
  do {
    const int64_t tokens = std::min(kSsdBlock - (a.position + t) % kSsdBlock, a.tokens - t);
    for (int64_t i = begin; i < end; ++i) full.state[i] = state_at(a, i);
    scan_full(ssd_part(full, t, tokens));
    for (int64_t i = begin; i < end; ++i) set_state(a, i, full.state[i]);
    t += tokens;
  } while (t < a.tokens);
}

void ssd_scan_scalar(const SsdScanArgs& a) {
  if (a.tokens != 1) return a.half_state == nullptr ? scan_full(a) : scan_widened(a);
  for (int64_t h = a.head_begin; h < a.head_end; ++h) {
    keep(a, h);
    scan_alone(a, h);
    if ((a.position + h) % kSsdPending == kSsdPending - 1) settle(a, h);
  }
}

}  // namespace klens::cpu
