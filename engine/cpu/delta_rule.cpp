// The gated delta rule, and its state in FP32.
#include "kernels/cpu/scan/delta_rule.h"

#include <cmath>

#include "engine/cpu/lane.h"
#include "kernels/cpu/elementwise/elementwise.h"

namespace klens {
namespace {

static_assert(kSequenceBlock == cpu::kDeltaChunk);

// What every token needs of decay and beta: [rows][width of decay], [rows][heads].
struct Steps {
  float *log_decay, *beta;
};

Steps steps(const DeltaRuleArgs& args, CpuLane& lane) {
  const auto softplus = cpu::best_variant(cpu::softplus_variants(), cpu::active()).run;
  const int64_t width = args.decay.width(), heads = args.beta.width(), each = width / heads;
  const Steps made{.log_decay = lane.take_array<float>(args.decay.count() * width),
                   .beta = lane.take_array<float>(args.beta.count() * heads)};
  lane.executor().ranges(args.decay.count(), width * 16, [&](int64_t begin, int64_t end) {
    const Timed timed = lane.timed(Step::kElementwise);
    softplus({.x = floats(args.decay) + begin * args.decay.stride(),
              .x_stride = args.decay.stride(),
              .y = made.log_decay + begin * width,
              .y_stride = width,
              .bias = floats(args.decay_bias),
              .tokens = end - begin,
              .cols = width});
    for (int64_t t = begin; t < end; ++t) {
      const float* from = floats(args.beta) + t * args.beta.stride();
      for (int64_t i = 0; i < width; ++i)
        made.log_decay[t * width + i] *= floats(args.rate)[i / each];
      for (int64_t h = 0; h < heads; ++h)
        made.beta[t * heads + h] = args.beta_scale / (1 + std::exp(-from[h]));
    }
  });
  return made;
}

// Of all heads, without working memory.
cpu::DeltaRuleArgs scan_args(const DeltaRuleArgs& args, const StateSlot& slot,
                             const Sequence& sequence, const Steps& made, float* state) {
  const auto row = [&](const Rows& x) { return floats(x) + sequence.row * x.stride(); };
  const int64_t width = args.decay.width();
  return {.q = row(args.q),
          .k = row(args.k),
          .v = row(args.v),
          .qkv_stride = args.q.stride(),
          .log_decay = made.log_decay + sequence.row * width,
          .decay_stride = width,
          .by_channel = width > slot.heads,
          .beta = made.beta + sequence.row * slot.heads,
          .beta_stride = slot.heads,
          .state = state,
          .position = sequence.position,
          .y = row(args.y),
          .y_stride = args.y.stride(),
          .tokens = sequence.tokens,
          .heads = slot.heads,
          .key_heads = slot.groups,
          .k_dim = slot.states,
          .v_dim = slot.channels / slot.heads,
          .tiled = args.tiled,
          .head_begin = 0,
          .head_end = slot.heads,
          .work = nullptr,
          .rounded = args.rounded};
}

}  // namespace

void CpuLane::delta_rule(const DeltaRuleArgs& args, const Batch& batch) {
  if (batch.sequences.empty()) return;
  const Frame frame(*this);
  const StateSlot& slot = batch.sequences.front().state->layout->slot(args.slot);
  const Steps made = steps(args, *this);
  const std::vector<float*> states = slots(args.slot, batch);
  const auto run = cpu::best_variant(cpu::delta_rule_variants(), cpu::active()).run;
  const int64_t work = slot.channels / slot.heads * slot.states * 8;
  over_sequences(batch, slot.heads, work, [&](int64_t s, int64_t begin, int64_t end) {
    const Timed timed = this->timed(Step::kScan);
    const auto at = static_cast<size_t>(s);
    cpu::DeltaRuleArgs call = scan_args(args, slot, batch.sequences[at], made, states[at]);
    call.head_begin = begin;
    call.head_end = end;
    call.work = thread_work(cpu::delta_rule_work(call));
    run(call);
  });
}

}  // namespace klens
