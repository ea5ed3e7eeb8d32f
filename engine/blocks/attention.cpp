#include "engine/blocks/attention.h"

#include <algorithm>

#include "kernels/cpu/norm/rms_norm.h"
#include "kernels/cpu/rope/rope.h"

namespace klens {
namespace {

// Queries that one part of the work takes: enough to share the keys they read.
constexpr int64_t kQueries = 64;

}  // namespace

AttentionCore::AttentionCore(const AttentionCoreSpec& spec, const MixerContext& context)
    : spec_(spec), cache_(context.checkpoint.spec.caches[spec.cache]), type_(context.kv) {
  if (spec.rope) rope_ = context.checkpoint.spec.ropes[*spec.rope];
  if (spec.q_norm) q_norm_ = optional_values(spec.q_norm->weight, context.checkpoint);
  if (spec.k_norm) k_norm_ = optional_values(spec.k_norm->weight, context.checkpoint);
}

void AttentionCore::norm(const NormSpec& spec, const std::vector<float>& weight, float* x,
                         int64_t stride, int64_t heads, const Pass& pass) const {
  const auto run = cpu::best_variant(cpu::rms_norm_variants(), cpu::active()).run;
  const bool by_head = static_cast<int64_t>(weight.size()) > cache_.k_dim;
  for (int64_t h = 0; h < heads; ++h)
    run({.x = x + h * cache_.k_dim,
         .x_stride = stride,
         .y = x + h * cache_.k_dim,
         .y_stride = stride,
         .weight = weight.empty() ? nullptr : weight.data() + (by_head ? h * cache_.k_dim : 0),
         .tokens = pass.batch.rows,
         .cols = cache_.k_dim,
         .epsilon = spec.eps});
}

void AttentionCore::rotate(float* x, int64_t stride, int64_t heads, const Pass& pass) const {
  const RopeTables::Table& table = pass.batch.ropes.get(*spec_.rope, rope_, pass.batch.sequences);
  const auto run = cpu::best_variant(cpu::rope_variants(), cpu::active()).run;
  const int64_t pairs = static_cast<int64_t>(rope_.inv_freq.size());
  pass.executor.ranges(pass.batch.rows, heads * pairs * 8, [&](int64_t begin, int64_t end) {
    run({.x = x + begin * stride,
         .x_stride = stride,
         .cos = table.cos.data() + begin * pairs,
         .sin = table.sin.data() + begin * pairs,
         .tokens = end - begin,
         .heads = heads,
         .dim = cache_.k_dim,
         .pairs = pairs});
  });
}

void AttentionCore::run(float* q, float* k, const float* v, int64_t stride, float* y,
                        const Pass& pass) const {
  if (spec_.q_norm) norm(*spec_.q_norm, q_norm_, q, stride, spec_.heads, pass);
  if (spec_.rope) rotate(q, stride, spec_.heads, pass);
  if (spec_.makes_kv) {
    if (spec_.key_scale != 1)
      for (int64_t t = 0; t < pass.batch.rows; ++t)
        scale(k + t * stride, k_width(), spec_.key_scale);
    if (spec_.k_norm) norm(*spec_.k_norm, k_norm_, k, stride, cache_.kv_heads, pass);
    if (spec_.rope) rotate(k, stride, cache_.kv_heads, pass);
    for (const Sequence& s : pass.batch.sequences)
      s.state->caches[spec_.cache].append(s.position, s.tokens, k + s.row * stride, stride,
                                          v + s.row * stride, stride);
  }
  attend(q, stride, y, pass);
}

void AttentionCore::attend(const float* q, int64_t stride, float* y, const Pass& pass) const {
  std::vector<KvCache::Segments> segments;
  int64_t most = 1, longest = 1;  // queries, keys
  for (const Sequence& s : pass.batch.sequences) {
    segments.push_back(s.state->caches[spec_.cache].segments());
    most = std::max(most, s.tokens);
    longest = std::max(longest, std::min(s.position + s.tokens, cache_.reach));
  }
  const auto run = cpu::best_variant(cpu::attention_variants(), cpu::active()).run;
  const int64_t parts = (most + kQueries - 1) / kQueries;
  const int64_t work =
      longest * (cache_.k_dim + cache_.v_dim) * spec_.heads / cache_.kv_heads / parts;
  over_sequences(pass, cache_.kv_heads * parts, work, [&](int64_t i, int64_t begin, int64_t end) {
    const Sequence& s = pass.batch.sequences[static_cast<size_t>(i)];
    const KvCache::Segments& keys = segments[static_cast<size_t>(i)];
    for (int64_t item = begin; item < end; ++item) {
      const int64_t head = item / parts, from = item % parts * kQueries;
      if (from >= s.tokens) continue;
      cpu::AttentionArgs args{.q = q + (s.row + from) * stride,
                              .q_stride = stride,
                              .type = type_,
                              .segments = keys.runs.data(),
                              .segment_count = keys.count,
                              .scale = spec_.scale,
                              .reach = cache_.reach,
                              .pinned = cache_.pinned,
                              .position = s.position + from,
                              .tokens = std::min(kQueries, s.tokens - from),
                              .heads = spec_.heads,
                              .kv_heads = cache_.kv_heads,
                              .k_dim = cache_.k_dim,
                              .v_dim = cache_.v_dim,
                              .y = y + (s.row + from) * y_width(),
                              .y_stride = y_width(),
                              .kv_head_begin = head,
                              .kv_head_end = head + 1,
                              .work = nullptr};
      args.work = thread_work(cpu::attention_work(args));
      run(args);
    }
  });
}

Attention::Attention(const AttentionSpec& spec, const MixerContext& context)
    : d_in_(context.checkpoint.spec.units[spec.qkv[0].unit].cols),
      input_scale_(spec.input_scale),
      output_scale_(spec.output_scale),
      qkv_(spec.qkv, context.checkpoint),
      core_(spec.core, context),
      o_proj_(spec.o_proj, context.checkpoint) {}

const float* Attention::run(const float* x, Flow& flow, const Pass& pass) const {
  const int64_t rows = pass.batch.rows, width = qkv_.rows();
  qkv_.reach(flow);
  float* attended = flow.take(rows * core_.y_width());
  if (flow.due()) {
    const Scratch::Frame frame(pass.scratch);
    float* qkv = pass.scratch.take<float>(rows * width);
    LinearInput input(scaled(x, rows * d_in_, input_scale_, pass.scratch), d_in_, rows, d_in_);
    qkv_.apply(input, qkv, pass);
    float* k = qkv + core_.q_width();
    core_.run(qkv, k, k + core_.k_width(), width, attended, pass);
  }
  return o_proj_.stage(attended, rows, output_scale_, flow, pass);
}

}  // namespace klens
