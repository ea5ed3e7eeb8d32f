#include "engine/linear.h"

#include "kernels/check.h"
#include "kernels/cpu/activations/quantize_activations.h"
#include "kernels/cpu/linear/linear_f32.h"
#include "kernels/cpu/linear/linear_i8.h"

namespace klens {
namespace {

// Splits [row tiles] x [tokens] into parts for threads: by outputs where there are enough of them,
// since each part unpacks its weights once; else by tokens too. part(LinearPart).
template <class Part>
void over_tiles(const WeightView& w, int64_t tokens, const Executor& executor, const Part& part) {
  const int64_t tiles = w.row_tiles(), enough = executor.threads() * 4;
  const int64_t token_parts = executor.threads() == 1 || tiles >= enough
                                  ? 1
                                  : std::min((tokens + 31) / 32, (enough + tiles - 1) / tiles);
  const int64_t work = kTileOutputs * w.cols * std::max<int64_t>(tokens / token_parts, 1);
  executor.ranges(tiles * token_parts, work, [&](int64_t begin, int64_t end) {
    // A range may run over several token parts; each is a rectangle of tiles.
    while (begin < end) {
      const int64_t at = begin / tiles, stop = std::min(end, (at + 1) * tiles);
      part(LinearPart{begin - at * tiles, stop - at * tiles, tokens * at / token_parts,
                      tokens * (at + 1) / token_parts});
      begin = stop;
    }
  });
}

}  // namespace

const LinearInput::Quantised* LinearInput::quantised(int64_t group) const {
  for (const Quantised& done : quantised_)
    if (done.group == group) return &done;
  return nullptr;
}

void LinearInput::prepare(const Weight& w, const Pass& pass) {
  KLENS_CHECK(w.view.cols == cols_);
  const int64_t group = w.activation_group;
  if (group == 0 || quantised(group) != nullptr) return;
  const int64_t stride = (cols_ + 31) / 32 * 32, groups = (cols_ + group - 1) / group;
  const Quantised made{.group = group,
                       .stride = stride,
                       .q = pass.scratch.take<int8_t>(tokens_ * stride),
                       .scale = pass.scratch.take<float>(tokens_ * groups),
                       .sum = pass.scratch.take<int32_t>(tokens_ * groups)};
  const auto run = cpu::best_variant(cpu::quantize_activations_variants(), cpu::active()).run;
  pass.executor.ranges(tokens_, cols_ * 2, [&](int64_t begin, int64_t end) {
    const Timed timed(pass.executor.clock(), Step::kQuantize);
    run({.x = x_ + begin * stride_,
         .x_stride = stride_,
         .tokens = end - begin,
         .cols = cols_,
         .group = group,
         .q = made.q + begin * stride,
         .q_stride = stride,
         .scale = made.scale + begin * groups,
         .sum = made.sum + begin * groups});
  });
  quantised_.push_back(made);
}

void LinearInput::apply_part(const Weight& w, const float* bias, float* y, int64_t y_stride,
                             const LinearPart& part, const Pass& pass) const {
  const Timed timed(pass.executor.clock(), Step::kLinear);
  const WeightView view = from_tile(w.view, part.tile_begin);
  const int64_t tokens = part.t_end - part.t_begin, tiles = part.tile_end - part.tile_begin;
  if (const Quantised* x = quantised(w.activation_group); x != nullptr) {
    const int64_t groups = (cols_ + x->group - 1) / x->group;
    const auto run = cpu::best_variant(cpu::linear_i8_variants(), cpu::active()).run;
    run({.w = view,
         .x = x->q + part.t_begin * x->stride,
         .x_stride = x->stride,
         .x_scale = x->scale + part.t_begin * groups,
         .x_sum = x->sum + part.t_begin * groups,
         .x_group = x->group,
         .y = y,
         .y_stride = y_stride,
         .tokens = tokens,
         .tile_begin = 0,
         .tile_end = tiles});
  } else {
    const auto run = cpu::best_variant(cpu::linear_f32_variants(), cpu::active()).run;
    run({.w = view,
         .x = x_ + part.t_begin * stride_,
         .x_stride = stride_,
         .y = y,
         .y_stride = y_stride,
         .tokens = tokens,
         .tile_begin = 0,
         .tile_end = tiles});
  }
  if (bias == nullptr) return;
  bias += part.tile_begin * kTileOutputs;
  const int64_t outputs = std::min(view.rows, tiles * kTileOutputs);
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t n = 0; n < outputs; ++n) y[t * y_stride + n] += bias[n];
}

