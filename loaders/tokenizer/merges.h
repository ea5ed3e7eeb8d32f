#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace klens {

// What two neighbouring tokens become, and how soon.
struct Merge {
  uint32_t rank;  // lower ones happen first
  int32_t result;
};

// Pair of tokens to merge, as a hash table with open addressing: looked up for every pair of every
// word.
class MergeTable {
 public:
  explicit MergeTable(size_t count);
  void set(int32_t left, int32_t right, Merge merge);  // a later one for the same pair counts
  const Merge* find(int32_t left, int32_t right) const {
    const uint64_t key = key_of(left, right);
    for (size_t slot = slot_of(key);; slot = (slot + 1) & mask_) {
      if (slots_[slot].key == key) return &slots_[slot].merge;
      if (slots_[slot].key == kEmpty) return nullptr;
    }
  }

 private:
  static constexpr uint64_t kEmpty =
      ~uint64_t{0};  // ids are not negative, so no pair looks like it
  struct Slot {
    uint64_t key = kEmpty;
    Merge merge{};
  };
  static uint64_t key_of(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  // The upper bits of a product with the golden ratio depend on all bits of the key.
  size_t slot_of(uint64_t key) const {
    return static_cast<size_t>((key * 0x9E3779B97F4A7C15ull) >> shift_);
  }

  std::vector<Slot> slots_;
  size_t mask_;
  int shift_;
};

// A symbol of a word while it is merged: a token and the words's symbols beside it.
struct Symbol {
  int32_t id;
  int32_t previous, next;  // indices, -1: none
  bool gone = false;
};

// Merges neighbours until no pair of the table is left: always the pair of the lowest rank, of
// equal ones the leftmost. Takes time n log n for n symbols. Leaves the tokens in `symbols` that
// are not gone.
void merge_all(const MergeTable& merges, std::vector<Symbol>& symbols);

}  // namespace klens
