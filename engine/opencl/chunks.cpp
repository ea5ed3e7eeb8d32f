// Scans over prompts in chunks, as products of matrices: kernels/opencl/chunks.cl.
#include <algorithm>

#include "engine/opencl/lane.h"

namespace klens {
namespace {

// Of chunks.cl: tokens of a chunk; a work-group, and what it has of a product; bytes of local
// memory that it needs.
constexpr int64_t kChunk = 64, kRows = 64, kCols = 32, kLocalBytes = 16 << 10;
constexpr size_t kLanes = 16, kSlices = 8;

// Fewer tokens between two multiples of a chunk are scanned one after the other.
constexpr int64_t kFewTokens = 16;

// The most bytes of states between chunks that are there at once.
constexpr int64_t kStatesBytes = int64_t{1} << 25;

int64_t over(int64_t count, int64_t each) { return (count + each - 1) / each; }

// A tile each; depth: products.
WorkItems over_tiles(int64_t cols, int64_t rows, int64_t depth) {
  return {{static_cast<size_t>(over(cols, kCols)) * kLanes,
           static_cast<size_t>(over(rows, kRows)) * kSlices, static_cast<size_t>(depth)},
          {kLanes, kSlices, 1}};
}

}  // namespace

// Whether tokens go in chunks depends only on how many there are between two multiples of a chunk,
// so that cuts there do not show.
std::vector<OpenClLane::Stretch> OpenClLane::stretches(const Sequence& s, bool chunks) const {
  static_assert(kSequenceBlock % kChunk == 0);
  const std::vector<Stretch> none = {{s.row, s.tokens, 0, false}};
  if (!chunks || queue_.info().local_memory < kLocalBytes) return none;
  const int64_t first = std::min(s.tokens, kChunk - s.position % kChunk);
  const int64_t last = (s.tokens - first) % kChunk;
  const int64_t begin = first < kFewTokens ? first : 0;
  const int64_t end = s.tokens - (last < kFewTokens ? last : 0);
  std::vector<Stretch> all;
  if (end <= begin) return none;
  if (begin > 0) all.push_back({s.row, begin, 0, false});
  all.push_back(
      {s.row + begin, end - begin, begin > 0 ? std::min(kChunk, end - begin) : first, true});
  if (end < s.tokens) all.push_back({s.row + end, s.tokens - end, 0, false});
  return all;
}

// run(first row in the batch, tokens, chunks, tokens of the first) for as many chunks at a time as
// states of `size` floats may take room for.
template <class Run>
void OpenClLane::over_chunks(const Stretch& part, int64_t size, const Run& run) {
  const int64_t most = std::max<int64_t>(kStatesBytes / (size * int64_t{sizeof(float)}), 1);
  for (int64_t at = 0, first = part.first; at < part.tokens; first = kChunk) {
    const Frame frame(*this);
    const int64_t tokens = std::min(part.tokens - at, first + (most - 1) * kChunk);
    first = std::min(first, tokens);
    run(part.row + at, tokens, 1 + over(tokens - first, kChunk), first);
    at += tokens;
  }
}

void OpenClLane::ssd_chunks(const SsdScanArgs& a, const StateSlot& slot, At state,
                            const Stretch& part) {
  const int64_t heads = slot.heads, groups = slot.groups, states = slot.states;
  const int64_t head_dim = slot.channels / heads, size = states * head_dim;
  over_chunks(part, heads * size, [&](int64_t row, int64_t tokens, int64_t chunks, int64_t first) {
    const auto own = [&](const Rows& x) { return x.rows(row, tokens); };
    const At decays(take(chunks * heads, 3 * kChunk));
    const At products(take(chunks * groups, kChunk * kChunk));
    const At added(take(chunks * heads, size));  // then the states before the chunks
    launch(Step::kScan, {"chunks", "", "ssd_decays"}, over_columns(heads, chunks),
           {own(a.dt), At(a.dt_bias), a.dt_min, a.dt_max, At(a.a), decays, first, tokens, heads});
    launch(Step::kScan, {"chunks", "", "chunk_products"},
           over_tiles(kChunk, kRows, chunks * groups),
           {own(a.b), own(a.c), products, first, tokens, groups, states});
    launch(Step::kScan, {"chunks", "", "ssd_states"}, over_tiles(head_dim, states, chunks * heads),
           {own(a.x), own(a.b), decays, added, first, tokens, heads, head_dim, heads / groups,
            states});
    launch(Step::kScan, {"chunks", "", "ssd_join"}, over_columns(size, heads),
           {decays, added, state, chunks, heads, size});
    launch(Step::kScan, {"chunks", "", "chunk_outputs"},
           over_tiles(head_dim, kRows, chunks * heads),
           {own(a.x), own(a.c), At(a.d), decays, products, added, own(a.y), first, tokens, heads,
            head_dim, groups, 0, states});
  });
}

void OpenClLane::delta_chunks(const DeltaRuleArgs& a, const DeltaInputs& made,
                              const StateSlot& slot, At state, const Stretch& part) {
  const int64_t heads = slot.heads, key_heads = slot.groups, k_dim = slot.states;
  const int64_t v_dim = slot.channels / heads, size = k_dim * v_dim, keys = key_heads * k_dim;
  const int tiled = a.tiled;
  over_chunks(part, heads * size, [&](int64_t row, int64_t tokens, int64_t chunks, int64_t first) {
    const auto own = [&](const Rows& x) { return x.rows(row, tokens); };
    const Rows units = take(tokens, 2 * keys), delta = take(tokens, heads * v_dim);
    const Rows q = units.columns(0, keys), k = units.columns(keys, keys);
    const At decays(take(chunks * heads, 3 * kChunk));
    const At of_keys(take(chunks * key_heads, kChunk * kChunk));
    const At of_queries(take(chunks * key_heads, kChunk * kChunk));
    const At solved(take(chunks * heads, kChunk * k_dim)), before(take(chunks * heads, size));
    launch(Step::kScan, {"chunks", "", "delta_units"}, over_columns(keys, tokens),
           {own(a.q), own(a.k), own(made.factors), k_dim, units, keys});
    launch(Step::kScan, {"chunks", "", "delta_decays"}, over_columns(heads, chunks),
           {own(a.decay), At(a.decay_bias), At(a.rate), decays, first, tokens, heads});
    for (const auto& [with, to] : {std::pair{k, of_keys}, std::pair{q, of_queries}})
      launch(Step::kScan, {"chunks", "", "chunk_products"},
             over_tiles(kChunk, kRows, chunks * key_heads),
             {k, with, to, first, tokens, key_heads, k_dim});
    WorkItems grid = over_tiles(k_dim, kRows, chunks * heads);
    grid.items[0] += over_tiles(v_dim, kRows, 1).items[0];
    launch(Step::kScan, {"chunks", "", "delta_solve"}, grid,
           {k, own(a.v), own(made.beta), decays, of_keys, solved, delta, first, tokens, heads,
            key_heads, tiled, k_dim, v_dim});
    settle();
    queue_.copy(state.address, before.address, heads * size * int64_t{sizeof(float)});
    launch(Step::kScan, {"chunks", "", "delta_states"}, over_tiles(v_dim, kRows, heads),
           {k, decays, solved, delta, before, state, chunks, first, tokens, heads, key_heads, tiled,
            k_dim, v_dim});
    launch(Step::kScan, {"chunks", "", "chunk_outputs"}, over_tiles(v_dim, kRows, chunks * heads),
           {delta, q, At(uint64_t{0}), decays, of_queries, before, own(a.y), first, tokens, heads,
            v_dim, key_heads, tiled, k_dim});
  });
}

}  // namespace klens
