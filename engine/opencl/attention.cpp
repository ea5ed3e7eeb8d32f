// Attention between its projections: rotation, the cache, softmax.
#include <algorithm>
#include <utility>

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

// ---- keys and values beyond FP16 ----------------------------------------------------------------
// Their cache becomes FP32, as on the CPU. Only the device knows of them, and a decoded token would
// wait for each layer to tell. So layers go on with what was stored, clamped, and behind them all
// the pass is run again; but where a sequence has states, which that would advance twice, each
// layer that attends waits: those are few in such models.

At OpenClLane::beyond_of(KvCache& cache) {
  if (stored_.size() == room_) {
    const auto bytes = static_cast<int64_t>(room_ * sizeof(int32_t));
    const uint64_t wider = queue_.allocate(2 * bytes);
    queue_.copy(beyond_, wider, bytes);
    queue_.zero(wider + static_cast<uint64_t>(bytes), bytes);
    queue_.free(std::exchange(beyond_, wider));
    room_ *= 2;
  }
  stored_.push_back(&cache);
  return At(beyond_ + (stored_.size() - 1) * sizeof(int32_t));
}

void OpenClLane::clear_beyond() {
  stored_.clear();
  queue_.zero(beyond_, static_cast<int64_t>(room_ * sizeof(int32_t)));
}

std::vector<bool> OpenClLane::beyond_halves() {
  std::vector<int32_t> found(stored_.size());
  if (found.empty()) return {};
  settle();
  queue_.read(beyond_, found.data(), static_cast<int64_t>(found.size() * sizeof(int32_t)));
  const bool any = std::ranges::any_of(found, [](int32_t beyond) { return beyond != 0; });
  stored_.clear();
  if (any) clear_beyond();
  return {found.begin(), found.end()};
}

bool OpenClLane::must_repeat() {
  const std::vector<KvCache*> stored = stored_;
  const std::vector<bool> beyond = beyond_halves();
  bool any = false;
  for (size_t i = 0; i < stored.size(); ++i) {
    if (!beyond[i]) continue;
    any = true;
    if (stored[i]->type() == KvType::kF16) widen(*stored[i]);
  }
  return any;
}

// What is held keeps its value.
void OpenClLane::widen(KvCache& cache) {
  const auto wide = [&](const KvCache::Plane& plane) {
    Memory to(device_, 2 * plane.data.bytes(), Memory::Begin::kAnything);
    const int64_t width = cache.kv_heads() * plane.dim;
    launch(Step::kElementwise, {"attention", kv_options(KvType::kF16), "widen"},
           over_columns(width, plane.data.bytes() / cache.row_bytes(plane)),
           {At(plane.data.address()), At(to.address()), width});
    return to;
  };
  Memory k = wide(cache.k()), v = wide(cache.v());
  cache.become(KvType::kF32, std::move(k), std::move(v));
}

// x: the rows of the positions from `position` on.
void OpenClLane::store_plane(const KvCache& cache, const KvCache::Plane& plane, const Rows& x,
                             int64_t position, At beyond) {
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
            at(plane.scale, scale_bytes), beyond, heads, plane.dim});
  }
}

void OpenClLane::store_rows(const KvCache& cache, const Rows& k, const Rows& v, const Sequence& s,
                            At beyond) {
  store_plane(cache, cache.k(), k.rows(s.row, s.tokens), s.position, beyond);
  store_plane(cache, cache.v(), v.rows(s.row, s.tokens), s.position, beyond);
}

void OpenClLane::store_kv(size_t index, const Rows& k, const Rows& v, const Batch& batch) {
  const size_t before = stored_.size();
  bool waits = false;
  std::vector<const Sequence*> halves;
  for (const Sequence& s : batch.sequences) {
    KvCache& cache = s.state->caches[index];
    cache.extend(s.position, s.tokens);
    if (cache.type() != KvType::kF16) {
      store_rows(cache, k, v, s, At(uint64_t{0}));
      continue;
    }
    store_rows(cache, k, v, s, beyond_of(cache));
    halves.push_back(&s);
    waits = waits || s.state->slots.bytes() > 0;
  }
  if (!waits) return;
  KLENS_CHECK(before == 0);
  const std::vector<bool> beyond = beyond_halves();
  for (size_t i = 0; i < halves.size(); ++i) {
    if (!beyond[i]) continue;
    KvCache& cache = halves[i]->state->caches[index];
    widen(cache);
    store_rows(cache, k, v, *halves[i], At(uint64_t{0}));
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
