// What state space models carry: convolution and scans. States are FP32, whatever the slot asks
// for: nothing is lost in rounding, and nothing can leave what FP16 holds.
#include <cmath>

#include "engine/opencl/lane.h"
#include "engine/opencl/opencl_device.h"

namespace klens {
namespace {

// Of scan.cl's work-groups: channels, slices of a channel's states, states that a slice holds.
constexpr int64_t kChannels = 16, kWideChannels = 32, kScanSlices = 8, kHeld = 16;

WorkItems over_channels(int64_t channels, int64_t heads = 1, int64_t each = kChannels) {
  const auto all = static_cast<size_t>((channels + each - 1) / each * each);
  return {{all, kScanSlices, static_cast<size_t>(heads)},
          {static_cast<size_t>(each), kScanSlices, 1}};
}

// Of a batch of one sequence that keeps its states, what is made is put off.
bool alone(const Batch& batch, size_t slot) {
  return batch.sequences.size() == 1 && batch.sequences.front().state->slot(slot) != 0;
}

}  // namespace

int64_t OpenClDevice::state_bytes(const StateSlot& slot) const {
  const int64_t size = slot.kind == StateSlot::Kind::kConv1d ? (slot.width - 1) * slot.channels
                                                             : slot.states * slot.channels;
  return size * static_cast<int64_t>(sizeof(float));
}

void OpenClLane::conv1d(const Conv1dArgs& a, const Batch& batch) {
  const Frame frame(*this);
  const int64_t channels = a.x.width(), taps = a.weight.count();
  for (const Sequence& s : batch.sequences) {
    const At state = slot_of(s, a.slot);
    const Rows x = a.x.rows(s.row, s.tokens), y = a.y.rows(s.row, s.tokens);
    const auto run = [=, this, weight = At(a.weight), bias = At(a.bias),
                      tokens = s.tokens](const LinearInput::Rounded* to) {
      launch(Step::kConv, {"scan", "", "conv1d"}, over_columns(channels, tokens),
             {x, weight, bias, state, y, taps, channels, to});
      if (tokens > 1)
        launch(Step::kConv, {"scan", "", "conv1d_state"}, over_columns(channels, 1),
               {x, tokens, state, taps, channels});
    };
    put_off({.made = y, .columns = kColumnItems, .reads = {x}, .launch = run},
            alone(batch, a.slot));
  }
}

void OpenClLane::short_conv(const ShortConvArgs& a, const Batch& batch) {
  const Frame frame(*this);
  const int64_t channels = a.x.width(), taps = a.weight.count();
  for (const Sequence& s : batch.sequences) {
    const auto own = [&](const Rows& x) { return x.rows(s.row, s.tokens); };
    const At state = slot_of(s, a.slot);
    const Rows before = own(a.before), after = own(a.after), x = own(a.x), y = own(a.y);
    const auto run = [=, this, weight = At(a.weight), bias = At(a.bias),
                      tokens = s.tokens](const LinearInput::Rounded* to) {
      launch(Step::kConv, {"scan", "", "short_conv"}, over_columns(channels, tokens),
             {before, after, x, weight, bias, state, y, taps, channels, to});
      if (tokens > 1)
        launch(Step::kConv, {"scan", "", "short_conv_state"}, over_columns(channels, 1),
               {before, x, tokens, state, taps, channels});
    };
    put_off({.made = y, .columns = kColumnItems, .reads = {before, after, x}, .launch = run},
            alone(batch, a.slot));
  }
}

void OpenClLane::selective_scan(const SelectiveScanArgs& a, const Batch& batch) {
  const Frame frame(*this);
  const int64_t channels = a.x.width(), states = a.a.count(), inner = a.a.stride();
  const Rows dt = take(a.x.count(), channels);
  LinearInput input(a.dt);
  linear(a.dt_proj, input, {}, dt);
  for (const Sequence& s : batch.sequences) {
    const auto own = [&](const Rows& x) { return x.rows(s.row, s.tokens); };
    const At state(slot_of(s, a.slot).address + static_cast<uint64_t>(a.first) * sizeof(float));
    const Rows x = own(a.x), z = own(a.z), step = own(dt), b = own(a.b), c = own(a.c), y = own(a.y);
    const auto run = [=, this, bias = At(a.dt_bias), rates = At(a.a), skip = At(a.d),
                      tokens = s.tokens](const LinearInput::Rounded* to) {
      launch(Step::kScan, {"scan", "", "selective_scan"}, over_channels(channels, 1, kWideChannels),
             {x, step, bias, z, b, c, rates, skip, state, y, tokens, inner, states, channels, to});
    };
    put_off({.made = y, .columns = kWideChannels, .reads = {x, step, z, b, c}, .launch = run},
            alone(batch, a.slot));
  }
}

void OpenClLane::ssd_scan(const SsdScanArgs& a, const Batch& batch) {
  if (batch.sequences.empty()) return;
  const Frame frame(*this);
  const StateSlot& slot = batch.sequences.front().state->layout->slot(a.slot);
  for (const Sequence& s : batch.sequences) {
    const At state = slot_of(s, a.slot);
    for (const Stretch& part : stretches(s, true))
      if (part.chunks)
        ssd_chunks(a, slot, state, part);
      else
        ssd_tokens(a, slot, state, part);
  }
}

void OpenClLane::ssd_tokens(const SsdScanArgs& a, const StateSlot& slot, At state,
                            const Stretch& part) {
  const auto own = [&](const Rows& x) { return x.rows(part.row, part.tokens); };
  launch(Step::kScan, {"scan", "", "ssd_scan"}, over_channels(slot.channels),
         {own(a.x), own(a.dt), At(a.dt_bias), a.dt_min, a.dt_max, own(a.b), own(a.c), At(a.a),
          At(a.d), state, own(a.y), part.tokens, slot.channels / slot.heads,
          slot.heads / slot.groups, slot.states, slot.channels});
}

void OpenClLane::delta_rule(const DeltaRuleArgs& a, const Batch& batch) {
  if (batch.sequences.empty()) return;
  const Frame frame(*this);
  const StateSlot& slot = batch.sequences.front().state->layout->slot(a.slot);
  const int64_t rows = a.q.count(), heads = slot.heads, key_heads = slot.groups;
  const int64_t k_dim = slot.states;
  const Rows decay = take(rows, a.decay.width()), beta = take(rows, heads);
  const Rows factors = take(rows, 2 * key_heads);
  each("decays", decay,
       {a.decay, At(a.decay_bias), At(a.rate), decay.width() / heads, decay, decay.width()});
  each("scale_sigmoid", beta, {a.beta, a.beta_scale, beta, heads});
  launch(Step::kScan, {"scan", "", "delta_lengths"}, over_columns(key_heads, rows),
         {a.q, a.k, k_dim, factors, key_heads});
  const DeltaInputs made{.factors = factors, .decay = decay, .beta = beta};
  for (const Sequence& s : batch.sequences) {
    const At state = slot_of(s, a.slot);
    for (const Stretch& part : stretches(s, decay.width() == heads))
      if (part.chunks)
        delta_chunks(a, made, slot, state, part);
      else
        delta_tokens(a, made, slot, state, part);
  }
}

void OpenClLane::delta_tokens(const DeltaRuleArgs& a, const DeltaInputs& made,
                              const StateSlot& slot, At state, const Stretch& part) {
  const int64_t heads = slot.heads, k_dim = slot.states, v_dim = slot.channels / heads;
  const auto own = [&](const Rows& x) { return x.rows(part.row, part.tokens); };
  const bool held = k_dim <= kHeld * kScanSlices;
  launch(Step::kScan, {"scan", "", held ? "delta_rule" : "delta_rule_of_any"},
         held ? over_channels(v_dim, heads) : over_columns(v_dim, heads),
         {own(a.q), own(a.k), own(a.v), own(made.factors), own(made.decay), own(made.beta), state,
          own(a.y), part.tokens, heads, slot.groups, int{a.tiled}, made.decay.width() / heads,
          k_dim, v_dim});
}

}  // namespace klens