void LinearInput::apply(const Weight& w, const float* bias, float* y, int64_t y_stride,
                        const Pass& pass) {
  prepare(w, pass);
  over_tiles(w.view, tokens_, pass.executor, [&](const LinearPart& part) {
    apply_part(w, bias, y + part.t_begin * y_stride + part.tile_begin * kTileOutputs, y_stride,
               part, pass);
  });
}

void add_scaled(float* to, const float* from, float by, int64_t count, const Pass& pass) {
  over_rows(pass, count, 1, [&](int64_t begin, int64_t end) {
    if (by == 1)
      for (int64_t i = begin; i < end; ++i) to[i] += from[i];
    else
      for (int64_t i = begin; i < end; ++i) to[i] += by * from[i];
  });
}

void scale(float* x, int64_t rows, int64_t width, int64_t stride, float by, const Pass& pass) {
  if (by == 1) return;
  over_rows(pass, rows, width, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t i = 0; i < width; ++i) x[t * stride + i] *= by;
  });
}

const float* scaled(const float* x, int64_t count, float by, const Pass& pass) {
  if (by == 1) return x;
  float* product = pass.scratch.take<float>(count);
  over_rows(pass, count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) product[i] = x[i] * by;
  });
  return product;
}

std::vector<float*> fixed_states(const Pass& pass, int64_t offset, int64_t size) {
  std::vector<float*> states;
  for (const Sequence& s : pass.batch.sequences)
    states.push_back(fixed_state(s, offset, size, pass.scratch));
  return states;
}

Projection::Projection(const ProjectionSpec& spec, const Checkpoint& checkpoint)
    : spec_(spec),
      rows_(checkpoint.spec.units[spec.unit].rows),
      cols_(checkpoint.spec.units[spec.unit].cols) {
  if (spec.bias) bias_ = checkpoint.small_values(*spec.bias);
  if (spec.adapter) rank_ = checkpoint.spec.units[spec.adapter->down].rows;
}

void Projection::reach(Flow& flow) const {
  flow.reach(spec_.unit);
  if (!spec_.adapter) return;
  flow.reach(spec_.adapter->down);
  flow.reach(spec_.adapter->up);
}

void Projection::apply(LinearInput& x, float* y, int64_t y_stride, const Pass& pass) const {
  x.apply(pass.weights[spec_.unit], bias_.empty() ? nullptr : bias_.data(), y, y_stride, pass);
  if (!spec_.adapter) return;
  float* low = pass.scratch.take<float>(x.tokens() * rank_);
  float* high = pass.scratch.take<float>(x.tokens() * rows_);
  x.apply(pass.weights[spec_.adapter->down], nullptr, low, rank_, pass);
  LinearInput(low, rank_, x.tokens(), rank_)
      .apply(pass.weights[spec_.adapter->up], nullptr, high, rows_, pass);
  over_rows(pass, x.tokens(), rows_, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t n = 0; n < rows_; ++n) y[t * y_stride + n] += high[t * rows_ + n];
  });
}

const float* Projection::stage(const float* x, int64_t tokens, float by, Flow& flow,
                               const Pass& pass) const {
  reach(flow);
  float* y = flow.take(tokens * rows_);
  if (!flow.due()) return y;
  const Scratch::Frame frame(pass.scratch);
  LinearInput input(x, cols_, tokens, cols_);
  apply(input, y, rows_, pass);
  scale(y, tokens, rows_, rows_, by, pass);
  return y;
}

Projections::Projections(const std::vector<ProjectionSpec>& specs, const Checkpoint& checkpoint) {
  for (const ProjectionSpec& spec : specs) {
    parts_.emplace_back(spec, checkpoint);
    rows_ += parts_.back().rows();
  }
}

void Projections::reach(Flow& flow) const {
  for (const Projection& part : parts_) part.reach(flow);
}

bool Projections::rounds(const Pass& pass) const {
  return std::all_of(parts_.begin(), parts_.end(),
                     [&](const Projection& part) { return part.rounds(pass); });
}

void Projections::apply(LinearInput& x, float* y, const Pass& pass) const {
  int64_t at = 0;
  for (const Projection& part : parts_) {
    part.apply(x, y + at, rows_, pass);
    at += part.rows();
  }
}

}  // namespace klens
