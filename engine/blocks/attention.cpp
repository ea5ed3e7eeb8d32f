#include "engine/blocks/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/norm/rms_norm.h"
#include "kernels/cpu/rope/rope.h"

namespace klens {
namespace {

// Queries that one part of the work takes: enough to share the keys they read.
constexpr int64_t kQueries = 64;

// Keys that one part takes of a query that is alone (decoding): as many whatever the threads, so
// that their number does not show in the result.
constexpr int64_t kKeys = 2048;

// The parts of the keys that a query sees: those of the pinned ones, and those of its window.
struct KeyParts {
  int64_t pinned, window, count;  // parts with pinned keys; first part of the window; of both

  KeyParts(const KvCacheSpec& cache, int64_t position)
      : pinned((std::min(cache.pinned, position + 1) + kKeys - 1) / kKeys),
        window(std::max(pinned, std::max<int64_t>(position - cache.reach, 0) / kKeys)),
        count(pinned + std::max<int64_t>(position / kKeys - window + 1, 0)) {}
  int64_t begin(int64_t part) const {
    return (part < pinned ? part : window + part - pinned) * kKeys;
  }
};

// Where the results of a query over parts of its keys wait to be joined.
struct Partial {
  float* y = nullptr;                   // [parts][heads * v_dim]
  cpu::AttentionPart* parts = nullptr;  // [parts][heads]
};

void run(cpu::AttentionArgs args) {
  static const auto kernel = cpu::best_variant(cpu::attention_variants(), cpu::active()).run;
  args.work = thread_work(cpu::attention_work(args));
  kernel(args);
}

// Items [begin, end) of KV heads times `parts` of the queries.
void run_queries(const cpu::AttentionArgs& all, int64_t parts, int64_t begin, int64_t end) {
  for (int64_t item = begin; item < end; ++item) {
    const int64_t from = item % parts * kQueries;
    if (from >= all.tokens) continue;
    cpu::AttentionArgs args = all;
    args.q += from * args.q_stride;
    args.y += from * args.y_stride;
    args.position += from;
    args.tokens = std::min(kQueries, all.tokens - from);
    args.kv_head_begin = item / parts;
    args.kv_head_end = args.kv_head_begin + 1;
    run(args);
  }
}

// Items [begin, end) of parts of the keys times KV heads, for the only query there is. Neighbouring
// heads of a part go together, as they lie in memory.
void run_alone(const cpu::AttentionArgs& all, const KeyParts& keys, const Partial& to,
               int64_t begin, int64_t end) {
  end = std::min(end, keys.count * all.kv_heads);
  while (begin < end) {
    const int64_t part = begin / all.kv_heads;
    const int64_t stop = std::min(end, (part + 1) * all.kv_heads);
    cpu::AttentionArgs args = all;
    args.kv_head_begin = begin - part * all.kv_heads;
    args.kv_head_end = stop - part * all.kv_heads;
    if (keys.count > 1) {
      args.key_begin = keys.begin(part);
      args.key_end = args.key_begin + kKeys;
      args.y = to.y + part * all.heads * all.v_dim;
      args.part = to.parts + part * all.heads;
    }
    run(args);
    begin = stop;
  }
}

// See AttentionPart. y: [v_dim] of one head.
void join(const Partial& from, int64_t parts, int64_t heads, int64_t head, int64_t v_dim,
          float* y) {
  float max = -std::numeric_limits<float>::infinity(), total = 0;
  for (int64_t p = 0; p < parts; ++p) max = std::max(max, from.parts[p * heads + head].max);
  std::fill_n(y, v_dim, 0.0f);
  for (int64_t p = 0; p < parts; ++p) {
    const cpu::AttentionPart& part = from.parts[p * heads + head];
    const float weight = part.total * std::exp(part.max - max);
    const float* values = from.y + (p * heads + head) * v_dim;
    total += weight;
    for (int64_t i = 0; i < v_dim; ++i) y[i] += weight * values[i];
  }
  for (int64_t i = 0; i < v_dim; ++i) y[i] /= total;
}

}  // namespace

AttentionCore::AttentionCore(const AttentionCoreSpec& spec, const MixerContext& context)
    : spec_(spec), cache_(context.checkpoint.spec.caches[spec.cache]) {
  if (spec.rope) rope_ = context.checkpoint.spec.ropes[*spec.rope];
  if (spec.q_norm) q_norm_ = optional_values(spec.q_norm->weight, context.checkpoint);
  if (spec.k_norm) k_norm_ = optional_values(spec.k_norm->weight, context.checkpoint);
}

void AttentionCore::norm(const NormSpec& spec, const std::vector<float>& weight, float* x,
                         int64_t stride, int64_t heads, const Pass& pass) const {
  const auto run = cpu::best_variant(cpu::rms_norm_variants(), cpu::active()).run;
  const bool by_head = static_cast<int64_t>(weight.size()) > cache_.k_dim;
  pass.executor.ranges(pass.batch.rows, heads * cache_.k_dim * 2, [&](int64_t begin, int64_t end) {
    const Timed timed(pass.executor.clock(), Step::kNorm);
    for (int64_t h = 0; h < heads; ++h) {
      float* part = x + begin * stride + h * cache_.k_dim;
      run({.x = part,
           .x_stride = stride,
           .y = part,
           .y_stride = stride,
           .weight = weight.empty() ? nullptr : weight.data() + (by_head ? h * cache_.k_dim : 0),
           .tokens = end - begin,
           .cols = cache_.k_dim,
           .epsilon = spec.eps});
    }
  });
}

void AttentionCore::rotate(float* x, int64_t stride, int64_t heads, const Pass& pass) const {
  const RopeTables::Table& table = pass.batch.ropes.get(*spec_.rope, rope_, pass.batch.sequences);
  const auto run = cpu::best_variant(cpu::rope_variants(), cpu::active()).run;
  const int64_t pairs = static_cast<int64_t>(rope_.inv_freq.size());
  pass.executor.ranges(pass.batch.rows, heads * pairs * 8, [&](int64_t begin, int64_t end) {
    const Timed timed(pass.executor.clock(), Step::kElementwise);
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

void AttentionCore::run(float* q, float* k, const float* v, int64_t stride, bool rounded, float* y,
                        const Pass& pass) const {
  if (spec_.q_norm) norm(*spec_.q_norm, q_norm_, q, stride, spec_.heads, pass);
  if (spec_.rope) rotate(q, stride, spec_.heads, pass);
  if (spec_.makes_kv) {
    scale(k, pass.batch.rows, k_width(), stride, spec_.key_scale, pass);
    if (spec_.k_norm) norm(*spec_.k_norm, k_norm_, k, stride, cache_.kv_heads, pass);
    if (spec_.rope) rotate(k, stride, cache_.kv_heads, pass);
    for (const Sequence& s : pass.batch.sequences)
      s.state->caches[spec_.cache].append(s.position, s.tokens, k + s.row * stride, stride,
                                          v + s.row * stride, stride, pass.executor);
  }
  attend(q, stride, rounded, y, pass);
}

// Parts of the work: a KV head and some queries, or for a query that is alone some keys.
void AttentionCore::attend(const float* q, int64_t stride, bool rounded, float* y,
                           const Pass& pass) const {
  const Scratch::Frame frame(pass.scratch);
  std::vector<KvCache::Segments> segments;
  std::vector<Partial> partial;
  int64_t parts = 1, longest = 1, most_joined = 1;  // longest: keys
  for (const Sequence& s : pass.batch.sequences) {
    segments.push_back(s.state->caches[spec_.cache].segments());
    longest = std::max(longest, std::min(s.position + s.tokens, cache_.reach));
    partial.emplace_back();
    if (s.tokens != 1) {
      parts = std::max(parts, (s.tokens + kQueries - 1) / kQueries);
      continue;
    }
    const int64_t count = KeyParts(cache_, s.position).count;
    parts = std::max(parts, count);
    if (count == 1) continue;
    most_joined = std::max(most_joined, count);
    partial.back().y = pass.scratch.take<float>(count * y_width());
    partial.back().parts = pass.scratch.take<cpu::AttentionPart>(count * spec_.heads);
  }
  const int64_t work =
      longest * (cache_.k_dim + cache_.v_dim) * spec_.heads / cache_.kv_heads / parts;
  over_sequences(pass, cache_.kv_heads * parts, work, [&](int64_t i, int64_t begin, int64_t end) {
    const Timed timed(pass.executor.clock(), Step::kAttention);
    const Sequence& s = pass.batch.sequences[static_cast<size_t>(i)];
    const KvCache::Segments& keys = segments[static_cast<size_t>(i)];
    const cpu::AttentionArgs args{.q = q + s.row * stride,
                                  .q_stride = stride,
                                  .type = s.state->caches[spec_.cache].type(),
                                  .segments = keys.runs.data(),
                                  .segment_count = keys.count,
                                  .scale = spec_.scale,
                                  .reach = cache_.reach,
                                  .pinned = cache_.pinned,
                                  .position = s.position,
                                  .tokens = s.tokens,
                                  .heads = spec_.heads,
                                  .kv_heads = cache_.kv_heads,
                                  .k_dim = cache_.k_dim,
                                  .v_dim = cache_.v_dim,
                                  .y = y + s.row * y_width(),
                                  .y_stride = y_width(),
                                  .kv_head_begin = 0,
                                  .kv_head_end = cache_.kv_heads,
                                  .work = nullptr,
                                  .rounded = rounded};
    if (s.tokens == 1) {
      run_alone(args, KeyParts(cache_, s.position), partial[static_cast<size_t>(i)], begin, end);
    } else {
      run_queries(args, parts, begin, end);
    }
  });
  if (most_joined == 1) return;
  over_sequences(pass, spec_.heads, most_joined * cache_.v_dim,
                 [&](int64_t i, int64_t begin, int64_t end) {
                   const Sequence& s = pass.batch.sequences[static_cast<size_t>(i)];
                   const Partial& from = partial[static_cast<size_t>(i)];
                   if (from.y == nullptr) return;
                   for (int64_t head = begin; head < end; ++head)
                     join(from, KeyParts(cache_, s.position).count, spec_.heads, head, cache_.v_dim,
                          y + s.row * y_width() + head * cache_.v_dim);
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
    LinearInput input(scaled(x, rows * d_in_, input_scale_, pass), d_in_, rows, d_in_);
    qkv_.apply(input, qkv, pass);
    float* k = qkv + core_.q_width();
    // It is not o_proj that decides: a student of that is given what its teacher attended to.
    core_.run(qkv, k, k + core_.k_width(), width, qkv_.rounds(pass), attended, pass);
  }
  return o_proj_.stage(attended, rows, output_scale_, flow, pass);
}

}  // namespace klens
