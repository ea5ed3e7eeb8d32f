#include "engine/blocks/selective_scan.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/elementwise/elementwise.h"
#include "kernels/cpu/scan/selective_scan.h"

namespace klens {
namespace {

// a [d_state][d_inner] = -exp(A_log), transposed.
void make_rates(const std::vector<float>& a_log, int64_t inner, int64_t states, float* a) {
  transpose(a_log, inner, states, a);
  const auto exp = cpu::best_variant(cpu::exp_variants(), cpu::active()).run;
  const int64_t count = inner * states;
  exp({.x = a,
       .x_stride = count,
       .y = a,
       .y_stride = count,
       .bias = nullptr,
       .tokens = 1,
       .cols = count});
  for (int64_t i = 0; i < count; ++i) a[i] = -a[i];
}

}  // namespace

// What the scan of one head reads and writes.
struct SelectiveScan::Head {
  int64_t index;
  const float* xc;   // [rows][d_inner]
  const float* dbc;  // dt, B and C of the head: rows heads() * head_width() apart
  const float* z;
  int64_t z_stride;
  float* gated;              // [rows][d_inner]
  const LinearInput& input;  // dbc, prepared for the head's dt_proj
};

// Some tokens of some of the head's channels.
struct SelectiveScan::Stretch {
  int64_t row, tokens;
  int64_t first, last;  // channels; `first` begins a tile of dt_proj
  float* state;         // [d_state][d_inner], from the head's first channel on
  float* dt_sum;        // [channels]: of the tokens; or null
};

SelectiveScan::SelectiveScan(const SelectiveScanSpec& spec, const MixerContext& context)
    : spec_(spec),
      conv_(spec.conv_weight, spec.conv_bias, context),
      offset_(context.states.take(spec.d_state * spec.d_inner)),
      dt_bias_(context.checkpoint.small_values(spec.dt_bias)),
      d_(context.checkpoint.small_values(spec.d)) {
  float* a = context.arena.take(spec.d_inner * spec.d_state);
  a_ = a;
  context.preparations.push_back(
      [a, &checkpoint = context.checkpoint, a_log = spec.a_log, inner = spec.d_inner,
       states = spec.d_state] { make_rates(checkpoint.small_values(a_log), inner, states, a); });
  if (!spec.dt_norm) return;
  bcdt_norms_.emplace_back(*spec.dt_norm, spec.dt_rank, context.checkpoint);
  bcdt_norms_.emplace_back(*spec.b_norm, spec.d_state, context.checkpoint);
  bcdt_norms_.emplace_back(*spec.c_norm, spec.d_state, context.checkpoint);
}

const float* SelectiveScan::run(const float* x, int64_t x_stride, const float* z, int64_t z_stride,
                                Flow& flow, const Pass& pass) const {
  const int64_t rows = pass.batch.rows, inner = spec_.d_inner;
  float* xc = flow.take(rows * inner);
  if (flow.due()) conv_.run(x, x_stride, xc, pass);

  for (const UnitId unit : spec_.x_proj) flow.reach(unit);
  float* dbc = flow.take(rows * heads() * head_width());
  if (flow.due()) project_dt_b_c(xc, dbc, pass);

  for (const UnitId unit : spec_.dt_proj) flow.reach(unit);
  float* gated = flow.take(rows * inner);
  if (flow.due()) {
    const Scratch::Frame frame(pass.scratch);
    for (int64_t h = 0; h < heads(); ++h) {
      const float* from = dbc + h * head_width();
      LinearInput input(from, heads() * head_width(), rows, spec_.dt_rank);
      input.prepare(pass.weights[spec_.dt_proj[static_cast<size_t>(h)]], pass);
      scan({h, xc, from, z, z_stride, gated, input}, pass);
    }
  }
  return gated;
}

void SelectiveScan::project_dt_b_c(const float* xc, float* dbc, const Pass& pass) const {
  const int64_t rows = pass.batch.rows, width = heads() * head_width();
  for (int64_t h = 0; h < heads(); ++h) {
    float* part = dbc + h * head_width();
    LinearInput(xc + h * channels(), spec_.d_inner, rows, channels())
        .apply(pass.weights[spec_.x_proj[static_cast<size_t>(h)]], nullptr, part, width, pass);
    if (bcdt_norms_.empty()) continue;
    const int64_t at[] = {0, spec_.dt_rank, spec_.dt_rank + spec_.d_state};
    for (size_t i = 0; i < 3; ++i)
      bcdt_norms_[i].run(part + at[i], width, part + at[i], width, rows, pass);
  }
}

// Time steps, scan and gate of one head, strip by strip: a strip's time steps are used while they
// are in cache, and no thread waits in between.
void SelectiveScan::scan(const Head& head, const Pass& pass) const {
  const std::vector<float*> states = fixed_states(pass, offset_, spec_.d_state * spec_.d_inner);
  const int64_t offset = head.index * channels();
  if (const int64_t parts = time_parts(pass); parts > 1)
    return scan_over_time(head, states.front() + offset, parts, pass);
  const int64_t work = kStrip * (spec_.d_state * 12 + spec_.dt_rank);
  over_sequences(pass, strips(), work, [&](int64_t s, int64_t begin, int64_t end) {
    const Sequence& sequence = pass.batch.sequences[static_cast<size_t>(s)];
    float* state = states[static_cast<size_t>(s)] + offset;
    // A token alone wants its state in long rows.
    const int64_t step = sequence.tokens == 1 ? end - begin : 1;
    for (int64_t strip = begin; strip < end; strip += step)
      scan_stretch(head,
                   {sequence.row, sequence.tokens, strip * kStrip,
                    std::min(channels(), (strip + step) * kStrip), state, nullptr},
                   pass);
  });
}

// Parts of time that a sequence is scanned in side by side: more than one where there are so many
// cores that they make up for scanning twice. Few models are so narrow, or machines so wide.
int64_t SelectiveScan::time_parts(const Pass& pass) const {
  constexpr int64_t kLeastParts = 3, kLeastTokens = 32;
  if (pass.batch.sequences.size() != 1) return 1;
  const int64_t parts =
      std::min(pass.executor.threads() / strips(), pass.batch.rows / kLeastTokens);
  return parts < kLeastParts ? 1 : parts;
}

// The recurrence is linear in the state, so it can be cut (arXiv 2312.00752, sec. 3.3.2): every
// part is scanned from zeros, and what the state before would have left is added, decayed by the
// part's whole time; then all but the first are scanned again, each from the state that it really
// meets.
void SelectiveScan::scan_over_time(const Head& head, float* state, int64_t parts,
                                   const Pass& pass) const {
  const Scratch::Frame frame(pass.scratch);
  const int64_t size = spec_.d_state * spec_.d_inner, rows = pass.batch.rows;
  float* left = pass.scratch.take<float>((parts - 1) * size);  // by all parts but the last
  float* dt_sums = pass.scratch.take<float>((parts - 1) * channels());
  const auto scan_part = [&](int64_t part, int64_t strip, int64_t kept) {
    const int64_t row = rows * part / parts;
    scan_stretch(head,
                 {row, rows * (part + 1) / parts - row, strip * kStrip,
                  std::min(channels(), (strip + 1) * kStrip), left + kept * size,
                  part + 1 < parts ? dt_sums + part * channels() : nullptr},
                 pass);
  };
  const int64_t work = kStrip * spec_.d_state * 12 * rows / parts;
  const auto copy = [&](const float* from, float* to) {
    for (int64_t s = 0; s < spec_.d_state; ++s)
      std::copy_n(from + s * spec_.d_inner, channels(), to + s * spec_.d_inner);
  };
  std::fill_n(left, (parts - 1) * size, 0.0f);
  copy(state, left);
  pass.executor.ranges((parts - 1) * strips(), work, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) scan_part(i / strips(), i % strips(), i / strips());
  });
  for (int64_t part = 1; part + 1 < parts; ++part)
    for (int64_t s = 0; s < spec_.d_state; ++s)
      for (int64_t c = 0; c < channels(); ++c) {
        const int64_t at = s * spec_.d_inner + c;
        const float a = a_[at + head.index * channels()];
        left[part * size + at] +=
            std::exp(a * dt_sums[part * channels() + c]) * left[(part - 1) * size + at];
      }
  // Each part goes on in the memory of what was left to it.
  pass.executor.ranges((parts - 1) * strips(), work, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) scan_part(1 + i / strips(), i % strips(), i / strips());
  });
  copy(left + (parts - 2) * size, state);
}

