#include "engine/linear.h"

#include "kernels/check.h"
#include "kernels/cpu/activations/quantize_activations.h"
#include "kernels/cpu/linear/linear_f32.h"
#include "kernels/cpu/linear/linear_i8.h"

namespace klens {
namespace {

// Splits [row tiles] x [tokens] into parts for threads: by outputs where there are enough of them,
// since each part unpacks its weights once; else by tokens too.
template <class Kernel>
void over_tiles(const WeightView& w, int64_t tokens, const Executor& executor,
                const Kernel& kernel) {
  const int64_t tiles = w.row_tiles(), enough = executor.threads() * 4;
  const int64_t token_parts = executor.threads() == 1 || tiles >= enough
                                  ? 1
                                  : std::min((tokens + 31) / 32, (enough + tiles - 1) / tiles);
  const int64_t work = kTileOutputs * w.cols * std::max<int64_t>(tokens / token_parts, 1);
  executor.ranges(tiles * token_parts, work, [&](int64_t begin, int64_t end) {
    // A range may run over several token parts; each is a rectangle of tiles.
    while (begin < end) {
      const int64_t part = begin / tiles, stop = std::min(end, (part + 1) * tiles);
      kernel(begin - part * tiles, stop - part * tiles, tokens * part / token_parts,
             tokens * (part + 1) / token_parts);
      begin = stop;
    }
  });
}

}  // namespace

const LinearInput::Quantised& LinearInput::quantised(int64_t group, const Pass& pass) {
  for (const Quantised& done : quantised_)
    if (done.group == group) return done;
  const int64_t stride = (cols_ + 31) / 32 * 32, groups = (cols_ + group - 1) / group;
  const Quantised made{.group = group,
                       .stride = stride,
                       .q = pass.scratch.take<int8_t>(tokens_ * stride),
                       .scale = pass.scratch.take<float>(tokens_ * groups),
                       .sum = pass.scratch.take<int32_t>(tokens_ * groups)};
  const auto run = cpu::best_variant(cpu::quantize_activations_variants(), cpu::active()).run;
  pass.executor.ranges(tokens_, cols_ * 4, [&](int64_t begin, int64_t end) {
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
  return quantised_.emplace_back(made);
}

void LinearInput::apply(const Weight& w, const float* bias, float* y, int64_t y_stride,
                        const Pass& pass) {
  KLENS_CHECK(w.view.cols == cols_);
  if (w.activation_group == 0) {
    const auto run = cpu::best_variant(cpu::linear_f32_variants(), cpu::active()).run;
    over_tiles(w.view, tokens_, pass.executor,
               [&](int64_t tile, int64_t tile_end, int64_t t, int64_t t_end) {
                 run({.w = w.view,
                      .x = x_ + t * stride_,
                      .x_stride = stride_,
                      .y = y + t * y_stride,
                      .y_stride = y_stride,
                      .tokens = t_end - t,
                      .tile_begin = tile,
                      .tile_end = tile_end});
               });
  } else {
    const Quantised& x = quantised(w.activation_group, pass);
    const int64_t groups = (cols_ + x.group - 1) / x.group;
    const auto run = cpu::best_variant(cpu::linear_i8_variants(), cpu::active()).run;
    over_tiles(w.view, tokens_, pass.executor,
               [&](int64_t tile, int64_t tile_end, int64_t t, int64_t t_end) {
                 run({.w = w.view,
                      .x = x.q + t * x.stride,
                      .x_stride = x.stride,
                      .x_scale = x.scale + t * groups,
                      .x_sum = x.sum + t * groups,
                      .x_group = x.group,
                      .y = y + t * y_stride,
                      .y_stride = y_stride,
                      .tokens = t_end - t,
                      .tile_begin = tile,
                      .tile_end = tile_end});
               });
  }
  if (bias == nullptr) return;
  for (int64_t t = 0; t < tokens_; ++t)
    for (int64_t n = 0; n < w.view.rows; ++n) y[t * y_stride + n] += bias[n];
}

void scale(float* x, int64_t count, float by) {
  if (by == 1) return;
  for (int64_t i = 0; i < count; ++i) x[i] *= by;
}

const float* scaled(const float* x, int64_t count, float by, Scratch& scratch) {
  if (by == 1) return x;
  float* product = scratch.take<float>(count);
  for (int64_t i = 0; i < count; ++i) product[i] = x[i] * by;
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
  for (int64_t t = 0; t < x.tokens(); ++t)
    for (int64_t n = 0; n < rows_; ++n) y[t * y_stride + n] += high[t * rows_ + n];
}

const float* Projection::stage(const float* x, int64_t tokens, float by, Flow& flow,
                               const Pass& pass) const {
  reach(flow);
  float* y = flow.take(tokens * rows_);
  if (!flow.due()) return y;
  const Scratch::Frame frame(pass.scratch);
  LinearInput input(x, cols_, tokens, cols_);
  apply(input, y, rows_, pass);
  scale(y, tokens * rows_, by);
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

void Projections::apply(LinearInput& x, float* y, const Pass& pass) const {
  int64_t at = 0;
  for (const Projection& part : parts_) {
    part.apply(x, y + at, rows_, pass);
    at += part.rows();
  }
}

}  // namespace klens
