// Norms, convolution, activations, and what moves or joins rows.
#include "kernels/cpu/elementwise/elementwise.h"

#include <algorithm>
#include <cstring>

#include "engine/cpu/lane.h"
#include "kernels/cpu/conv1d/conv1d.h"
#include "kernels/cpu/conv1d/short_conv.h"
#include "kernels/cpu/elementwise/gated.h"
#include "kernels/cpu/norm/rms_norm.h"

namespace klens {
namespace {

// one(y, x) of each pair of rows' elements, for y's shape.
template <class One>
void each(const CpuLane& lane, const Rows& x, const Rows& y, const One& one) {
  lane.over_rows(y.count(), y.width(), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float* from = floats(x) + t * x.stride();
      float* to = floats(y) + t * y.stride();
      for (int64_t i = 0; i < y.width(); ++i) one(to[i], from[i]);
    }
  });
}

// The same of two.
template <class One>
void each(const CpuLane& lane, const Rows& a, const Rows& b, const Rows& y, const One& one) {
  lane.over_rows(y.count(), y.width(), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float *x1 = floats(a) + t * a.stride(), *x2 = floats(b) + t * b.stride();
      float* to = floats(y) + t * y.stride();
      for (int64_t i = 0; i < y.width(); ++i) to[i] = one(x1[i], x2[i]);
    }
  });
}

}  // namespace

const float* CpuLane::host(const Rows& x) {
  if (x.count() == 1 || x.stride() == x.width()) return floats(x);
  const Rows together = take(x.count(), x.width());
  copy(x, together);
  return floats(together);
}

void CpuLane::write(const float* from, const Rows& to) {
  for (int64_t t = 0; t < to.count(); ++t)
    std::copy_n(from + t * to.width(), to.width(), floats(to) + t * to.stride());
}

void CpuLane::norm(const NormArgs& args) {
  const auto run = cpu::best_variant(cpu::rms_norm_variants(), cpu::active()).run;
  const Rows &x = args.x, &y = args.y;
  const int64_t part = x.width() / args.heads;
  const bool by_head = args.weight.width() > part;
  executor_.ranges(x.count(), x.width() * 2, [&](int64_t begin, int64_t end) {
    const Timed timed = this->timed(Step::kNorm);
    for (int64_t h = 0; h < args.heads; ++h)
      run({.x = floats(x) + begin * x.stride() + h * part,
           .x_stride = x.stride(),
           .y = floats(y) + begin * y.stride() + h * part,
           .y_stride = y.stride(),
           .weight = args.weight.none() ? nullptr : floats(args.weight) + (by_head ? h * part : 0),
           .tokens = end - begin,
           .cols = part,
           .epsilon = args.eps});
  });
}

// Row by row: a row is normed while it is in L1.
void CpuLane::gated_norm(const GatedNormArgs& args) {
  using Order = GatedNormArgs::Order;
  const int64_t width = args.y.width(), group = width / args.groups;
  const auto gates = args.sigmoid ? cpu::gated_sigmoid_variants() : cpu::gated_silu_variants();
  const auto gated = cpu::best_variant(gates, cpu::active()).run;
  const auto norm = cpu::best_variant(cpu::rms_norm_variants(), cpu::active()).run;
  const auto gate_row = [&](int64_t t) {
    float* row = floats(args.y) + t * args.y.stride();
    gated({.gate = floats(args.gate) + t * args.gate.stride(),
           .gate_stride = args.gate.stride(),
           .gate_scale = 1,
           .up = row,
           .up_stride = width,
           .y = row,
           .y_stride = width,
           .tokens = 1,
           .cols = width});
  };
  const auto norm_row = [&](int64_t t) {
    float* row = floats(args.y) + t * args.y.stride();
    for (int64_t at = 0; at < width; at += group)
      norm({.x = row + at,
            .x_stride = width,
            .y = row + at,
            .y_stride = width,
            .weight = args.weight.none() ? nullptr : floats(args.weight) + at,
            .tokens = 1,
            .cols = group,
            .epsilon = args.eps});
  };
  executor_.ranges(args.y.count(), width * 8, [&](int64_t begin, int64_t end) {
    const Timed timed = this->timed(Step::kNorm);
    for (int64_t t = begin; t < end; ++t) {
      if (args.order != Order::kNormThenGate) gate_row(t);
      if (args.order != Order::kGate) norm_row(t);
      if (args.order == Order::kNormThenGate) gate_row(t);
    }
  });
}

