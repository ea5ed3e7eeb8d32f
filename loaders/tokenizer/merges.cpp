#include "loaders/tokenizer/merges.h"

#include <bit>
#include <limits>
#include <queue>

namespace klens {
namespace {

constexpr uint32_t kNoMerge = std::numeric_limits<uint32_t>::max();

// For words of common length looking through all pairs is faster than keeping a heap.
constexpr size_t kShortWord = 24;

void merge_short(const MergeTable& merges, std::vector<Symbol>& symbols) {
  int32_t ids[kShortWord];
  Merge next[kShortWord];  // next[i]: what ids[i] and ids[i + 1] become
  size_t count = symbols.size();
  const auto look_up = [&](size_t i) {
    const Merge* m = merges.find(ids[i], ids[i + 1]);
    next[i] = m ? *m : Merge{kNoMerge, -1};
  };
  for (size_t i = 0; i < count; ++i) ids[i] = symbols[i].id;
  for (size_t i = 0; i + 1 < count; ++i) look_up(i);
  for (;;) {
    size_t best = 0;
    uint32_t rank = kNoMerge;
    for (size_t i = 0; i + 1 < count; ++i)
      if (next[i].rank < rank) rank = next[i].rank, best = i;
    if (rank == kNoMerge) break;
    ids[best] = next[best].result;
    --count;
    for (size_t i = best + 1; i < count; ++i) ids[i] = ids[i + 1];
    for (size_t i = best + 1; i + 1 < count; ++i) next[i] = next[i + 1];
    if (best > 0) look_up(best - 1);
    if (best + 1 < count) look_up(best);
  }
  symbols.resize(count);
  for (size_t i = 0; i < count; ++i) symbols[i].id = ids[i];
}

struct MergeCandidate {
  uint32_t rank;
  int32_t position;  // of the left symbol
  int32_t result;
  bool operator<(const MergeCandidate& other) const {  // for a heap that gives the lowest first
    return rank != other.rank ? rank > other.rank : position > other.position;
  }
};

}  // namespace

MergeTable::MergeTable(size_t count) {
  const size_t slots = std::bit_ceil(2 * count + 2);
  slots_.resize(slots);
  mask_ = slots - 1;
  shift_ = 64 - std::countr_zero(slots);
}

void MergeTable::set(int32_t left, int32_t right, Merge merge) {
  const uint64_t key = key_of(left, right);
  size_t slot = slot_of(key);
  while (slots_[slot].key != kEmpty && slots_[slot].key != key) slot = (slot + 1) & mask_;
  slots_[slot] = {key, merge};
}

void merge_all(const MergeTable& merges, std::vector<Symbol>& symbols) {
  if (symbols.size() <= kShortWord) return merge_short(merges, symbols);
  std::vector<MergeCandidate> first;
  const auto at = [&](int32_t i) -> Symbol& { return symbols[static_cast<size_t>(i)]; };
  const auto count = static_cast<int32_t>(symbols.size());
  for (int32_t i = 0; i < count; ++i) {
    at(i).previous = i - 1;
    at(i).next = i + 1 < count ? i + 1 : -1;
    if (i + 1 == count) break;
    if (const Merge* m = merges.find(at(i).id, at(i + 1).id))
      first.push_back({m->rank, i, m->result});
  }
  std::priority_queue<MergeCandidate> queue({}, std::move(first));
  const auto consider = [&](int32_t left, int32_t right) {
    if (left < 0 || right < 0) return;
    if (const Merge* m = merges.find(at(left).id, at(right).id))
      queue.push({m->rank, left, m->result});
  };
  while (!queue.empty()) {
    const MergeCandidate top = queue.top();
    queue.pop();
    Symbol& left = at(top.position);
    if (left.gone || left.next < 0) continue;
    // The pair may have changed since it was queued.
    const Merge* m = merges.find(left.id, at(left.next).id);
    if (!m || m->result != top.result) continue;
    Symbol& right = at(left.next);
    left.id = top.result;
    left.next = right.next;
    right.gone = true;
    if (right.next >= 0) at(right.next).previous = top.position;
    consider(left.previous, top.position);
    consider(top.position, left.next);
  }
}

}  // namespace klens
