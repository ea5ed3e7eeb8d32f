// Mamba-2's scan, and its state: the SSM state in FP32 or FP16, the tokens it lacks
// (cpu::SsdPending), and, for FP16, a bound of what is in it.
#include "kernels/cpu/scan/ssd_scan.h"

#include <algorithm>

#include "base/error.h"
#include "engine/cpu/lane.h"
#include "kernels/cpu/elementwise/elementwise.h"
#include "kernels/half.h"
#include "kernels/magnitude.h"

namespace klens {
namespace {

static_assert(kSequenceBlock == cpu::kSsdBlock);

int64_t head_dim(const StateSlot& slot) { return slot.channels / slot.heads; }

// Floats that the SSM state takes, and the tokens it lacks.
int64_t ssm_size(const StateSlot& slot) {
  const int64_t size = slot.channels * slot.states;
  return slot.half ? (size + 1) / 2 : size;
}
int64_t pending_size(const StateSlot& slot) {
  return cpu::ssd_pending_size(slot.heads, head_dim(slot), slot.groups, slot.states);
}

// dt = clamp(softplus(dt + dt_bias), dt_min, dt_max)
void time_steps(const SsdScanArgs& args, float* dt, const CpuLane& lane) {
  const auto softplus = cpu::best_variant(cpu::softplus_variants(), cpu::active()).run;
  const int64_t heads = args.dt.width();
  lane.executor().ranges(args.dt.count(), heads * 16, [&](int64_t begin, int64_t end) {
    const Timed timed = lane.timed(Step::kElementwise);
    softplus({.x = floats(args.dt) + begin * args.dt.stride(),
              .x_stride = args.dt.stride(),
              .y = dt + begin * heads,
              .y_stride = heads,
              .bias = floats(args.dt_bias),
              .tokens = end - begin,
              .cols = heads});
    for (int64_t i = begin * heads; i < end * heads; ++i)
      dt[i] = std::clamp(dt[i], args.dt_min, args.dt_max);
  });
}

// Of all heads, without working memory.
cpu::SsdScanArgs scan_args(const SsdScanArgs& args, const StateSlot& slot, const Sequence& sequence,
                           const float* dt, float* state) {
  const auto row = [&](const Rows& x) { return floats(x) + sequence.row * x.stride(); };
  return {.x = row(args.x),
          .x_stride = args.x.stride(),
          .dt = dt + sequence.row * slot.heads,
          .dt_stride = slot.heads,
          .b = row(args.b),
          .c = row(args.c),
          .bc_stride = args.b.stride(),
          .a = floats(args.a),
          .d = floats(args.d),
          .state = slot.half ? nullptr : state,
          .half_state = slot.half ? reinterpret_cast<uint16_t*>(state) : nullptr,
          .pending = cpu::ssd_pending_at(state + ssm_size(slot), slot.heads, head_dim(slot),
                                         slot.groups, slot.states),
          .position = sequence.position,
          .y = row(args.y),
          .y_stride = args.y.stride(),
          .tokens = sequence.tokens,
          .heads = slot.heads,
          .head_dim = head_dim(slot),
          .groups = slot.groups,
          .states = slot.states,
          .head_begin = 0,
          .head_end = slot.heads,
          .work = nullptr,
          .rounded = args.rounded};
}

// Throws Error if the FP16 state of this call, which has been run, left what FP16 reaches. What a
// call of several tokens leaves in a state is looked at: such a call reads and writes all of it
// anyway. A token alone adds at most dt |x| |B| to any element, and rounding at most as much again;
// the sum of that is beyond FP16 before a state can be, and only then is the state looked at, which
// after every token would cost a tenth of the scan.
void check_pending(const cpu::SsdScanArgs& call, int64_t pending_floats, const std::string& where) {
  constexpr float kNear = 60000, kRounding = 0.01f;
  const cpu::SsdPending& pending = call.pending;
  float& bound = pending.x[pending_floats];
  if (call.tokens == 1) {
    float x = 0;
    for (int64_t h = 0; h < call.heads; ++h)
      x = std::max(x, call.dt[h] * largest_magnitude(call.x + h * call.head_dim, call.head_dim));
    bound += 2 * x * largest_magnitude(call.b, call.groups * call.states) + kRounding;
    if (bound <= kNear) return;
  }
  int16_t largest = 0;
  const int64_t size = call.heads * call.states * call.head_dim;
  for (int64_t i = 0; i < size; ++i)
    largest = std::max(largest, static_cast<int16_t>(call.half_state[i] & 0x7fff));
  bound = f16_to_f32(static_cast<uint16_t>(largest));
  if (bound >= kMaxF16)
    throw Error(ErrorKind::kUnsupported,
                where + " left what FP16 holds (65504); run the model with --kv f32");
  // What the state lacks has weights of at most 1.
  if (call.tokens == 1)
    bound += static_cast<float>(cpu::kSsdPending) *
             largest_magnitude(pending.x, cpu::kSsdPending * call.heads * call.head_dim) *
             largest_magnitude(pending.b, cpu::kSsdPending * call.groups * call.states);
}

}  // namespace

int64_t ssd_state_bytes(const StateSlot& slot) {
  constexpr int64_t kBound = 16;  // one float, and what follows stays aligned
  return (ssm_size(slot) + pending_size(slot) + (slot.half ? kBound : 0)) *
         static_cast<int64_t>(sizeof(float));
}

void CpuLane::ssd_scan(const SsdScanArgs& args, const Batch& batch) {
  if (batch.sequences.empty()) return;
  const Frame frame(*this);
  const StateSlot& slot = batch.sequences.front().state->layout->slot(args.slot);
  float* dt = take_array<float>(batch.rows * slot.heads);
  time_steps(args, dt, *this);
  const std::vector<float*> states = slots(args.slot, batch);
  std::vector<cpu::SsdScanArgs> all;
  for (size_t s = 0; s < states.size(); ++s) {
    all.push_back(scan_args(args, slot, batch.sequences[s], dt, states[s]));
    if (all.back().tokens == 1) cpu::ssd_keep_b(all.back());
  }
  const auto run = cpu::best_variant(cpu::ssd_scan_variants(), cpu::active()).run;
  const int64_t work = head_dim(slot) * slot.states * 4;
  over_sequences(batch, slot.heads, work, [&](int64_t s, int64_t begin, int64_t end) {
    const Timed timed = this->timed(Step::kScan);
    cpu::SsdScanArgs call = all[static_cast<size_t>(s)];
    call.head_begin = begin;
    call.head_end = end;
    call.work = thread_work(cpu::ssd_scan_work(call));
    run(call);
  });
  if (!slot.half) return;
  for (size_t s = 0; s < all.size(); ++s)  // a fresh pass keeps nothing
    if (batch.sequences[s].state->slot(args.slot) != 0)
      check_pending(all[s], pending_size(slot), args.where);
}

}  // namespace klens