void CpuLane::activate(const ActivateArgs& args) {
  const Rows &x = args.projected, &y = args.y;
  const auto plain = [&](std::span<const cpu::Variant<cpu::Elementwise>> variants) {
    const auto run = cpu::best_variant(variants, cpu::active()).run;
    executor_.ranges(y.count(), y.width() * 8, [&](int64_t begin, int64_t end) {
      const Timed timed = this->timed(Step::kElementwise);
      run({.x = floats(x) + begin * x.stride(),
           .x_stride = x.stride(),
           .y = floats(y) + begin * y.stride(),
           .y_stride = y.stride(),
           .bias = nullptr,
           .tokens = end - begin,
           .cols = y.width()});
    });
  };
  const auto gated = [&](std::span<const cpu::Variant<cpu::Gated>> variants) {
    const auto run = cpu::best_variant(variants, cpu::active()).run;
    executor_.ranges(y.count(), y.width() * 8, [&](int64_t begin, int64_t end) {
      const Timed timed = this->timed(Step::kElementwise);
      const float* gate = floats(x) + begin * x.stride();
      run({.gate = gate,
           .gate_stride = x.stride(),
           .gate_scale = args.gate_scale,
           .up = gate + y.width(),
           .up_stride = x.stride(),
           .y = floats(y) + begin * y.stride(),
           .y_stride = y.stride(),
           .tokens = end - begin,
           .cols = y.width()});
    });
  };
  switch (args.activation) {
    case Activation::kSilu:
      return args.gated ? gated(cpu::gated_silu_variants()) : plain(cpu::silu_variants());
    case Activation::kGelu:
      return args.gated ? gated(cpu::gated_gelu_variants()) : plain(cpu::gelu_variants());
    case Activation::kRelu2:
      return plain(cpu::relu2_variants());
  }
}

void CpuLane::conv1d(const Conv1dArgs& args, const Batch& batch) {
  const Frame frame(*this);
  const std::vector<float*> states = slots(args.slot, batch);
  const auto conv = cpu::best_variant(cpu::conv1d_variants(), cpu::active()).run;
  const int64_t channels = args.x.width(), width = args.weight.count();
  const int64_t strips = (channels + kStrip - 1) / kStrip;
  over_sequences(batch, strips, kStrip * width * 4, [&](int64_t s, int64_t begin, int64_t end) {
    const Timed timed = this->timed(Step::kConv);
    const Sequence& sequence = batch.sequences[static_cast<size_t>(s)];
    conv({.x = floats(args.x) + sequence.row * args.x.stride(),
          .x_stride = args.x.stride(),
          .y = floats(args.y) + sequence.row * args.y.stride(),
          .y_stride = args.y.stride(),
          .w = floats(args.weight),
          .bias = or_null(args.bias),
          .state = states[static_cast<size_t>(s)],
          .tokens = sequence.tokens,
          .channels = channels,
          .width = width,
          .channel_begin = begin * kStrip,
          .channel_end = std::min(channels, end * kStrip)});
  });
}