void SelectiveScan::scan_stretch(const Head& head, const Stretch& stretch, const Pass& pass) const {
  const int64_t cols = stretch.last - stretch.first, width = heads() * head_width();
  float* dt = thread_work(stretch.tokens * cols);
  time_steps(head, stretch, dt, pass);
  const Timed timed(pass.executor.clock(), Step::kScan);
  const int64_t at = head.index * channels() + stretch.first, row = stretch.row;
  const float* b = head.dbc + row * width + spec_.dt_rank;
  const auto run = cpu::best_variant(cpu::selective_scan_variants(), cpu::active()).run;
  run({.x = head.xc + row * spec_.d_inner + at,
       .x_stride = spec_.d_inner,
       .dt = dt,
       .dt_stride = cols,
       .z = head.z + row * head.z_stride + at,
       .z_stride = head.z_stride,
       .b = b,
       .c = b + spec_.d_state,
       .bc_stride = width,
       .a = a_ + at,
       .d = d_.data() + at,
       .state = stretch.state + stretch.first,
       .y = head.gated + row * spec_.d_inner + at,
       .y_stride = spec_.d_inner,
       .tokens = stretch.tokens,
       .channels = spec_.d_inner,
       .states = spec_.d_state,
       .channel_begin = 0,
       .channel_end = cols});
}

// dt [tokens][last - first] = softplus(dt_proj + bias).
void SelectiveScan::time_steps(const Head& head, const Stretch& stretch, float* dt,
                               const Pass& pass) const {
  const LinearPart part{.tile_begin = stretch.first / kTileOutputs,
                        .tile_end = (stretch.last + kTileOutputs - 1) / kTileOutputs,
                        .t_begin = stretch.row,
                        .t_end = stretch.row + stretch.tokens};
  const int64_t cols = stretch.last - stretch.first;
  head.input.apply_part(pass.weights[spec_.dt_proj[static_cast<size_t>(head.index)]], nullptr, dt,
                        cols, part, pass);
  const Timed timed(pass.executor.clock(), Step::kElementwise);
  const auto softplus = cpu::best_variant(cpu::softplus_variants(), cpu::active()).run;
  softplus({.x = dt,
            .x_stride = cols,
            .y = dt,
            .y_stride = cols,
            .bias = dt_bias_.data() + head.index * channels() + stretch.first,
            .tokens = stretch.tokens,
            .cols = cols});
  if (stretch.dt_sum == nullptr) return;
  float* sum = stretch.dt_sum + stretch.first;
  std::fill_n(sum, cols, 0.0f);
  for (int64_t t = 0; t < stretch.tokens; ++t)
    for (int64_t c = 0; c < cols; ++c) sum[c] += dt[t * cols + c];
}

}  // namespace klens
