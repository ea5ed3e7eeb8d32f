// Attention between its projections: rotation, the cache, softmax.
#include <algorithm>
#include <utility>

#include "engine/opencl/lane.h"

namespace klens {
namespace {

std::string kv_options(KvType type) { return "-DKV=" + std::to_string(static_cast<int>(type)); }

// Keys of a part of attention, and the most bytes of what is seen of parts before they are joined.
constexpr int64_t kPart = 512, kJoinedBytes = int64_t{1} << 24;

At scales_of(const KvCache::Plane& plane) {
  return At(plane.scale.bytes() == 0 ? 0 : plane.scale.address());
}

// Positions and distances are ints in kernels: a sequence is shorter.
int64_t as_int(int64_t distance) { return std::min<int64_t>(distance, INT32_MAX / 2); }

}  // namespace

// Of queries and of keys, which may go to a cache next.
void OpenClLane::rope(const Rows& x, int64_t heads, const RopeTable& table) {
  if (off_.rotations.size() != 1) settle();
  off_.rotations.push_back({x, heads, table});
}

void OpenClLane::launch_rotation(const Rotation& r) {
  const int64_t pairs = r.table.cos.width();
  launch(Step::kElementwise, {"attention", "", "rope"}, over_columns(pairs, r.heads, r.x.count()),
         {r.x, At(r.table.cos), At(r.table.sin), r.heads, r.x.width() / r.heads, pairs});
}

std::vector<Rotation> OpenClLane::rotations_of(const KvCache& cache, const Rows& k) {
  const std::vector<Rotation>& all = off_.rotations;
  if (all.empty() || !same(all.back().x, k) || all.back().heads != cache.kv_heads()) return {};
  const Rotation &first = all.front(), &last = all.back();
  if (first.x.count() != k.count() || !same(first.table.cos, last.table.cos) ||
      !same(first.table.sin, last.table.sin) || first.x.width() != first.heads * cache.k().dim)
    return {};
  return std::exchange(off_.rotations, {});
}

// What follows from a token's place in its sequence. As arguments it would make each token's
// launches others than the last one's, which are replayed.
At OpenClLane::numbers(std::initializer_list<int64_t> list) {
  Numbers all{};
  KLENS_CHECK(list.size() <= all.size());
  std::ranges::transform(list, all.begin(), [](int64_t n) { return static_cast<int32_t>(n); });
  auto at = std::ranges::find(numbers_, all);
  if (at == numbers_.end()) {
    if (numbers_.size() == kNumbers) {
      settle();  // which may read them
      numbers_.clear();
    }
    at = numbers_.insert(numbers_.end(), all);
    queue_.write(all.data(),
                 numbers_at_ + static_cast<uint64_t>(at - numbers_.begin()) * sizeof all,
                 sizeof all);
  }
  return At(numbers_at_ + static_cast<uint64_t>(at - numbers_.begin()) * sizeof all);
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

void OpenClLane::store_rows(const KvCache& cache, const Rows& k, const Rows& v, const Sequence& s,
                            At beyond, const std::vector<Rotation>& rotations) {
  const int64_t heads = cache.kv_heads();
  const Rotation none{}, &of_keys = rotations.empty() ? none : rotations.back(),
                         &of_queries = rotations.size() < 2 ? none : rotations.front();
  for (const KvCache::Run& run : cache.runs(s.position, s.tokens)) {
    const auto own = [&](const Rows& all) {
      return all.rows(s.row + run.position - s.position, run.rows);
    };
    launch(Step::kElementwise, {"attention", kv_options(cache.type()), "store_kv"},
           by_work_groups(of_queries.heads + 2 * heads, run.rows),
           {of_queries.x, of_queries.heads, own(k), own(v), heads, At(of_keys.table.cos),
            At(of_keys.table.sin), of_keys.table.cos.width(), cache.k().dim, cache.v().dim,
            At(cache.k().data.address()), scales_of(cache.k()), At(cache.v().data.address()),
            scales_of(cache.v()), numbers({run.row}), beyond});
  }
}

void OpenClLane::store_kv(size_t index, const Rows& k, const Rows& v, const Batch& batch) {
  const size_t before = stored_.size();
  bool waits = false;
  std::vector<const Sequence*> halves;
  for (const Sequence& s : batch.sequences) {
    KvCache& cache = s.state->caches[index];
    cache.extend(s.position, s.tokens);
    // In one launch go the rows of one sequence that lie together in the cache.
    std::vector<Rotation> rotations;
    if (s.tokens == k.count() && cache.runs(s.position, s.tokens).count == 1)
      rotations = rotations_of(cache, k);
    const bool half = cache.type() == KvType::kF16;
    store_rows(cache, k, v, s, half ? beyond_of(cache) : At(uint64_t{0}), rotations);
    if (!half) continue;
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
    store_rows(cache, k, v, *halves[i], At(uint64_t{0}), {});
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
  const Frame frame(*this);
  const At where =
      numbers({runs[0].row, runs[0].rows, runs[0].position, runs[1].row, runs[1].rows,
               runs[1].position, runs[2].row, runs[2].rows, runs[2].position, s.position});
  const int64_t parts = (s.position + from + count + kPart - 1) / kPart;
  const Rows q = a.q.rows(s.row + from, count), y = a.y.rows(s.row + from, count);
  const Rows seen = parts > 1 ? take(count * a.heads * parts, 2 + spec.v_dim) : Rows();
  const auto run = [=, this, k = At(cache.k().data.address()), v = At(cache.v().data.address()),
                    k_scale = scales_of(cache.k()), v_scale = scales_of(cache.v()),
                    options = kv_options(cache.type())](const LinearInput::Rounded* to) {
    launch(Step::kAttention, {"attention", options, "attend"},
           {{64 * static_cast<size_t>(a.heads), static_cast<size_t>(count),
             static_cast<size_t>(parts)},
            {64, 1, 1}},
           {q, k, v, k_scale, v_scale, where, a.scale, as_int(spec.reach), as_int(spec.pinned),
            from, a.heads, spec.kv_heads, spec.k_dim, spec.v_dim, y, At(seen),
            LocalFloats{spec.k_dim + spec.v_dim}, to});
  };
  const bool whole = count == a.y.count();
  if (parts == 1)
    return put_off({.made = y, .columns = spec.v_dim, .reads = {q}, .launch = run}, whole);
  settle();
  run(nullptr);
  const auto join = [=, this, width = y.width(),
                     options = kv_options(cache.type())](const LinearInput::Rounded* to) {
    launch(Step::kAttention, {"attention", options, "join_parts"}, over_columns(width, count),
           {At(seen), parts, spec.v_dim, y, width, to});
  };
  put_off({.made = y, .columns = kColumnItems, .reads = {seen}, .launch = join}, whole);
}

}  // namespace klens
