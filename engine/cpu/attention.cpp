// Attention between its projections: rotation, the cache, softmax.
#include "kernels/cpu/attention/attention.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include "engine/cpu/lane.h"
#include "kernels/cpu/rope/rope.h"
#include "kernels/half.h"
#include "kernels/magnitude.h"

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

// What a cache holds, for the kernel.
struct Keys {
  std::array<cpu::KvSegment, 3> segments;
  int64_t count = 0;

  explicit Keys(const KvCache& cache) {
    const auto at = [](const Memory& memory, int64_t bytes) {
      return pointer<std::byte>(memory.address()) + bytes;
    };
    const auto scale = [&](const KvCache::Plane& plane, int64_t row) {
      return plane.scale.bytes() == 0 ? nullptr
                                      : pointer(plane.scale.address()) + row * cache.kv_heads();
    };
    for (const KvCache::Run& run : cache.held())
      segments[static_cast<size_t>(count++)] = {
          .k = at(cache.k().data, run.row * cache.row_bytes(cache.k())),
          .v = at(cache.v().data, run.row * cache.row_bytes(cache.v())),
          .k_scale = scale(cache.k(), run.row),
          .v_scale = scale(cache.v(), run.row),
          .rows = run.rows,
          .position = run.position};
  }
};

// Whether FP16 has room for all of x.
bool fits_f16(const Rows& x, const Executor& executor) {
  std::atomic<bool> beyond{false};
  executor.ranges(x.count(), x.width(), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      if (!(largest_magnitude(floats(x) + row * x.stride(), x.width()) <= kRoundsToMaxF16))
        beyond = true;
  });
  return !beyond;
}

// FP16 to FP32; what is held keeps its value.
void widen(AddressSpace& space, KvCache& cache) {
  const auto wide = [&](const Memory& from) {
    Memory to(space, 2 * from.bytes());
    const auto* halves = pointer<uint16_t>(from.address());
    for (int64_t i = 0; 2 * i < from.bytes(); ++i) pointer(to.address())[i] = f16_to_f32(halves[i]);
    return to;
  };
  cache.become(KvType::kF32, wide(cache.k().data), wide(cache.v().data));
}

// x: the rows of the positions from `position` on.
void store_rows(const KvCache& cache, const KvCache::Plane& plane, const Rows& x,
                int64_t position) {
  const auto store = cpu::best_variant(cpu::store_kv_variants(), cpu::active()).run;
  const int64_t heads = cache.kv_heads();
  for (const KvCache::Run& run : cache.runs(position, x.count()))
    store({.x = floats(x) + (run.position - position) * x.stride(),
           .x_stride = x.stride(),
           .type = cache.type(),
           .to = pointer<std::byte>(plane.data.address()) + run.row * cache.row_bytes(plane),
           .scale = plane.scale.bytes() == 0 ? nullptr
                                             : pointer(plane.scale.address()) + run.row * heads,
           .rows = run.rows,
           .heads = heads,
           .dim = plane.dim});
}

}  // namespace

void CpuLane::rope(const Rows& x, int64_t heads, const RopeTable& table) {
  const auto run = cpu::best_variant(cpu::rope_variants(), cpu::active()).run;
  const int64_t pairs = table.cos.width();
  executor_.ranges(x.count(), heads * pairs * 8, [&](int64_t begin, int64_t end) {
    const Timed timed = this->timed(Step::kElementwise);
    run({.x = floats(x) + begin * x.stride(),
         .x_stride = x.stride(),
         .cos = floats(table.cos) + begin * pairs,
         .sin = floats(table.sin) + begin * pairs,
         .tokens = end - begin,
         .heads = heads,
         .dim = x.width() / heads,
         .pairs = pairs});
  });
}

