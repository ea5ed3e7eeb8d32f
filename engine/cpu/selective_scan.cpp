// Mamba-1's scan with what is in cache beside it: dt_proj, softplus, gate.
#include "kernels/cpu/scan/selective_scan.h"

#include <algorithm>
#include <cmath>

#include "engine/cpu/lane.h"
#include "kernels/cpu/elementwise/elementwise.h"

namespace klens {
namespace {

// Some tokens of some of the head's channels.
struct Stretch {
  int64_t row, tokens;
  int64_t first, last;  // channels; `first` begins a tile of dt_proj
  float* state;         // [d_state][stride of a], from the head's first channel on
  float* dt_sum;        // [channels]: of the tokens; or null
};

class HeadScan {
 public:
  HeadScan(const SelectiveScanArgs& args, const Batch& batch, CpuLane& lane)
      : args_(args), batch_(batch), lane_(lane), input_(args.dt) {
    round_input(args.dt_proj, input_, lane);
  }

  // Strip by strip: a strip's time steps are used while they are in cache, and no thread waits in
  // between.
  void run(const std::vector<float*>& states) {
    if (const int64_t parts = time_parts(); parts > 1)
      return over_time(states.front() + args_.first, parts);
    const int64_t work = kStrip * (d_state() * 12 + args_.dt.width());
    lane_.over_sequences(batch_, strips(), work, [&](int64_t s, int64_t begin, int64_t end) {
      const Sequence& sequence = batch_.sequences[static_cast<size_t>(s)];
      float* state = states[static_cast<size_t>(s)] + args_.first;
      // A token alone wants its state in long rows.
      const int64_t step = sequence.tokens == 1 ? end - begin : 1;
      for (int64_t strip = begin; strip < end; strip += step)
        stretch({sequence.row, sequence.tokens, strip * kStrip,
                 std::min(channels(), (strip + step) * kStrip), state, nullptr});
    });
  }

 private:
  int64_t channels() const { return args_.x.width(); }
  int64_t strips() const { return (channels() + kStrip - 1) / kStrip; }
  int64_t d_state() const { return args_.a.count(); }
  // Of a row of rates and of state: all heads' channels.
  int64_t inner() const { return args_.a.stride(); }

  // Parts of time that a sequence is scanned in side by side: more than one where there are so many
  // cores that they make up for scanning twice. Few models are so narrow, or machines so wide.
  int64_t time_parts() const {
    constexpr int64_t kLeastParts = 3, kLeastTokens = 32;
    if (batch_.sequences.size() != 1) return 1;
    const int64_t parts =
        std::min(lane_.executor().threads() / strips(), batch_.rows / kLeastTokens);
    return parts < kLeastParts ? 1 : parts;
  }

  // The recurrence is linear in the state, so it can be cut (arXiv 2312.00752, sec. 3.3.2): every
  // part is scanned from zeros, and what the state before would have left is added, decayed by the
  // part's whole time; then all but the first are scanned again, each from the state that it really
  // meets.
  void over_time(float* state, int64_t parts) {
    const Lane::Frame frame(lane_);
    const int64_t size = d_state() * inner(), rows = batch_.rows;
    auto* left = lane_.take_array<float>((parts - 1) * size);  // by all parts but the last
    auto* dt_sums = lane_.take_array<float>((parts - 1) * channels());
    const auto scan_part = [&](int64_t part, int64_t strip, int64_t kept) {
      const int64_t row = rows * part / parts;
      stretch({row, rows * (part + 1) / parts - row, strip * kStrip,
               std::min(channels(), (strip + 1) * kStrip), left + kept * size,
               part + 1 < parts ? dt_sums + part * channels() : nullptr});
    };
    const int64_t work = kStrip * d_state() * 12 * rows / parts;
    const auto copy = [&](const float* from, float* to) {
      for (int64_t s = 0; s < d_state(); ++s)
        std::copy_n(from + s * inner(), channels(), to + s * inner());
    };
    std::fill_n(left, (parts - 1) * size, 0.0f);
    copy(state, left);
    lane_.executor().ranges((parts - 1) * strips(), work, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) scan_part(i / strips(), i % strips(), i / strips());
    });
    for (int64_t part = 1; part + 1 < parts; ++part)
      for (int64_t s = 0; s < d_state(); ++s)
        for (int64_t c = 0; c < channels(); ++c) {
          const int64_t at = s * inner() + c;
          left[part * size + at] += std::exp(floats(args_.a)[at] * dt_sums[part * channels() + c]) *
                                    left[(part - 1) * size + at];
        }
    // Each part goes on in the memory of what was left to it.
    lane_.executor().ranges((parts - 1) * strips(), work, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) scan_part(1 + i / strips(), i % strips(), i / strips());
    });
    copy(left + (parts - 2) * size, state);
  }

  void stretch(const Stretch& s) const {
    const int64_t cols = s.last - s.first;
    float* dt = thread_work(s.tokens * cols);
    time_steps(s, dt);
    const Timed timed = lane_.timed(Step::kScan);
    const auto at = [&](const Rows& x) { return floats(x) + s.row * x.stride(); };
    const auto run = cpu::best_variant(cpu::selective_scan_variants(), cpu::active()).run;
    run({.x = at(args_.x) + s.first,
         .x_stride = args_.x.stride(),
         .dt = dt,
         .dt_stride = cols,
         .z = at(args_.z) + s.first,
         .z_stride = args_.z.stride(),
         .b = at(args_.b),
         .c = at(args_.c),
         .bc_stride = args_.b.stride(),
         .a = floats(args_.a) + s.first,
         .d = floats(args_.d) + s.first,
         .state = s.state + s.first,
         .y = at(args_.y) + s.first,
         .y_stride = args_.y.stride(),
         .tokens = s.tokens,
         .channels = inner(),
         .states = d_state(),
         .channel_begin = 0,
         .channel_end = cols});
  }

  // dt [tokens][last - first] = softplus(dt_proj + bias).
  void time_steps(const Stretch& s, float* dt) const {
    const LinearPart part{.tile_begin = s.first / kTileOutputs,
                          .tile_end = (s.last + kTileOutputs - 1) / kTileOutputs,
                          .t_begin = s.row,
                          .t_end = s.row + s.tokens};
    const int64_t cols = s.last - s.first;
    linear_part(args_.dt_proj, input_, nullptr, dt, cols, part, lane_);
    const Timed timed = lane_.timed(Step::kElementwise);
    const auto softplus = cpu::best_variant(cpu::softplus_variants(), cpu::active()).run;
    softplus({.x = dt,
              .x_stride = cols,
              .y = dt,
              .y_stride = cols,
              .bias = floats(args_.dt_bias) + s.first,
              .tokens = s.tokens,
              .cols = cols});
    if (s.dt_sum == nullptr) return;
    float* sum = s.dt_sum + s.first;
    std::fill_n(sum, cols, 0.0f);
    for (int64_t t = 0; t < s.tokens; ++t)
      for (int64_t c = 0; c < cols; ++c) sum[c] += dt[t * cols + c];
  }

  const SelectiveScanArgs& args_;
  const Batch& batch_;
  CpuLane& lane_;
  LinearInput input_;
};

}  // namespace

void CpuLane::selective_scan(const SelectiveScanArgs& args, const Batch& batch) {
  const Frame frame(*this);
  HeadScan scan(args, batch, *this);
  scan.run(slots(args.slot, batch));
}

}  // namespace klens
