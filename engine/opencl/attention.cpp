// Attention between its projections: rotation, the cache, softmax.
#include <algorithm>

#include "engine/opencl/lane.h"

namespace klens {
namespace {

std::string kv_options(KvType type) { return "-DKV=" + std::to_string(static_cast<int>(type)); }

// Keys of a part of attention, and the most bytes of what is seen of parts before they are joined.
constexpr int64_t kPart = 512, kJoinedBytes = int64_t{1} << 24;

// Positions and distances are ints in kernels: a sequence is shorter.
int64_t as_int(int64_t distance) { return std::min<int64_t>(distance, INT32_MAX / 2); }

}  // namespace

void OpenClLane::rope(const Rows& x, int64_t heads, const RopeTable& table) {
  const int64_t pairs = table.cos.width();
  launch(Step::kElementwise, {"attention", "", "rope"}, over_columns(pairs, heads, x.count()),
         {x, At(table.cos), At(table.sin), heads, x.width() / heads, pairs});
}

// x: the rows of the positions from `position` on.
void OpenClLane::store_rows(const KvCache& cache, const KvCache::Plane& plane, const Rows& x,
                            int64_t position) {
  const int64_t heads = cache.kv_heads();
  const int64_t scale_bytes = heads * static_cast<int64_t>(sizeof(float));
  for (const KvCache::Run& run : cache.runs(position, x.count())) {
    const auto at = [&](const Memory& memory, int64_t row_bytes) {
      return memory.bytes() == 0
                 ? At(uint64_t{0})
                 : At(memory.address() + static_cast<uint64_t>(run.row * row_bytes));
    };
    const int64_t items = cache.type() == KvType::kI8 ? 1 : plane.dim;
    launch(Step::kElementwise, {"attention", kv_options(cache.type()), "store_kv"},
           over_columns(items, heads, run.rows),
           {x.rows(run.position - position, run.rows), at(plane.data, cache.row_bytes(plane)),
            at(plane.scale, scale_bytes), At(beyond_), heads, plane.dim});
  }
}

void OpenClLane::store_kv(size_t index, const Rows& k, const Rows& v, const Batch& batch) {
  for (const Sequence& s : batch.sequences) {
    KvCache& cache = s.state->caches[index];
    cache.extend(s.position, s.tokens);
    stored_halves_ = stored_halves_ || cache.type() == KvType::kF16;
    store_rows(cache, cache.k(), k.rows(s.row, s.tokens), s.position);
    store_rows(cache, cache.v(), v.rows(s.row, s.tokens), s.position);
  }
}

void OpenClLane::attend(const AttendArgs& a, const Batch& batch) {
  const KvCacheSpec& spec = a.spec;
  for (const Sequence& s : batch.sequences) {
    // Queries that see several parts of keys go so many at a time that what is to be joined is
    // small.
    const int64_t parts = (s.position + s.tokens + kPart - 1) / kPart;
    const int64_t each = parts * a.heads * (2 + spec.v_dim) * static_cast<int64_t>(sizeof(float));
    const int64_t most = parts == 1 ? s.tokens : std::max<int64_t>(kJoinedBytes / each, 1);
    for (int64_t from = 0; from < s.tokens; from += most)
      attend_some(a, s, from, std::min(most, s.tokens - from));
  }
}

// Queries from `from` on of a sequence.
void OpenClLane::attend_some(const AttendArgs& a, const Sequence& s, int64_t from, int64_t count) {
  const KvCacheSpec& spec = a.spec;
  const KvCache& cache = s.state->caches[a.cache];
  const KvCache::Runs held = cache.held();
  std::array<KvCache::Run, 3> runs{};
  std::copy(held.begin(), held.end(), runs.begin());
  const auto scale = [](const KvCache::Plane& plane) {
    return At(plane.scale.bytes() == 0 ? 0 : plane.scale.address());
  };
  const Frame frame(*this);
  const int64_t position = s.position + from, parts = (position + count + kPart - 1) / kPart;
  const Rows y = a.y.rows(s.row + from, count);
  const Rows seen = parts > 1 ? take(count * a.heads * parts, 2 + spec.v_dim) : Rows();
  launch(
      Step::kAttention, {"attention", kv_options(cache.type()), "attend"},
      {{64 * static_cast<size_t>(a.heads), static_cast<size_t>(count), static_cast<size_t>(parts)},
       {64, 1, 1}},
      {a.q.rows(s.row + from, count),
       At(cache.k().data.address()),
       At(cache.v().data.address()),
       scale(cache.k()),
       scale(cache.v()),
       runs[0].row,
       runs[0].rows,
       runs[0].position,
       runs[1].row,
       runs[1].rows,
       runs[1].position,
       runs[2].row,
       runs[2].rows,
       runs[2].position,
       a.scale,
       as_int(spec.reach),
       as_int(spec.pinned),
       position,
       a.heads,
       spec.kv_heads,
       spec.k_dim,
       spec.v_dim,
       y,
       At(seen),
       LocalFloats{spec.k_dim + spec.v_dim}});
  if (parts == 1) return;
  launch(Step::kAttention, {"attention", kv_options(cache.type()), "join_parts"},
         over_columns(spec.v_dim, a.heads, count), {At(seen), parts, a.heads, spec.v_dim, y});
}

}  // namespace klens