void CpuLane::store_kv(size_t index, const Rows& k, const Rows& v, const Batch& batch) {
  for (const Sequence& s : batch.sequences) {
    KvCache& cache = s.state->caches[index];
    const Rows own_k = k.rows(s.row, s.tokens), own_v = v.rows(s.row, s.tokens);
    cache.extend(s.position, s.tokens);
    if (cache.type() == KvType::kF16 && !(fits_f16(own_k, executor_) && fits_f16(own_v, executor_)))
      widen(device_, cache);
    executor_.ranges(s.tokens, (k.width() + v.width()) * 2, [&](int64_t begin, int64_t end) {
      const Timed timed = this->timed(Step::kElementwise);
      store_rows(cache, cache.k(), own_k.rows(begin, end - begin), s.position + begin);
      store_rows(cache, cache.v(), own_v.rows(begin, end - begin), s.position + begin);
    });
  }
}

// Parts of the work: a KV head and some queries, or for a query that is alone some keys.
void CpuLane::attend(const AttendArgs& a, const Batch& batch) {
  const Frame frame(*this);
  const KvCacheSpec& spec = a.spec;
  std::vector<Keys> keys;
  std::vector<Partial> partial;
  int64_t parts = 1, longest = 1, most_joined = 1;  // longest: keys
  for (const Sequence& s : batch.sequences) {
    keys.emplace_back(s.state->caches[a.cache]);
    longest = std::max(longest, std::min(s.position + s.tokens, spec.reach));
    partial.emplace_back();
    if (s.tokens != 1) {
      parts = std::max(parts, (s.tokens + kQueries - 1) / kQueries);
      continue;
    }
    const int64_t count = KeyParts(spec, s.position).count;
    parts = std::max(parts, count);
    if (count == 1) continue;
    most_joined = std::max(most_joined, count);
    partial.back().y = take_array<float>(count * a.y.width());
    partial.back().parts = take_array<cpu::AttentionPart>(count * a.heads);
  }
  const int64_t work = longest * (spec.k_dim + spec.v_dim) * a.heads / spec.kv_heads / parts;
  over_sequences(batch, spec.kv_heads * parts, work, [&](int64_t i, int64_t begin, int64_t end) {
    const Timed timed = this->timed(Step::kAttention);
    const Sequence& s = batch.sequences[static_cast<size_t>(i)];
    const Keys& held = keys[static_cast<size_t>(i)];
    const cpu::AttentionArgs args{.q = floats(a.q) + s.row * a.q.stride(),
                                  .q_stride = a.q.stride(),
                                  .type = s.state->caches[a.cache].type(),
                                  .segments = held.segments.data(),
                                  .segment_count = held.count,
                                  .scale = a.scale,
                                  .reach = spec.reach,
                                  .pinned = spec.pinned,
                                  .position = s.position,
                                  .tokens = s.tokens,
                                  .heads = a.heads,
                                  .kv_heads = spec.kv_heads,
                                  .k_dim = spec.k_dim,
                                  .v_dim = spec.v_dim,
                                  .y = floats(a.y) + s.row * a.y.stride(),
                                  .y_stride = a.y.stride(),
                                  .kv_head_begin = 0,
                                  .kv_head_end = spec.kv_heads,
                                  .work = nullptr,
                                  .rounded = a.rounded};
    if (s.tokens == 1) {
      run_alone(args, KeyParts(spec, s.position), partial[static_cast<size_t>(i)], begin, end);
    } else {
      run_queries(args, parts, begin, end);
    }
  });
  if (most_joined == 1) return;
  over_sequences(batch, a.heads, most_joined * spec.v_dim,
                 [&](int64_t i, int64_t begin, int64_t end) {
                   const Sequence& s = batch.sequences[static_cast<size_t>(i)];
                   const Partial& from = partial[static_cast<size_t>(i)];
                   if (from.y == nullptr) return;
                   for (int64_t head = begin; head < end; ++head)
                     join(from, KeyParts(spec, s.position).count, a.heads, head, spec.v_dim,
                          floats(a.y) + s.row * a.y.stride() + head * spec.v_dim);
                 });
}

}  // namespace klens