void CpuLane::short_conv(const ShortConvArgs& args, const Batch& batch) {
  const Frame frame(*this);
  const std::vector<float*> states = slots(args.slot, batch);
  const auto conv = cpu::best_variant(cpu::short_conv_variants(), cpu::active()).run;
  const int64_t channels = args.x.width(), width = args.weight.count();
  const int64_t strips = (channels + kStrip - 1) / kStrip;
  over_sequences(batch, strips, kStrip * width * 2, [&](int64_t s, int64_t begin, int64_t end) {
    const Timed timed = this->timed(Step::kConv);
    const Sequence& sequence = batch.sequences[static_cast<size_t>(s)];
    const int64_t first = sequence.row * args.x.stride();
    conv({.before = floats(args.before) + first,
          .after = floats(args.after) + first,
          .x = floats(args.x) + first,
          .x_stride = args.x.stride(),
          .y = floats(args.y) + sequence.row * args.y.stride(),
          .y_stride = args.y.stride(),
          .w = floats(args.weight),
          .bias = or_null(args.bias),
          .state = states[static_cast<size_t>(s)],
          .tokens = sequence.tokens,
          .channels = channels,
          .width = width,
          .channel_begin = begin * kStrip,
          .channel_end = std::min(channels, end * kStrip)});
  });
}

uint64_t CpuLane::slot_of(const SequenceState& state, size_t slot) {
  if (const uint64_t kept = state.slot(slot)) return kept;
  const int64_t bytes = device_.state_bytes(state.layout->slot(slot));
  const uint64_t zeros = take_bytes(bytes);
  std::memset(pointer<void>(zeros), 0, static_cast<size_t>(bytes));
  return zeros;
}

void CpuLane::zero(const Rows& x) {
  for (int64_t t = 0; t < x.count(); ++t) std::fill_n(floats(x) + t * x.stride(), x.width(), 0.0f);
}

void CpuLane::copy(const Rows& from, const Rows& to) {
  over_rows(to.count(), to.width(), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      std::copy_n(floats(from) + t * from.stride(), to.width(), floats(to) + t * to.stride());
  });
}

void CpuLane::scale(const Rows& x, float by, const Rows& y) {
  each(*this, x, y, [by](float& to, float from) { to = from * by; });
}

void CpuLane::scale_columns(const Rows& x, const Rows& by) {
  over_rows(x.count(), x.width(), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t i = 0; i < x.width(); ++i) floats(x)[t * x.stride() + i] *= floats(by)[i];
  });
}

void CpuLane::add(const Rows& a, const Rows& b, const Rows& y) {
  each(*this, a, b, y, [](float x1, float x2) { return x1 + x2; });
}

void CpuLane::mean(const Rows& a, const Rows& b, const Rows& y) {
  each(*this, a, b, y, [](float x1, float x2) { return 0.5f * (x1 + x2); });
}

void CpuLane::add_scaled(const Rows& from, float by, const Rows& to) {
  if (by == 1)
    each(*this, from, to, [](float& sum, float x) { sum += x; });
  else
    each(*this, from, to, [by](float& sum, float x) { sum += by * x; });
}

void CpuLane::deinterleave(const Rows& from, int64_t groups, std::span<const Rows> to) {
  over_rows(from.count(), from.width(), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float* x = floats(from) + t * from.stride();
      for (int64_t g = 0; g < groups; ++g)
        for (const Rows& part : to) {
          const int64_t width = part.width() / groups;
          float* y = floats(part) + t * part.stride() + g * width;
          for (int64_t i = 0; i < width; ++i) y[i] = x[i];
          x += width;
        }
    }
  });
}

void CpuLane::gather(const Rows& from, std::span<const int64_t> rows, const Rows& to) {
  over_rows(to.count(), to.width(), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      std::copy_n(floats(from) + rows[static_cast<size_t>(i)] * from.stride(), to.width(),
                  floats(to) + i * to.stride());
  });
}

void CpuLane::scatter_add(const Rows& from, std::span<const int64_t> rows,
                          std::span<const float> by, const Rows& to) {
  over_rows(from.count(), from.width(), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* x = floats(from) + i * from.stride();
      float* y = floats(to) + rows[static_cast<size_t>(i)] * to.stride();
      for (int64_t c = 0; c < from.width(); ++c) y[c] += by[static_cast<size_t>(i)] * x[c];
    }
  });
}

}  // namespace klens
