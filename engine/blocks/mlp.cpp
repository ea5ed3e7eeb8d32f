#include "engine/blocks/mlp.h"

#include "kernels/cpu/elementwise/elementwise.h"
#include "kernels/cpu/elementwise/gated.h"

namespace klens {

Mlp::Mlp(const MlpSpec& spec, const MixerContext& context)
    : spec_(spec),
      d_in_(context.checkpoint.spec.units[spec.in[0].unit].cols),
      in_(spec.in, context.checkpoint),
      down_(spec.down, context.checkpoint) {}

const float* Mlp::run(const float* x, Flow& flow, const Pass& pass) const {
  return run(x, pass.batch.rows, flow, pass);
}

const float* Mlp::run(const float* x, int64_t count, Flow& flow, const Pass& pass) const {
  in_.reach(flow);
  float* hidden = flow.take(count * spec_.d_inner);
  if (flow.due()) {
    const Scratch::Frame frame(pass.scratch);
    float* projected = pass.scratch.take<float>(count * in_.rows());
    LinearInput input(x, d_in_, count, d_in_);
    in_.apply(input, projected, pass);
    activate(projected, count, hidden, pass);
  }
  return down_.stage(hidden, count, spec_.output_scale, flow, pass);
}

void Mlp::activate(const float* projected, int64_t count, float* y, const Pass& pass) const {
  const int64_t inner = spec_.d_inner, width = in_.rows();
  const auto plain = [&](std::span<const cpu::Variant<cpu::Elementwise>> rows) {
    const auto run = cpu::best_variant(rows, cpu::active()).run;
    pass.executor.ranges(count, inner * 8, [&](int64_t begin, int64_t end) {
      const Timed timed(pass.executor.clock(), Step::kElementwise);
      run({.x = projected + begin * width,
           .x_stride = width,
           .y = y + begin * inner,
           .y_stride = inner,
           .bias = nullptr,
           .tokens = end - begin,
           .cols = inner});
    });
  };
  const auto gated = [&](std::span<const cpu::Variant<cpu::Gated>> rows) {
    const auto run = cpu::best_variant(rows, cpu::active()).run;
    pass.executor.ranges(count, inner * 8, [&](int64_t begin, int64_t end) {
      const Timed timed(pass.executor.clock(), Step::kElementwise);
      const float* gate = projected + begin * width;
      run({.gate = gate,
           .gate_stride = width,
           .gate_scale = spec_.gate_scale,
           .up = gate + inner,
           .up_stride = width,
           .y = y + begin * inner,
           .y_stride = inner,
           .tokens = end - begin,
           .cols = inner});
    });
  };
  switch (spec_.activation) {
    case Activation::kSilu:
      return spec_.gated ? gated(cpu::gated_silu_variants()) : plain(cpu::silu_variants());
    case Activation::kGelu:
      return spec_.gated ? gated(cpu::gated_gelu_variants()) : plain(cpu::gelu_variants());
    case Activation::kRelu2:
      return plain(cpu::relu2_variants());
  }
}

}  // namespace klens
